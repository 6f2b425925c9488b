"""docs/many-repos.md, its loop, and a fleet of repos to be updated by it."""

import json
import subprocess
import sys
from pathlib import Path

from copier import Settings, run_copy

from conftest import PROJECT, blocks

PAGE = (PROJECT / "docs/many-repos.md").read_text()
LOOP = blocks(PAGE, "sh")[1]


def make_fleet(template: Path, folder: Path, number: int) -> None:
    """Generate `number` repos of two versions of `template`, each with other answers."""
    databases = [[], ["postgres"], ["postgres", "redis"], ["mysql"], ["mongodb", "redis"]]
    for each in range(number):
        run_copy(
            str(template), folder / f"repo-{each}", vcs_ref=["v1.0.0", "v1.1.0"][each % 2], defaults=True, quiet=True,
            skip_tasks=True, settings=Settings(), data={
                "project_slug": f"app-{each}", "web_port": 9000 + each, "databases": databases[each % 5],
                "web_proxy": "none" if each % 3 == 2 else "nginx", "native_services": f"web:{3000 + each}",
            },
        )  # fmt: skip


# In a process of its own: what a process has when it becomes another one counts for that one, too, and the tests' is big.
MEASURE = """
import json, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL).returncode
wall, usage = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([code, {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}], file)
"""


def measured(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str, dict[str, float]]:
    """Run `command`; return exit code, output, and its seconds, seconds of CPU, and the MiB of its biggest process."""
    figures = cwd / "figures.json"
    with (cwd / "output").open("w+") as output:
        launcher = [sys.executable, "-c", MEASURE, figures, *command]
        subprocess.run(launcher, cwd=cwd, env=env, stdout=output, stderr=output, check=True)
        output.seek(0)
        code, numbers = json.loads(figures.read_text())
        return code, output.read(), numbers

"""docs/many-repos.md, its loop, and a fleet of repos to be updated by it."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, blocks

PAGE = (PROJECT / "docs/many-repos.md").read_text()
LOOP = blocks(PAGE, "sh")[1]
MAKE_FLEET = """
import sys, itertools
from pathlib import Path
import copier

template, folder = sys.argv[1], Path(sys.argv[2])
databases = [[], ["postgres"], ["postgres", "redis"], ["mysql"], ["mongodb", "redis"]]
for number in range(int(sys.argv[3])):
    copier.run_copy(
        template, folder / f"repo-{number}", vcs_ref=["v1.0.0", "v1.1.0"][number % 2], defaults=True, quiet=True,
        skip_tasks=True, data={
            "project_slug": f"app-{number}", "web_port": 9000 + number, "databases": databases[number % 5],
            "web_proxy": "none" if number % 3 == 2 else "nginx", "native_services": f"web:{3000 + number}",
        },
    )
"""


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

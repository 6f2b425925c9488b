"""docs/many-repos.md, its loop, and a fleet of repos to be updated by it."""

import os
import subprocess
import time
from pathlib import Path

from conftest import PROJECT
from quotes import blocks

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
            "web_proxy": ["nginx", "caddy", "none"][number % 3], "native_services": f"web:{3000 + number}",
        },
    )
"""


def measured(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str, dict[str, float]]:
    """Run `command`; return exit code, output, and its seconds, seconds of CPU, and the MiB of its biggest process."""
    with (cwd / "output").open("w+") as output:
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        # The usage of a child has that of the children that it waited for in it.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        output.seek(0)
        figures = {"wall": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}
        return process.returncode, output.read(), figures

"""The smallest applications of common frameworks, each started as its documentation says.

    apps = Apps(folder, env)
    with apps.start("vite", 4301, {"HOST_ALIAS_IP": "10.254.254.254"}):
        ...

`env` of the application is what `make -s dev-env` gave, see `environment`.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
# How each is started: README.md of a generated repo says the same.
COMMANDS = {
    "vite": 'npx vite --host "$HOST_ALIAS_IP" --port {port} --strictPort',
    "webpack": 'npx webpack serve --host "$HOST_ALIAS_IP" --port {port} --client-web-socket-url auto://0.0.0.0:0/ws',
    "next": 'npx next dev -H "$HOST_ALIAS_IP" -p {port}',
    "django": 'python3 manage.py runserver "$HOST_ALIAS_IP:{port}"',
    "flask": "flask run -p {port}",
    "uvicorn": "uvicorn app:app --port {port}",
    "gunicorn": 'gunicorn -b "$HOST_ALIAS_IP:{port}" app:app',
    "rails": "bin/rails server -p {port}",
}


def environment(text: str) -> dict[str, str]:
    """Return what the output of `make -s dev-env` exports."""
    words = shlex.split(text, comments=True)
    return dict(re.fullmatch(r"(\w+)=(.*)", word).groups() for word in words if word != "export")


@contextlib.contextmanager
def running(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `folder`, with its children; what they say is shown when the test fails."""
    process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True)
    try:
        yield process
    finally:
        # Its children, too.
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)


class Apps:
    """Copies of the applications in `folder`; nothing is written to this repo. What Node needs is installed at first use."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        """Copy them; `env` is what every process gets."""
        self.folder = Path(shutil.copytree(HERE, folder / "apps", ignore=shutil.ignore_patterns("__*__*")))
        # The Python ones run by the tests' own Python.
        self.env = env | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NEXT_TELEMETRY_DISABLED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def install(self) -> None:
        """Install the packages for Node, once."""
        if not (self.folder / "node_modules").exists():
            subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=self.folder,
                env=self.env,
                check=True,
                timeout=280,
            )

    @contextlib.contextmanager
    def start(self, name: str, port: int, env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the application `name` as its documentation says, on `port`."""
        with self.run(name, " ".join([COMMANDS[name].format(port=port), *map(shlex.quote, arguments)]), env) as process:
            yield process

    @contextlib.contextmanager
    def run(self, name: str, command: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run `command`, which starts the application `name`. It may take a while until it listens."""
        if command.startswith("npx "):
            self.install()
        with running(["sh", "-c", f"exec {command}"], self.folder / name, self.env | env) as process:
            yield process

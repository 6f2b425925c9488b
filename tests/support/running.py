"""A generated repo with its stack running on the real engine, for the tests of what its proxy does."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Render, Run
from host import is_free
from needs import need

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Stack:
    """A repo whose containers run: `make` runs a target of it, with the variables `ports`, `url` names a host of it as a developer would."""

    repo: Path
    conf: dict[str, str]
    ports: dict[str, str]
    run: Run

    def make(self, *arguments: str, **env: str) -> Done:
        """Run make in the repo."""
        return self.run("make", *arguments, cwd=self.repo, env=self.ports | env, timeout=500)

    def compose(self, *arguments: str, **more: Any) -> Done:
        """Run Compose in the repo."""
        return self.run("docker", "compose", *arguments, cwd=self.repo, env=self.ports, timeout=120, **more)

    def url(self, host: str = "", path: str = "/", scheme: str = "http") -> str:
        """Return the URL of `path` on `host`: "" is the domain, "api." is below it, a full name is itself."""
        name = host + self.conf["domain"] if host == "" or host.endswith(".") else host
        answer = self.conf[{"http": "web_port", "https": "https_port"}[scheme]]
        return f"{scheme}://{name}:{self.ports.get(f'LOCALDEV_{scheme.upper()}_PORT', answer)}{path}"

    def add_to_compose(self, text: str) -> None:
        """Add `text` to the user's own Compose file."""
        path = self.repo / "compose.yaml"
        path.write_text(path.read_text() + text)

    def write_routes(self, text: str) -> None:
        """Replace .localdev/routes as editors do, by a new file: a container must not keep the old one."""
        new = self.repo / ".localdev/routes.new"
        new.write_text(text)
        new.rename(self.repo / ".localdev/routes")


@contextlib.contextmanager
def running_stack(
    rendered: Render,
    run: Run,
    folder: Path,
    ports: dict[str, str],
    prepare: Callable[[Stack], None] = lambda _: None,
    **answers: str,
) -> Iterator[Stack]:
    """Bring the stack of a repo with `answers` up in `folder`; `prepare` may edit the repo before. Ends with its removal."""
    for name, port in ports.items():
        if name.endswith("_PORT"):
            need(is_free(int(port)), f"port {port} of 127.0.0.1 ({name})", "stop what listens there")
    repo = Path(shutil.copytree(rendered(**answers), folder / "my app's repo"))
    conf = dict(line.split("=", 1) for line in (repo / ".localdev/host-alias.conf").read_text().splitlines()[1:])
    stack = Stack(repo, conf, ports, run)
    prepare(stack)
    try:
        up = stack.make("dev-up")
        assert up.returncode == 0, up.stderr[-3000:]
        yield stack
    finally:
        down = stack.make("dev-down", "ARGS=--volumes --yes --timeout 3")
        assert down.returncode == 0, down.stderr

"""The doctor's first lines: which engine it is, and what that engine cannot do.

The real docker client asks a server of ours that answers as each product's does: its words about itself are all that the
doctor has. What the products say and refuse is in their documentation and sources; Docker's own engine is the real one.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Render, Run
from host import retry
from needs import NIGHTLY, need, need_command, need_namespaces, need_root

Findings = dict[str, dict[str, Any]]
# The system's own: another one can be a script, or in a folder of root's.
PYTHON = "/usr/bin/python3"
DOCTOR = ("-I", "-B", ".localdev/stack", "doctor", "--", "--json")
LINK_LOCAL = "169.254.254.254"


class Api(http.server.BaseHTTPRequestHandler):
    """What of the engine's API the doctor's questions need."""

    def do_GET(self) -> None:
        name = re.sub(r"^/v[0-9.]+", "", self.path).split("?")[0]
        answers = {
            "/_ping": "OK",
            "/info": self.server.info,
            "/version": {
                "Version": self.server.info["ServerVersion"],
                "ApiVersion": "1.41",
                "MinAPIVersion": "1.24",
                "Os": "linux",
                "Arch": "amd64",
                "Components": [{"Name": self.server.component, "Version": "1", "Details": {}}],
            },
        }
        body = json.dumps(answers.get(name, [])).encode()
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class ApiServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def engine(path: Path, component: str = "Engine", **info: Any) -> Iterator[dict[str, str]]:
    """Run an engine that says `info` of itself at `path`; yields the environment that leads to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ApiServer(str(path), Api) as server:
        server.component = component
        server.info = {
            "ServerVersion": "28.5.1",
            "Name": "here",
            "OperatingSystem": "Debian",
            "SecurityOptions": [],
        } | info
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield {"DOCKER_HOST": f"unix://{path}"}
        finally:
            server.shutdown()


Doctor = Callable[..., Findings]


@pytest.fixture
def doctor(repo: Render, run: Run, tmp_path: Path) -> Doctor:
    """Runs the doctor of a repo with these answers; returns its findings by id.

    Compose is not there: what it would be asked costs more than all else, and is not what this is about.
    """
    real = need_command("docker", "docker.io")
    client = tmp_path / "client/docker"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\n[ "$1" != compose ] || exit 1\nexec {real} "$@"\n')
    client.chmod(0o755)
    without_compose = {"PATH": f"{client.parent}:{os.environ['PATH']}"}
    made: dict[str, Path] = {}

    def doctor(env: dict[str, str], *before: str, **answers: str) -> Findings:
        if not made:
            made["repo"] = repo(**answers)
        done = run(*before, "python3", *DOCTOR, cwd=made["repo"], env=without_compose | env, timeout=60)
        assert done.stdout, done.stderr
        return {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}

    return doctor


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose path leaves room for a socket's."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    yield folder
    shutil.rmtree(folder)


ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}
DESKTOP = {"OperatingSystem": "Docker Desktop", "Name": "docker-desktop"}
UBUNTU = {"OperatingSystem": "Ubuntu 24.04 LTS"}
RANCHER = {"OperatingSystem": "Alpine Linux v3.20", "Name": "lima-rancher-desktop"}
# Product, socket, what the engine says of itself, and whether its containers cannot reach a link-local address.
PRODUCTS = [
    ("Docker Desktop", ".docker/run/docker.sock", DESKTOP, False),
    ("Colima", ".colima/default/docker.sock", {**UBUNTU, "Name": "colima"}, True),
    ("Colima", "docker.sock", {**UBUNTU, "Name": "colima-team"}, True),
    ("Lima", ".lima/docker/sock/docker.sock", {"Name": "lima-docker"}, True),
    ("OrbStack", ".orbstack/run/docker.sock", {"OperatingSystem": "OrbStack", "Name": "orbstack"}, True),
    ("Rancher Desktop", ".rd/docker.sock", RANCHER, True),
    ("Docker Engine", "docker.sock", {}, False),
    ("Docker Engine, rootless", "docker.sock", {"ServerVersion": "29.4.0", **ROOTLESS}, False),
    ("Docker Engine, rootless", "docker.sock", {"ServerVersion": "29.5.1", **ROOTLESS}, True),
    ("Docker Engine, rootless", "docker.sock", {"ServerVersion": "29.5.3", **ROOTLESS}, False),
    ("Podman, rootful", "podman.sock", {"ServerVersion": "5.4.2"}, False),
    ("Podman, rootless", "podman.sock", {"ServerVersion": "5.4.2", **ROOTLESS}, False),
    ("Podman machine", "podman-machine-default-api.sock", {"OperatingSystem": "fedora"}, True),
]


@pytest.mark.parametrize(("product", "path", "info", "refuses"), PRODUCTS, ids=lambda value: str(value)[:30])
def test_the_engine_is_named_and_one_that_filters_a_link_local_alias_is_told(
    doctor: Doctor, short: Path, product: str, path: str, info: dict[str, Any], refuses: bool
) -> None:
    with engine(short / path, "Podman Engine" if "Podman" in product else "Engine", **info) as env:
        found = doctor(env, alias_ip=LINK_LOCAL)
    version = info.get("ServerVersion", "28.5.1")
    assert {name: one for name, one in found.items() if name.startswith("runtime.")} == (
        {
            "runtime.link-local": {
                "level": "fail", "id": "runtime.link-local", "subject": "runtime",
                "text": f"{product} does not let containers reach {LINK_LOCAL}, a link-local address",
                "fix": 'make dev-update ARGS="-d alias_ip=10.254.254.254"',
            }
        }
        if refuses
        else {
            "runtime.found": {
                "level": "ok", "id": "runtime.found", "subject": "runtime", "text": f"{product} {version}", "fix": None,
            }
        }
    )  # fmt: skip


def test_the_address_that_is_advised_clears_it(doctor: Doctor, short: Path) -> None:
    with engine(short / "docker.sock", Name="colima") as env:
        assert doctor(env, alias_ip="10.254.254.254")["runtime.found"]["text"] == "Colima 28.5.1"


def test_docker_desktop_cannot_reach_a_wsl_distribution_unless_by_its_gateway(doctor: Doctor, short: Path) -> None:
    with engine(short / "docker.sock", OperatingSystem="Docker Desktop") as env:
        wsl = env | {"WSL_DISTRO_NAME": "Debian"}
        found = doctor(wsl)["runtime.wsl"]
        assert found["level"] == "fail"
        assert found["fix"].startswith("export LOCALDEV_HOST=host-gateway")
        assert "runtime.found" in doctor(wsl | {"LOCALDEV_HOST": "host-gateway"})


def test_colima_that_copies_host_addresses_has_the_alias_itself(doctor: Doctor, short: Path) -> None:
    settings = short / "colima/team/colima.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("network:\n  address: true\n  hostAddresses: true\n")
    with engine(short / "docker.sock", Name="colima-team") as env:
        env |= {"COLIMA_HOME": str(short / "colima")}
        found = doctor(env)["runtime.host-addresses"]
        assert found["fix"] == "colima stop && colima start --network-host-addresses=false"
        settings.write_text(settings.read_text().replace("true", "false"))
        assert "runtime.found" in doctor(env)


def test_rancher_desktops_gateway_is_its_own_machine(doctor: Doctor, short: Path) -> None:
    with engine(short / "docker.sock", Name="lima-rancher-desktop") as env:
        found = doctor(env | {"LOCALDEV_HOST": "host-gateway"})
        assert found["runtime.gateway"]["level"] == "warn"
        assert found["alias.gateway"]["level"] == "ok"
        assert "runtime.gateway" not in doctor(env)


def test_an_engine_on_another_machine_cannot_reach_this_one(doctor: Doctor) -> None:
    need_root()
    # Where there is no network nothing is waited for.
    alone = (need_command("unshare", "util-linux"), "--net")
    for host in ("ssh://me@build.example.test", "tcp://10.1.2.3:2375", "tcp://[2001:db8::1]:2375"):
        found = doctor({"DOCKER_HOST": host}, *alone)["runtime.remote"]
        assert host in found["text"]
        assert found["fix"] == "docker context use default && unset DOCKER_HOST"


def test_a_remote_context_is_seen_and_the_fix_clears_it(
    doctor: Doctor, run: Run, clean_env: dict[str, str], short: Path
) -> None:
    env = {"DOCKER_CONFIG": str(short / "config")}
    run("docker", "context", "create", "far", "--docker", "host=ssh://far.example.test", cwd=short, env=env, check=True)
    run("docker", "context", "use", "far", cwd=short, env=env, check=True)
    fix = doctor(env)["runtime.remote"]["fix"]
    run("sh", "-c", fix, cwd=short, env=env, check=True)
    assert "runtime.remote" not in doctor(env)


def test_an_engine_that_is_too_old(doctor: Doctor, short: Path) -> None:
    with engine(short / "docker.sock", ServerVersion="19.03.15") as env:
        found = doctor(env)["runtime.old"]
    assert "19.03.15" in found["text"]
    assert "20.10" in found["fix"]


def test_an_engine_that_does_not_run_and_how_to_start_it(doctor: Doctor, short: Path) -> None:
    ways = (
        (".colima/default/docker.sock", "colima start"),
        (".orbstack/run/docker.sock", "orb start"),
        (".rd/docker.sock", "rdctl start"),
        (".docker/run/docker.sock", "docker desktop start"),
        ("podman-machine-default-api.sock", "podman machine start"),
        ("docker.sock", "sudo systemctl start docker"),
    )
    for path, fix in ways if NIGHTLY else ways[1::2]:
        found = doctor({"DOCKER_HOST": f"unix://{short / path}"})
        assert found["runtime.silent"]["fix"] == fix
        # All else is still told.
        assert {"service.none"} <= found.keys()
    with engine(short / path) as env:
        assert "runtime.silent" not in doctor(env)


def test_an_engine_that_takes_the_question_and_never_answers_is_not_waited_for(doctor: Doctor, short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short / "docker.sock"))
        silent.listen()
        begin = time.monotonic()
        found = doctor({"DOCKER_HOST": f"unix://{short / 'docker.sock'}"})
        # What answers at all does so within eight seconds.
        assert 7 < time.monotonic() - begin < 14
    assert {"runtime.silent", "service.none"} <= found.keys()


def test_an_engine_that_one_may_not_use(repo: Render, clean_env: dict[str, str], short: Path) -> None:
    need_root()
    need_command("docker", "docker.io")
    need(Path(PYTHON).exists(), PYTHON, "apt-get install python3")
    # pytest's own folders are root's alone.
    folder = Path(shutil.copytree(repo(), short / "repo"))
    short.chmod(0o755)
    with engine(short / "docker.sock") as env:
        (short / "docker.sock").chmod(0o600)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PYTHON, *DOCTOR],
            cwd=folder, env=clean_env | env | {"DOCKER_CONFIG": str(short)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["runtime.silent"]["fix"] == 'sudo usermod -aG docker "$USER" && newgrp docker'


@pytest.mark.parametrize(
    ("version", "id"), [("2.23.0", "compose.old"), ("2.23.1", "compose.found"), ("v5.5.0", "compose.found")]
)
def test_composes_version_is_compared_with_the_oldest_that_works(
    doctor: Doctor, short: Path, version: str, id: str
) -> None:
    # A stand-in, as the real one has one version: all that is asked of it is which.
    (short / "docker").write_text(
        f'#!/bin/sh\ncase "$*" in "compose version --short") echo {version} ;; *) exit 1 ;; esac\n'
    )
    (short / "docker").chmod(0o755)
    found = doctor({"PATH": f"{short}:{os.environ['PATH']}"})
    assert version in found[id]["text"]


def test_real_podman_is_told_from_docker(doctor: Doctor, short: Path) -> None:
    need_namespaces()
    need_command("podman")
    path = short / "podman.sock"
    # It mounts its own folder, and would leave that behind.
    alone = ["unshare", "--mount", "--propagation", "private"]
    storage = ["--root", short / "root", "--runroot", short / "run"]
    command = [*alone, "podman", *storage, "system", "service", "--time=0", f"unix://{path}"]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
    try:

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(path))

        retry(connect)
        assert re.fullmatch(
            r"Podman, rootful [0-9.]+.*", doctor({"DOCKER_HOST": f"unix://{path}"})["runtime.found"]["text"]
        )
    finally:
        process.terminate()
        process.wait(20)

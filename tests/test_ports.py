"""ports.sh: a busy port is found before containers start; the message names who has it and the variable that moves ours.

On Linux these tests have a network namespace of their own: ports have their usual numbers, and nobody else listens there.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from conftest import Render, Run
from host import ALIAS_IP, is_free
from laptop import REPO, Laptop
from needs import NIGHTLY, need, need_command, need_engine, need_namespaces
from shells import AWKS, called, shells

ANSWERS = {"project_slug": "ports-test", "databases": "[postgres, redis]"}
SERVICES = ("proxy", "postgres", "redis")
ASKED, LISTED, STARTED = "docker ps", "docker compose ps", "docker compose up"

# Listens as the JSON in its argument says, tells so, and ends with its standard input.
LISTEN = """
import ctypes, json, os, socket, sys
address, ports, user, only6, device, fork = json.loads(sys.argv[1])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if that user had started it
listening = []
for port in ports:
    listening.append(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
    if ":" in address:
        listening[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
    if device:
        listening[-1].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    listening[-1].bind((address, port))
    listening[-1].listen()
if not fork or os.fork():
    print("ready", flush=True)
sys.stdin.read()
"""
# Writes down its calls; answers `ps` and `compose ps` with files, and fails where there is none. Whose everything is, is
# test_owners.py's business: here it is all ours.
CONFIG = json.dumps(
    {"name": "NAME", "services": {name: {"labels": {"local.host-alias.service": name}} for name in SERVICES}}
)
DOCKER = f"""#!/bin/sh
case "$*" in
*'config --format json') printf '%s' '{CONFIG.replace("NAME", "'; cat FOLDER/name; printf '%s' '")}'; exit ;;
*'ps --all '*) exit ;;
esac
printf '%s\\n' "${{0##*/}} $*" >>FOLDER/calls
case "${{0##*/}} $*" in
*compose*' ps '*) exec cat FOLDER/own ;;
*' ps '*) exec cat FOLDER/containers ;;
esac
"""


def taken(port: int, by: str, variable: str, free: int) -> str:
    """Return the one line about a port that `by` has."""
    move = f"move ours: {variable}={free} make dev-up (or that line in .env)"
    return f"localdev: port {port} of 127.0.0.1 is taken by {by}. Stop it, or {move}"


def container(number: int, name: str, project: str, ports: str) -> str:
    """Return the line of `docker ps` for a container."""
    return f"{number:012x}|{name}|{project}|{ports}\n"


class Docker:
    """A fake docker and podman in `tools` that write down their calls; at first they answer that no container runs.

    `seen` is where its `folder` is for it, in a pretend Mac.
    """

    def __init__(self, folder: Path, tools: Path, seen: str = "") -> None:
        self.folder = folder
        self.tools = tools
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        tools.mkdir(exist_ok=True)
        for name in ("docker", "podman", "podman-compose"):
            (tools / name).write_text(DOCKER.replace("FOLDER", seen or str(folder)))
            (tools / name).chmod(0o755)
        self.answer("")

    def answer(self, containers: str | None, own: str | None = "", project: str = "ports-test") -> None:
        """Set what `docker ps` and `docker compose ps` say, and the project's name; with None nothing answers."""
        for name, text in (("containers", containers), ("own", own), ("name", project)):
            (self.folder / name).unlink(missing_ok=True)
            if text is not None:
                (self.folder / name).write_text(text)

    def calls(self) -> list[str]:
        """Return how they were called since the last time, up to the verb."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line[: re.search(r" (ps|up)\b", line).end()] for line in lines]


class Network:
    """A network namespace: commands in it see its lo alone, on which 127.0.0.1, ::1 and the alias are."""

    def __init__(self) -> None:
        ready = f"ip link set lo up; ip address add {ALIAS_IP}/32 dev lo; echo ready; exec cat"
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-euc", ready], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout.readline() == "ready\n"
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    @contextlib.contextmanager
    def listen(
        self,
        *ports: int,
        at: str = "127.0.0.1",
        user: int = 0,
        only6: bool = False,
        device: str = "",
        fork: bool = False,
        program: str = "",
    ) -> Iterator[str]:
        """Let a process listen, of another user or with another name if need be; yields how the message calls it."""
        how = json.dumps([at, ports, user, only6, device, fork])
        env = os.environ | ({"PYTHONHOME": sys.base_prefix} if program else {})
        process = subprocess.Popen(
            [*self.enter, program or sys.executable, "-c", LISTEN, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        try:
            assert process.stdout.readline() == "ready\n"
            yield f"{Path(f'/proc/{process.pid}/exe').readlink().name} (pid {process.pid})"
        finally:
            process.communicate()


@pytest.fixture
def net() -> Iterator[Network]:
    need(sys.platform == "linux", "network namespaces", "run this on Linux")
    need_namespaces()
    for command, package in (("nsenter", "util-linux"), ("ip", "iproute2"), ("ss", "iproute2")):
        need_command(command, package)
    network = Network()
    yield network
    network.holder.communicate()


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker", tmp_path / "tools")


Outcome = tuple[int, list[str], list[str]]
Up = Callable[..., Outcome]


@pytest.fixture
def up(net: Network, docker: Docker, rendered: Render, run: Run) -> Up:
    """Returns a function that runs `stack.sh up`, or another verb, in the namespace: exit code, lines on stderr, the engine's calls."""

    def up(
        *arguments: str,
        verb: str = "up",
        repo: Path | None = None,
        shell: tuple[str, ...] = ("sh",),
        path: str = "",
        compose: str = "docker compose",
        **env: str,
    ) -> Outcome:
        path = f"PATH={docker.tools}:{path or os.environ['PATH']}"
        words = [*shell, ".localdev/sh/stack.sh", verb, *compose.split(), "--", *arguments]
        done = run(*net.enter, "env", path, *words, cwd=repo or rendered(**ANSWERS), env=env)
        # With an error nothing is said but the error; else the URLs come last.
        assert ("http://" in done.stdout) == (done.returncode == 0), done
        return done.returncode, done.stderr.splitlines(), docker.calls()

    return up


def only(folder: Path, *names: str) -> str:
    """Return a PATH on which only these commands are."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(need_command(name))
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    return str(folder)


# ---- what is busy, on Linux


def test_with_all_ports_free_two_programs_run_and_no_engine_is_asked(
    up: Up, net: Network, rendered: Render, run: Run, tmp_path: Path
) -> None:
    assert up() == (0, [], [STARTED])
    part = 'localdev=.localdev; . .localdev/sh/ports.sh; refuse_busy_ports "docker compose" ""'
    trace = [
        "-f",
        "-qq",
        "-e",
        "trace=execve",
        "-e",
        "status=successful",
        "-e",
        "signal=none",
        "-o",
        tmp_path / "programs",
    ]
    run(*net.enter, need_command("strace"), *trace, "sh", "-euc", part, cwd=rendered(**ANSWERS), check=True)
    assert len((tmp_path / "programs").read_text().splitlines()) == len(["sh", "ss", "awk"])


@pytest.mark.parametrize("more", [["ss"], []], ids=["ss", "without ss"])
def test_a_listener_in_the_way_of_127_0_0_1_is_named_and_nothing_starts(
    up: Up, net: Network, tmp_path: Path, more: list[str]
) -> None:
    path = only(tmp_path / "path", "sh", "cat", "grep", "awk", "ls", *more)
    for at, device in (
        *(("127.0.0.1", ""), ("0.0.0.0", ""), ("::", ""), ("127.0.0.1", "lo")),
        *(("::ffff:127.0.0.1", ""), ("::ffff:0.0.0.0", "")),  # as Java does it
    ):
        with net.listen(8080, at=at, device=device) as somebody:
            assert up(path=path) == (1, [taken(8080, somebody, "LOCALDEV_HTTP_PORT", 8081)], [ASKED]), (at, device)
    assert up(path=path) == (0, [], [STARTED])


@pytest.mark.parametrize("more", [["ss"], []], ids=["ss", "without ss"])
def test_a_listener_on_another_address_is_in_nobodys_way(up: Up, net: Network, tmp_path: Path, more: list[str]) -> None:
    path = only(tmp_path / "path", "sh", "cat", "grep", "awk", "ls", *more)
    with contextlib.ExitStack() as stack:
        for at in ("::1", ALIAS_IP, "127.0.0.2", f"::ffff:{ALIAS_IP}"):
            stack.enter_context(net.listen(5432 if at.startswith("::f") else 8080, at=at))
        assert up(path=path) == (0, [], [STARTED])


def test_a_listener_on_ipv6_alone_is_in_nobodys_way(up: Up, net: Network) -> None:
    with net.listen(8080, at="::", only6=True):
        assert up() == (0, [], [STARTED])


def test_all_busy_ports_are_told_at_once_each_with_the_next_port_that_nobody_uses(up: Up, net: Network) -> None:
    ports = {"LOCALDEV_HTTPS_PORT": "8081", "POSTGRES_PORT": "65535", "REDIS_PORT": "8083"}
    with (
        net.listen(8080, 65535) as one,
        net.listen(8083, at="0.0.0.0") as another,
        net.listen(8082, 1024, at="::1"),
        net.listen(8084),
    ):
        assert up(**ports) == (
            1,
            [
                taken(8080, one, "LOCALDEV_HTTP_PORT", 8085),
                taken(65535, one, "POSTGRES_PORT", 1025),
                taken(8083, another, "REDIS_PORT", 8086),
            ],
            [ASKED],
        )


def test_the_move_that_the_message_names_works(up: Up, net: Network) -> None:
    with net.listen(8080):
        variable, port = re.search(r"move ours: ([A-Z_]+)=([0-9]+) make dev-up ", up()[1][0]).groups()
        assert up(**{variable: port}) == (0, [], [STARTED])


def test_of_processes_that_share_a_socket_the_parent_is_named(up: Up, net: Network) -> None:
    with net.listen(8080, fork=True) as parent:
        assert up()[1] == [taken(8080, parent, "LOCALDEV_HTTP_PORT", 8081)]


def test_a_process_of_another_user_comes_with_the_command_that_names_it(
    net: Network, rendered: Render, run: Run
) -> None:
    """As a user who is not root: the kernel itself hides whose socket it is."""
    need_command("setpriv", "util-linux")
    with tempfile.TemporaryDirectory() as name, net.listen(8080, user=1000) as hers, net.listen(5432, user=1001):
        folder = Path(name)
        folder.chmod(0o755)
        docker = Docker(folder / "docker", folder / "tools")
        repo = shutil.copytree(rendered(**ANSWERS), folder / "my app's repo")
        alice = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
        command = [*net.enter, *alice, "env", f"PATH={docker.tools}:/usr/sbin:/usr/bin:/sbin:/bin"]

        def lines() -> list[str]:
            return run(*command, "sh", ".localdev/sh/stack.sh", "up", "docker", "compose", cwd=repo).stderr.splitlines()

        hidden = "a process of another user (sudo ss -ltnp sport = :5432 names it)"
        known = taken(8080, hers, "LOCALDEV_HTTP_PORT", 8081)
        assert lines() == [known, taken(5432, hidden, "POSTGRES_PORT", 5433)]
        # An engine's proxy looks like that: when none answers, Compose shall decide.
        docker.answer(None)
        assert lines() == [known]


def test_make_dev_up_ends_with_the_message(docker: Docker, rendered: Render, run: Run, net: Network) -> None:
    with net.listen(8080) as somebody:
        env = {"PATH": f"{docker.tools}:{os.environ['PATH']}", "LOCALDEV_HOST": "host-gateway"}
        done = run(*net.enter, "make", "dev-up", cwd=rendered(**ANSWERS), env=env)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-2] == taken(8080, somebody, "LOCALDEV_HTTP_PORT", 8081)


# ---- whose containers they are

OURS = container(1, "ports-test-proxy-1", "ports-test", "80/tcp, 127.0.0.1:8080->8080/tcp") + container(
    2, "ports-test-db-1", "ports-test", "127.0.0.1:5432->5432/tcp, 127.0.0.1:6379->6379/tcp"
)
IDS = "".join(f"{number:012x}{'e' * 52}\n" for number in (1, 2))


@pytest.fixture
def proxies(net: Network) -> Iterator[str]:
    """Something listens on three of our ports, as an engine does for containers."""
    with net.listen(8080, 5432, 6379) as engine:
        yield engine


@pytest.mark.usefixtures("proxies")
def test_our_own_running_containers_do_not_make_a_port_busy(up: Up, docker: Docker) -> None:
    docker.answer(OURS)
    assert up() == (0, [], [ASKED, STARTED])


@pytest.mark.usefixtures("proxies")
def test_our_own_containers_are_known_however_the_project_gets_its_name(up: Up, docker: Docker) -> None:
    # By .env, an override, the folder: only Compose knows, and it is asked once.
    docker.answer(OURS.replace("|ports-test|", "|renamed|"), IDS, project="renamed")
    assert up() == (0, [], [ASKED, STARTED])


@pytest.mark.usefixtures("proxies")
def test_a_container_of_another_project_is_named(up: Up, docker: Docker) -> None:
    docker.answer(
        container(3, "shop-proxy-1", "shop", "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp")
        + container(4, "loose", "", "127.0.0.1:5431-5433->5431-5433/tcp")
        + container(5, "ports-test-redis-1", "ports-test", "127.0.0.1:6379->6379/tcp"),
        IDS,
    )
    assert up() == (
        1,
        [
            taken(8080, "the container shop-proxy-1 of the project shop", "LOCALDEV_HTTP_PORT", 8081),
            taken(5432, "the container loose", "POSTGRES_PORT", 5433),
        ],
        [ASKED, LISTED, LISTED],
    )


def test_a_container_with_another_port_or_address_is_not_blamed(up: Up, docker: Docker, net: Network) -> None:
    with net.listen(8080) as somebody:
        for ports in (
            *("8080/tcp", "127.0.0.1:8080->8080/udp", "[::1]:8080->8080/tcp", f"{ALIAS_IP}:8080->80/tcp"),
            *("127.0.0.1:18080->8080/tcp", "127.0.0.1:8081-8090->8080-8089/tcp", ":::8080->80/tcp", ""),
        ):
            docker.answer(container(3, "innocent", "ports-test", ports))
            assert up() == (1, [taken(8080, somebody, "LOCALDEV_HTTP_PORT", 8081)], [ASKED]), ports


@pytest.mark.usefixtures("proxies")
def test_when_compose_cannot_say_which_containers_are_ours_it_decides_itself(up: Up, docker: Docker) -> None:
    docker.answer(OURS.replace("|ports-test|", "|shop|"), None)
    code, _, calls = up()
    assert (code, calls) == (0, [ASKED, *[LISTED] * 3, STARTED])


def test_when_no_engine_answers_its_process_is_left_to_compose(
    up: Up, docker: Docker, net: Network, tmp_path: Path
) -> None:
    docker.answer(None)
    program = shutil.copy(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), tmp_path / "docker-proxy")
    with net.listen(8080, program=str(program)) as engine:
        assert engine.startswith("docker-proxy (pid ")
        assert up() == (0, [], [ASKED, STARTED])
        with net.listen(5432) as somebody:
            assert up() == (1, [taken(5432, somebody, "POSTGRES_PORT", 5433)], [ASKED])
        # This one answers and has no such container: the process is another engine's.
        docker.answer("")
        assert up() == (1, [taken(8080, engine, "LOCALDEV_HTTP_PORT", 8081)], [ASKED])


@pytest.mark.parametrize(
    ("compose", "asked"),
    [
        ("docker --context x compose -f compose.yaml", "docker --context x ps"),
        ("podman compose", "podman ps"),
        ("podman-compose", "podman ps"),
    ],
)
def test_the_engine_that_is_asked_is_composes(up: Up, net: Network, compose: str, asked: str) -> None:
    with net.listen(8080):
        assert up(compose=compose)[2] == [asked]


# ---- which ports are ours


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize(
    ("arguments", "busy"),
    [
        ("", [8080, 5432, 6379]),
        ("redis", [6379]),
        ("--build redis proxy", [8080, 6379]),
        ("--pull proxy -t 5 --scale redis=2", [8080, 5432, 6379]),
        ("--timeout 5 redis", [6379]),
        ("--timeout=5 redis", [6379]),
        ("worker", []),  # yours
    ],
)
def test_only_the_ports_of_the_services_that_start_are_looked_at(up: Up, arguments: str, busy: list[int]) -> None:
    _, lines, calls = up(*arguments.split())
    assert [int(line.split()[2]) for line in lines] == busy
    assert calls == ([ASKED] if busy else [STARTED])


Busy = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def busy_ports(run: Run, tmp_path: Path) -> Busy:
    """Returns a function that tells busy_ports who listens: exit code, stderr, and PORT|VARIABLE|FREE|SOCKET of each."""

    def busy_ports(
        here: Path, listing: str, services: str = "", awk: str = "", env: dict[str, str] | None = None
    ) -> tuple[int, str, list[str]]:
        path = os.environ["PATH"]
        if awk:
            need_command(AWKS[awk][0])
            (tmp_path / "awk").write_text(f'#!/bin/sh\nexec {" ".join(AWKS[awk])} "$@"\n')
            (tmp_path / "awk").chmod(0o755)
            path = f"{tmp_path}:{path}"
        script = f"localdev=.localdev; . .localdev/sh/ports.sh; os_listeners() {{ cat; }}; busy_ports '{services}'"
        done = run("sh", "-euc", script, cwd=here, input=listing, env={"PATH": path, "LC_ALL": "C"} | (env or {}))
        return done.returncode, done.stderr, done.stdout.splitlines()

    return busy_ports


def listening(*ports: int) -> str:
    """Return what ss says when something listens on these ports."""
    return "".join(f"LISTEN 0 128 127.0.0.1:{port} 0.0.0.0:* ino:{port + 1} sk:1\n" for port in ports)


def test_every_port_of_every_service_is_looked_at(rendered: Render, busy_ports: Busy) -> None:
    here = rendered(databases="[postgres, mysql, redis, mongodb]")
    services = yaml.safe_load((here / ".localdev/compose.yaml").read_text())["services"]
    published = re.compile(r"127\.0\.0\.1:\$\{([A-Z_]+):-([0-9]*)\}:.+")
    assert len(services) == 5
    for name, service in services.items():
        # A variable without a usual value is any free port, unless somebody sets it.
        ours = [published.fullmatch(port).groups() for port in service["ports"]]
        usual = {variable: port for variable, port in ours if port}
        every = {variable: port or "7777" for variable, port in ours}
        for env, wanted in (({}, usual), (every, every)):
            _, _, rows = busy_ports(here, listening(*map(int, every.values())), f" {name} ", env=env)
            assert dict(row.split("|")[1::-1] for row in rows) == wanted
        assert busy_ports(here, "", f" {name} ") == (0, "", [])


COMPOSE = """
services:
  one:
    environment: {URL: "127.0.0.1:${NO_PORT:-1}:1"}
    ports: ["127.0.0.1:${A_PORT:-1111}:80", "127.0.0.1:${B_PORT:-2222}:${B_PORT:-2222}"]
  two-three:
    # ports: ["127.0.0.1:${NO_PORT:-2}:2"]
    ports:
      - "127.0.0.1:${C_PORT:-3333}:${C_PORT:-3333}"
      # - "127.0.0.1:${NO_PORT:-3}:3"
      - "127.0.0.1:${C_PORT:-3333}:${C_PORT:-3333}/udp"
      - "127.0.0.1:${NO_PORT:-5}:${NO_PORT:-5}/udp"
      - "127.0.0.1:${D_PORT:-4444}:${D_PORT:-4444}/tcp"
    healthcheck:
      test: ["CMD", "curl", "127.0.0.1:${NO_PORT:-4}:"]
volumes:
  ports:
"""
FORMS = '\ufeffA_PORT=5001\r\n export B_PORT = \'5002\' # two\r\nC_PORT=5\nC_PORT: "5003"\r\nTEXT="\nD_PORT=1\n" \n#D_PORT=2\n'
# All of them: 5001 to 5003 and 4444 are in our way, 5004 is used elsewhere, 1 to 5 stand where nothing of ours is published.
LISTINGS = {
    "ss": """LISTEN 0 4096 127.0.0.1:5001 0.0.0.0:* ino:11 sk:1001 cgroup:/a <->
LISTEN 0 4096 *:5002 *:* uid:1000 ino:12 sk:1001 v6only:0 <->
LISTEN 0 4096 [::ffff:127.0.0.1]:5003 *:* ino:13 sk:1001 v6only:0 <->
LISTEN 0 4096 127.0.0.1%lo:4444 0.0.0.0:* ino:14 sk:1001 <->
LISTEN 0 4096 [::]:5004 [::]:* ino:15 sk:1001 v6only:1 <->
LISTEN 0 4096 0.0.0.0:1 0.0.0.0:* ino:1 sk:1
LISTEN 0 4096 0.0.0.0:2 0.0.0.0:* ino:2 sk:1
LISTEN 0 4096 0.0.0.0:3 0.0.0.0:* ino:3 sk:1
LISTEN 0 4096 0.0.0.0:4 0.0.0.0:* ino:4 sk:1
LISTEN 0 4096 0.0.0.0:5 0.0.0.0:* ino:5 sk:1
""",
    "proc": """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:115C 0100007F:1389 01 00000000:00000000 00:00000000 00000000     0        0 15 1 0000000023d0931d 100 0 0
   1: 0100007F:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000023d0931d 100 0 0
   2: 7F000001:138A 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000023d0931d 100 0 0
   3: 00000000:0001 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000023d0931d 100 0 0
   4: 00000000:0002 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000000023d0931d 100 0 0
   5: 00000000:0003 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0000000023d0931d 100 0 0
   6: 00000000:0004 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1 0000000023d0931d 100 0 0
   7: 00000000:0005 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5 1 0000000023d0931d 100 0 0
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 0000000000000000FFFF00000100007F:138B 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 13 1 0
   1: 00000000000000000000000001000000:138C 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 15 1 0
   2: 00000000000000000000000000000000:115C 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 14 1 0
""",
    "netstat": """Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address  Foreign Address  (state)  rxbytes txbytes  rhiwat  shiwat  process:pid  state  options
tcp4       0      0  127.0.0.1.4444   127.0.0.1.80   ESTABLISHED  0  0  131072  131072   Safari Networking:15   00102 00000
tcp4       0      0  127.0.0.1.5001   *.*            LISTEN       0  0  131072  131072                  my app:11   00100 00
tcp46      0      0  *.5002           *.*            LISTEN       0  0  131072  131072                    node:12   00100 00
tcp4       0      0  *.5003           *.*            LISTEN       0  0  131072  131072                  a 1:b 2:13   00100 0
tcp6       0      0  *.4444           *.*            LISTEN       0  0  131072  131072                   other:15   00100 00
tcp4       0      0  *.4444           *.*            LISTEN       0  0  131072  131072                    node:14   00100 00
tcp6       0      0  *.5004           *.*            LISTEN       0  0  131072  131072                   other:15   00100 00
tcp4       0      0  *.1              *.*            LISTEN       0  0  131072  131072                 launchd:1   00100 00
tcp4       0      0  *.2              *.*            LISTEN       0  0  131072  131072                 launchd:1   00100 00
tcp4       0      0  *.3              *.*            LISTEN       0  0  131072  131072                 launchd:1   00100 00
tcp4       0      0  *.4              *.*            LISTEN       0  0  131072  131072                 launchd:1   00100 00
tcp4       0      0  *.5              *.*            LISTEN       0  0  131072  131072                 launchd:1   00100 00
""",
}


@pytest.mark.parametrize("awk", AWKS)
@pytest.mark.parametrize("listing", LISTINGS)
def test_every_awk_reads_compose_dotenv_and_listing_alike(
    repo: Render, busy_ports: Busy, awk: str, listing: str
) -> None:
    here = repo(**ANSWERS)
    (here / ".localdev/compose.yaml").write_text(COMPOSE)
    (here / ".env").write_text(FORMS, newline="")
    names = ["my app", "node", "a 1:b 2", "node"]
    who = [f"{number} {name}" if listing == "netstat" else f"{number}" for number, name in enumerate(names, 11)]
    ours = ["5001|A_PORT|5005", "5002|B_PORT|5006", "5003|C_PORT|5007", "4444|D_PORT|4445"]
    expected = [f"{port}|{socket}" for port, socket in zip(ours, who, strict=True)]
    assert busy_ports(here, LISTINGS[listing], awk=awk) == (0, "", expected)
    bad = {"A_PORT": "5002", "D_PORT": "none"}
    code, errors, rows = busy_ports(here, LISTINGS[listing], awk=awk, env=bad)
    assert (code, sorted(errors.splitlines()), rows) == (
        1,
        [
            "localdev: A_PORT and B_PORT are both 5002. "
            "Move one of them: B_PORT=5005 make dev-up (or that line in .env)",
            "localdev: D_PORT is none in the environment, which is no port. Give it a number from 1 to 65535",
        ],
        [],
    )


Case = tuple[str, str, dict[str, str]]
Composes = Callable[[list[Case]], None]


@pytest.fixture
def composes(repo: Render, run: Run, busy_ports: Busy) -> Composes:
    """Returns a function that asserts that each port is the one that Compose publishes.

    A case is what .env, .localdev/.env and the environment say of REDIS_PORT. Compose is asked once: in each case that is
    another variable, and 6379 and 7001 to 7003 are other numbers.
    """
    need_command("docker", "docker.io")

    def composes(cases: list[Case]) -> None:
        here = repo(**ANSWERS)
        names = [f"{chr(ord('A') + number)}_PORT" for number in range(len(cases))]

        def own(number: int, text: str) -> str:
            return text.replace("REDIS_PORT", names[number]).replace("700", f"7{number:02}")

        for place, name in enumerate((".env", ".localdev/.env")):
            (here / name).write_text("".join(own(number, case[place]) for number, case in enumerate(cases)), newline="")
        services = "".join(
            f'  {name.lower()}:\n    image: x\n    ports: ["127.0.0.1:${{{name}:-6{number:02}9}}:80"]\n'
            for number, name in enumerate(names)
        )
        (here / ".localdev/compose.yaml").write_text(f"services:\n{services}")
        env = {own(n, name): own(n, value) for n, case in enumerate(cases) for name, value in case[2].items()}
        config = run("docker", "compose", "config", "--format", "json", cwd=here, env=env, check=True).stdout
        published = {name: json.loads(config)["services"][name.lower()]["ports"][0]["published"] for name in names}
        ports = (1, *(base + 10 * number for base in (6009, 7001, 7002, 7003) for number in range(len(cases))))
        _, errors, rows = busy_ports(here, listening(*ports), env=env)
        found = dict(row.split("|")[1::-1] for row in rows)
        assert (errors, [(case, found.get(name)) for case, name in zip(cases, names, strict=True)]) == (
            *("", [(case, published[name]) for case, name in zip(cases, names, strict=True)]),
        )

    return composes


def test_a_line_of_dotenv_is_what_compose_takes_it_for(composes: Composes) -> None:
    lines = [
        *(
            '\ufeffREDIS_PORT= "7001"\n',
            "REDIS_PORT=7001\n",
            "export REDIS_PORT=7001\r\n",
            "export\tREDIS_PORT=7001 \t\n",
        ),
        *('REDIS_PORT="7001"\n', "REDIS_PORT='7001'\r\n", "REDIS_PORT = 7001\n", "REDIS_PORT: 7001\n"),
        *("\t REDIS_PORT=7001\n", "REDIS_PORT=7001 # 1\n", 'REDIS_PORT="7001" # 1\n', "REDIS_PORT=07001\n"),
        *("REDIS_PORT=1\nREDIS_PORT=7001\n", "#REDIS_PORT=1\n", "REDIS_PORT=\n", "REDIS_PORT=''\n", "REDIS_PORT\n"),
        *("redis_port=1\n", "MY_REDIS_PORT=1\n", "REDIS_PORT_2=1\n", 'A="\nREDIS_PORT=1\n"\n', "REDIS_PORT=\n1\n"),
        *("A='\nB\n'\nREDIS_PORT=7001\n", "REDIS_PORT=7001"),
    ]
    composes([(line, "", {}) for line in lines])


def test_the_one_of_three_places_that_counts_is_composes(composes: Composes) -> None:
    composes(
        [
            (text, beside, env)
            for text in ("", "REDIS_PORT=7001\n", "REDIS_PORT=\n")
            for beside in ("", "REDIS_PORT=7003\n")
            for env in ({}, {"REDIS_PORT": ""}, {"REDIS_PORT": "7002"})
        ]
    )


def test_what_other_variables_make_of_one_is_left_to_compose(repo: Render, busy_ports: Busy) -> None:
    here = repo(**ANSWERS)
    (here / ".env").write_text('A=6379\nREDIS_PORT="${A}"\n')
    assert busy_ports(here, listening(6379), " redis ") == (0, "", [])


@pytest.mark.parametrize("where", ["the environment", ".env"])
def test_a_variable_that_is_no_port_is_refused_in_one_line(up: Up, repo: Render, where: str) -> None:
    here = repo(**ANSWERS)
    values = ("0", "65536", "-1", "80a", "8080-8090", "80 80", "127.0.0.1:80", "99999999999", "é")
    # By day half of them stand in each place.
    for value in values if NIGHTLY else values[where == ".env" :: 2]:
        env = {"REDIS_PORT": value} if where == "the environment" else {}
        if not env:
            (here / where).write_text(f"REDIS_PORT={value}\n")
        shown = value.replace("é", "??")
        line = f"localdev: REDIS_PORT is {shown} in {where}, which is no port. Give it a number from 1 to 65535"
        assert up(repo=here, **env) == (1, [line], [])
    assert up("proxy", repo=here, **env)[0] == 1


def test_two_services_on_one_port_are_refused_in_one_line_that_names_both_variables(up: Up) -> None:
    line = "localdev: LOCALDEV_HTTP_PORT and POSTGRES_PORT are both 8080. "
    move = "Move one of them: POSTGRES_PORT=8081 make dev-up (or that line in .env)"
    assert up(POSTGRES_PORT="8080") == (1, [line + move], [])
    assert up("redis", POSTGRES_PORT="8080") == (0, [], [STARTED])


def test_the_port_of_https_is_looked_at_once_https_is_on(up: Up, docker: Docker, net: Network, repo: Render) -> None:
    here = repo(**ANSWERS)
    (docker.tools / "mkcert").write_text('#!/bin/sh\nprintf "x\\n" | tee "$2" >"$4"\n')
    (docker.tools / "mkcert").chmod(0o755)
    with net.listen(8080), net.listen(8443) as somebody:
        docker.answer(OURS, IDS)
        assert up(repo=here) == (0, [], [ASKED, STARTED])
        line = taken(8443, somebody, "LOCALDEV_HTTPS_PORT", 8444)
        # The first look is whether the proxy runs.
        assert up(repo=here, verb="tls") == (1, [line], [LISTED, ASKED])
        code, lines, calls = up(repo=here)
        assert (code, lines[-1], calls) == (1, line, [ASKED])


# ---- every shell


@shells
def test_the_messages_are_the_same_under_every_shell(up: Up, docker: Docker, net: Network, shell: str) -> None:
    docker.answer(
        container(3, "shop-db-1", "shop", "127.0.0.1:5432->5432/tcp") + OURS.splitlines()[0].replace("8080", "6379")
    )
    with net.listen(8080, 5432, 6379) as somebody:
        assert up("--timeout", "5", shell=tuple(called(shell))) == (
            1,
            [
                taken(8080, somebody, "LOCALDEV_HTTP_PORT", 8081),
                taken(5432, "the container shop-db-1 of the project shop", "POSTGRES_PORT", 5433),
            ],
            [ASKED, LISTED],
        )
    assert up(shell=tuple(called(shell))) == (0, [], [STARTED])


# ---- macOS


class DockerMac:
    """A pretend Mac with a repo and a fake docker."""

    def __init__(self, folder: Path, repo: Path, shell: str | None = None) -> None:
        self.mac = Laptop(folder / "mac", repo, shell=shell).set_up()
        self.docker = Docker(
            self.mac.path("/private/tmp/docker"), self.mac.path("/usr/local/bin"), "/private/tmp/docker"
        )
        self.listen = self.mac.listen

    def up(self, *command: str, **env: str) -> Outcome:
        """Run `stack.sh up`: exit code, lines on stderr, the calls of docker, lsof and netstat in this order."""
        self.mac.forget_calls()
        command = (*(command or ("/bin/sh",)), ".localdev/sh/stack.sh", "up", "docker", "compose")
        done = self.mac.run(command, cwd=REPO, env=env)
        called = [Path(program).name for program, _, _ in self.mac.calls]
        engine = self.docker.calls()
        return (
            done.returncode,
            done.stderr.splitlines(),
            [*engine, *(name for name in called if name in ("lsof", "netstat"))],
        )


@pytest.fixture
def mac(tmp_path: Path, rendered: Render) -> DockerMac:
    return DockerMac(tmp_path, rendered(**ANSWERS))


@pytest.mark.parametrize("macos", ["15.3.2", "15.4", "26.6.2"])  # netstat's three headers
def test_on_macos_what_is_in_the_way_is_told_by_one_look_at_netstat(mac: DockerMac, macos: str) -> None:
    mac.mac.macos = macos
    # Ports of clients, and of the servers that they talk to.
    clients = {
        "LOCALDEV_HTTP_PORT": "52011",
        "LOCALDEV_HTTPS_PORT": "52012",
        "POSTGRES_PORT": "3000",
        "REDIS_PORT": "3001",
    }
    assert mac.up(**clients) == (0, [], [STARTED, "netstat"])
    # What listens on another address.
    mac.mac.add_alias("10.1.2.3", "255.255.255.255")
    mac.listen(8080, "*", proto="tcp6")
    for address in ("::1", ALIAS_IP, "10.1.2.3", "127.0.0.2"):
        mac.listen(5432, address)
    mac.listen(18080)
    assert mac.up() == (0, [], [STARTED, "netstat"])
    for address, proto in (("*", "tcp46"), ("*", "tcp4"), ("127.0.0.1", "tcp4")):
        mac.mac.stop(8080)
        mac.listen(8080, address, "node helper app", proto=proto)
        line = taken(8080, "node helper app (pid 12345)", "LOCALDEV_HTTP_PORT", 8081)
        assert mac.up() == (1, [line], [ASKED, "netstat", "lsof"]), (address, proto)


def test_on_macos_a_process_of_another_user_is_told_as_far_as_netstat_knows_it(mac: DockerMac) -> None:
    for macos, command, pid, shown in (
        ("15.3.2", "postgres", 77, "a process of another user (pid 77)"),
        ("15.4", "postgres", 77, "a process of another user (pid 77)"),
        ("26.6.2", "postgres", 77, "postgres of another user (pid 77)"),
        ("26.6.2", "my 3 app: x|y", 77, "my 3 app: x?y of another user (pid 77)"),
        ("15.4", "", 0, "a process of another user (sudo lsof -nP -iTCP:5432 -sTCP:LISTEN names it)"),
    ):
        mac.mac.macos = macos
        mac.mac.stop(5432)
        # One's own process on another address must not be taken for it.
        mac.listen(5432, ALIAS_IP, "node")
        mac.listen(5432, "127.0.0.1", command, "bob", pid)
        assert mac.up() == (1, [taken(5432, shown, "POSTGRES_PORT", 5433)], [ASKED, "netstat", "lsof"]), macos


def test_on_macos_containers_are_told_from_each_other(mac: DockerMac) -> None:
    for port in (8080, 5432):
        mac.listen(port, "127.0.0.1", "com.docker.backend", pid=900)
    mac.docker.answer(OURS)
    assert mac.up() == (0, [], [ASKED, STARTED, "netstat"])
    mac.docker.answer(OURS.replace("|ports-test|", "|shop|"))
    assert mac.up() == (
        1,
        [
            taken(8080, "the container ports-test-proxy-1 of the project shop", "LOCALDEV_HTTP_PORT", 8081),
            taken(5432, "the container ports-test-db-1 of the project shop", "POSTGRES_PORT", 5433),
        ],
        [ASKED, LISTED, LISTED, "netstat"],
    )


def test_on_macos_when_no_engine_answers_its_process_is_left_to_compose(mac: DockerMac) -> None:
    mac.docker.answer(None)
    helpers = ("com.docker.backend", "com.docke", "OrbStack Helper", "limactl", "ssh", "gvproxy", "vpnkit-bridge")
    for command in helpers if NIGHTLY else helpers[::2]:
        mac.mac.stop(8080)
        mac.listen(8080, "127.0.0.1", command)
        assert mac.up() == (0, [], [ASKED, STARTED, "netstat", "lsof"]), command
    mac.listen(5432, "127.0.0.1", "sshd-like", pid=5)
    assert mac.up()[:2] == (1, [taken(5432, "sshd-like (pid 5)", "POSTGRES_PORT", 5433)])


@shells
def test_on_macos_the_messages_are_the_same_under_every_shell(shell: str, rendered: Render, tmp_path: Path) -> None:
    path, *options = called(shell)
    # A Mac's /bin/sh is one program: bash in POSIX mode is what bash is as sh.
    mac = DockerMac(tmp_path, rendered(**ANSWERS), path)
    mac.mac.decoys("lsof", "netstat")
    inside = ["/bin/sh"] if Path(path).name == "busybox" else ["/bin/sh", *options]
    mac.listen(8080, command="node")
    mac.listen(5432, "127.0.0.1", "postgres", "bob", 77)
    mac.listen(6379, "127.0.0.1", "com.docker.backend", pid=900)
    mac.docker.answer(container(3, "shop-redis-1", "shop", "127.0.0.1:6379->6379/tcp"))
    assert mac.up(*inside) == (
        1,
        [
            taken(8080, "node (pid 12345)", "LOCALDEV_HTTP_PORT", 8081),
            taken(5432, "postgres of another user (pid 77)", "POSTGRES_PORT", 5433),
            taken(6379, "the container shop-redis-1 of the project shop", "REDIS_PORT", 6380),
        ],
        [ASKED, LISTED, "netstat", "lsof", "lsof"],
    )


# ---- a real engine

PORTS = {"LOCALDEV_HTTP_PORT": "18180", "LOCALDEV_HTTPS_PORT": "18543", "REDIS_PORT": "26380"}
ON_THE_ENGINE = {"project_slug": "ports-test", "databases": "[redis]"}


def containers_of(project: str, run: Run, here: Path) -> list[str]:
    """Return each container of `project`, running or not, and since when it runs."""
    label = f"label=com.docker.compose.project={project}"
    ids = run("docker", "ps", "-aq", "--filter", label, cwd=here, check=True).stdout.split()
    about = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
    return run("docker", "inspect", "-f", about, *ids, cwd=here).stdout.splitlines() if ids else []


@pytest.fixture(scope="module")
def on_the_engine(run: Run) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Returns a function that runs make with our ports; the host gateway spares this machine the alias."""
    need_engine()

    def make(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        return run("make", *arguments, cwd=cwd, env=PORTS | {"LOCALDEV_HOST": "host-gateway"} | env, timeout=240)

    return make


@pytest.fixture(scope="module")
def stack(rendered: Render, on_the_engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repo of a running stack; its path has a space, a quote and a symbolic link."""
    for name, port in PORTS.items():
        need(is_free(int(port)), f"port {port} of 127.0.0.1 ({name})", "stop what listens there")
    folder = tmp_path_factory.mktemp("ports")
    shutil.copytree(rendered(**ON_THE_ENGINE), folder / "real/my app's repo", symlinks=True)
    (folder / "link").symlink_to("real")
    here = folder / "link/my app's repo"
    try:
        done = on_the_engine("dev-up", cwd=here)
        assert done.returncode == 0, done.stderr[-3000:]
        yield here
    finally:
        assert on_the_engine("dev-down", "ARGS=--volumes --yes --timeout 3", cwd=here).returncode == 0


@pytest.mark.engine
@pytest.mark.parametrize("path", ["link/my app's repo", "real/my app's repo"])
def test_a_running_stack_comes_up_again_and_nothing_restarts(stack: Path, on_the_engine, run: Run, path: str) -> None:
    before = containers_of("ports-test", run, stack)
    assert len(before) == 2
    done = on_the_engine("dev-up", cwd=stack.parents[1] / path)
    assert done.returncode == 0, done.stderr
    assert "taken" not in done.stderr
    assert containers_of("ports-test", run, stack) == before


@pytest.mark.engine
def test_a_part_of_a_running_stack_comes_up_beside_the_rest(stack: Path, on_the_engine, run: Run) -> None:
    run("docker", "compose", "rm", "--stop", "--force", "redis", cwd=stack, env=PORTS, check=True)
    done = on_the_engine("dev-up", cwd=stack)
    assert done.returncode == 0, done.stderr
    assert len(containers_of("ports-test", run, stack)) == 2


@pytest.fixture
def refused(repo: Render, on_the_engine, run: Run) -> Iterator[Callable[..., list[str]]]:
    """Returns a function that runs dev-up of a project: its lines on stderr, after no container of the project was made."""
    made = []

    def refused(project: str, here: Path | None = None, **env: str) -> list[str]:
        here = here or repo(**ON_THE_ENGINE | {"project_slug": project})
        made.append((project, here))
        done = on_the_engine("dev-up", cwd=here, **env)
        assert done.returncode != 0
        assert containers_of(project, run, here) == []
        return [line for line in done.stderr.splitlines() if line.startswith("localdev: ")]

    yield refused
    for project, here in made:
        on_the_engine("dev-down", "ARGS=--volumes --yes --timeout 3", cwd=here, COMPOSE_PROJECT_NAME=project)


@pytest.mark.engine
def test_another_projects_containers_are_named_before_one_of_ours_starts(stack: Path, refused) -> None:
    proxy = "the container ports-test-proxy-1 of the project ports-test"
    lines = [
        taken(18180, proxy, "LOCALDEV_HTTP_PORT", 18181),
        taken(18543, proxy, "LOCALDEV_HTTPS_PORT", 18544),
        taken(26380, "the container ports-test-redis-1 of the project ports-test", "REDIS_PORT", 26381),
    ]
    assert refused("ports-test-two") == lines
    # The same repo under a new name is another project, too: its old containers are in the way.
    assert refused("ports-test-three", stack, COMPOSE_PROJECT_NAME="ports-test-three") == lines


@pytest.mark.engine
def test_a_process_of_this_machine_is_named_before_a_container_starts(refused) -> None:
    how = json.dumps(["127.0.0.1", [26390], 0, False, "", False])
    moved = {"LOCALDEV_HTTP_PORT": "18195", "LOCALDEV_HTTPS_PORT": "18558", "REDIS_PORT": "26390"}
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        somebody = f"{Path(sys.executable).resolve().name} (pid {process.pid})"
        assert refused("ports-test-four", **moved) == [taken(26390, somebody, "REDIS_PORT", 26391)]
    finally:
        process.communicate()

"""A busy port is found before containers start; the message names who has it and the line that moves ours.

On Linux these tests have a network namespace of their own: ports have their usual numbers, and nobody else listens there.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compose
import ports
from conftest import LOCALDEV, Render, Run
from fakes import FakeDocker, Repo
from host import ALIAS_IP
from laptop import REPO, Laptop
from needs import NIGHTLY, need, need_command, need_compose, need_engine, need_root
from running import running_stack
from sites import CONF, DATABASES, compose_config, read_settings

# Listens as the JSON in its argument says, tells so, and ends with its standard input.
LISTEN = """
import ctypes, json, os, socket, sys
address, ports, user, fork = json.loads(sys.argv[1])
if user:
    os.setgroups([]), os.setgid(user), os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as if that user had started it
listening = []
for port in ports:
    listening.append(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
    if ":" in address:
        listening[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False)
    listening[-1].bind((address, port))
    listening[-1].listen()
if not fork or os.fork():
    print("ready", flush=True)
sys.stdin.read()
"""
# Prints what its second argument is in the network that it runs in.
SAY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import compose, ports
from machine import linux

def busy(config, services, rows):
    containers = None if rows is None else [compose.container_of(*row) for row in rows]
    return [str(refusal) for refusal in ports.busy(config, services, containers)]

print(json.dumps(eval(sys.argv[2])))
"""


GIVE = "give {} another one in your Compose file, e.g. {}"


def taken(port: int, by: str, variable: str, free: int) -> str:
    """Return the line about a port that `by` has."""
    return f"port {port} of 127.0.0.1 is taken by {by}. Fix: stop it, or move ours: {variable}={free} in .env"


def container(name: str, project: str, ports: str) -> list[str]:
    """Return the row of a running container, as compose.containers asks for it."""
    return [name, name, "running", project, name, "/gone", "/gone/compose.yaml", "", "False", "", "", ports, "Up", ""]


class Network:
    """A network namespace: what runs in it sees its lo alone, on which 127.0.0.1, ::1 and the alias are."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Make it; `config` is what Compose says of the stack."""
        self.config = config
        ready = f"ip link set lo up; ip address add {ALIAS_IP}/32 dev lo; echo ready; exec cat"
        command = ["unshare", "--net", "sh", "-euc", ready]
        self.holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    @contextlib.contextmanager
    def listen(
        self, *ports: int, at: str = "127.0.0.1", user: int = 0, fork: bool = False, program: str = ""
    ) -> Iterator[str]:
        """Let a process listen, of another user or with another name if need be; yields how the message calls it."""
        env = os.environ | ({"PYTHONHOME": sys.base_prefix} if program else {})
        command = [*self.enter, program or sys.executable, "-c", LISTEN, json.dumps([at, ports, user, fork])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        try:
            assert process.stdout.readline() == "ready\n"
            yield f"{Path(f'/proc/{process.pid}/exe').readlink().name} (pid {process.pid})"
        finally:
            process.communicate()

    def say(self, what: str, given: Any = None, stack: Path = LOCALDEV / "stack", become: tuple[str, ...] = ()) -> Any:
        """Return what the Python expression `what` is here; it has `given` as JSON on standard input."""
        command = [*self.enter, *become, "/usr/bin/python3", "-I", "-B", "-c", SAY, stack, what]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return json.loads(done.stdout)

    def busy(self, *services: str, containers: Any = (), config: dict[str, Any] | None = None, **how: Any) -> list[str]:
        """Return what ports.busy finds; `containers` are the engine's, None for an engine that is silent."""
        return self.say("busy(*json.load(sys.stdin))", [config or self.config, services, containers], **how)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    need(sys.platform == "linux", "network namespaces", "run this on Linux")
    need_root()
    for command, package in (("nsenter", "util-linux"), ("ip", "iproute2")):
        need_command(command, package)
    network = Network(compose_config(read_settings(tmp_path, CONF, DATABASES)))
    yield network
    network.holder.communicate()


def test_a_listener_in_the_way_of_127_0_0_1_or_of_1_is_named_and_no_other(net: Network) -> None:
    for at, listed in {
        **{address: address for address in ("127.0.0.1", "127.0.0.2", ALIAS_IP, "::1", "::")},
        **{f"::ffff:{address}": address for address in ("127.0.0.1", ALIAS_IP)},  # as Java does it
        **dict.fromkeys(("0.0.0.0", "::ffff:0.0.0.0"), "*"),
    }.items():
        with net.listen(8080, at=at) as somebody:
            ((address, port, pids, name),) = net.say("linux.listeners()")
            assert (address, port, name) == (listed, 8080, ""), at
            assert somebody.endswith(f"(pid {' '.join(map(str, pids))})"), at
            line = taken(8080, somebody, "LOCALDEV_HTTP_PORT", 8081)
            assert net.busy() == ([line] if listed in ("127.0.0.1", "*", "::", "::1") else []), at


def test_all_busy_ports_are_told_at_once_each_with_the_next_port_that_nobody_uses(net: Network, tmp_path: Path) -> None:
    config = compose_config(read_settings(tmp_path, CONF, DATABASES), https=8081, redis=65535, mongodb=8083)
    with net.listen(8080, 65535) as one, net.listen(8083, at="0.0.0.0") as another, net.listen(8082, 1024, at="::1"):
        assert net.busy(config=config) == [
            taken(8080, one, "LOCALDEV_HTTP_PORT", 8084),
            taken(65535, one, "REDIS_PORT", 1025),
            taken(8083, another, "MONGODB_PORT", 8085),
        ]


def test_a_process_of_another_user_comes_with_the_command_that_names_it(net: Network) -> None:
    """As a user who is not root: the kernel itself hides whose socket it is."""
    need_command("setpriv", "util-linux")
    with tempfile.TemporaryDirectory() as name, net.listen(8080, user=1000) as hers, net.listen(6379, user=1001):
        Path(name).chmod(0o755)
        stack = shutil.copytree(LOCALDEV / "stack", Path(name) / "my app's repo")
        alice = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
        hidden = f"a process of another user ({ports.system.owner_hint(6379)} names it)"
        known = taken(8080, hers, "LOCALDEV_HTTP_PORT", 8081)
        assert net.busy(become=alice, stack=stack) == [known, taken(6379, hidden, "REDIS_PORT", 6380)]
        # An engine's proxy looks like that: when none answers, Compose shall say why.
        assert net.busy(become=alice, stack=stack, containers=None) == [known]


def test_a_port_of_our_own_container_is_free_and_of_another_one_it_is_named(net: Network) -> None:
    # Of processes that share a socket the parent is named.
    with net.listen(8080, 8443, 6379, fork=True) as engine:
        proxy = container("shop-proxy-1", "shop", "80/tcp, 127.0.0.1:8080->8080/tcp, 127.0.0.1:8443->8443/tcp")
        redis = container("shop-redis-1", "shop", "0.0.0.0:6379->6379/tcp, [::]:6379->6379/tcp")
        assert net.busy(containers=[proxy, redis]) == []
        other = container("app-proxy-1", "app", "0.0.0.0:8080->80/tcp, :::8080->80/tcp")
        loose = container("loose", "", "127.0.0.1:6378-6380->1-3/tcp")
        assert net.busy(containers=[other, loose]) == [
            taken(8080, "the container app-proxy-1 of the project app", "LOCALDEV_HTTP_PORT", 8081),
            taken(8443, engine, "LOCALDEV_HTTPS_PORT", 8444),
            taken(6379, "the container loose", "REDIS_PORT", 6380),
        ]


def test_only_a_published_port_of_this_address_is_a_containers() -> None:
    for text, found in {
        "8080/tcp, 9000-9001/tcp, 127.0.0.1:8080->80/udp": (),
        f"{ALIAS_IP}:8080->80/tcp, 192.0.2.1:8081->80/tcp, [2001:db8::1]:8082->80/tcp": (),
        "127.0.0.1:8080->80/tcp, [::1]:8081->80/tcp, ::1:8082->80/tcp": (8080, 8081, 8082),
        "0.0.0.0:8080->80/tcp, [::]:8081->80/tcp, :::8082->80/tcp, :8083->80/tcp": (8080, 8081, 8082, 8083),
        "127.0.0.1:9000-9002->1-3/tcp": (9000, 9001, 9002),
    }.items():
        assert compose.published_ports(text) == set(found), text


def test_while_the_engine_is_silent_its_processes_are_left_to_compose(net: Network, tmp_path: Path) -> None:
    program = shutil.copy(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), tmp_path / "docker-proxy")
    with net.listen(8080, program=str(program)) as engine, net.listen(6379) as somebody:
        redis = taken(6379, somebody, "REDIS_PORT", 6380)
        assert net.busy(containers=None) == [redis]
        # This one answers and has no such container: the process is another engine's.
        assert net.busy() == [taken(8080, engine, "LOCALDEV_HTTP_PORT", 8081), redis]


def test_the_ports_that_compose_publishes_are_looked_at_each_with_what_moves_it(repo: Render, run: Run) -> None:
    need_compose()
    here = repo(databases="[postgres, mysql, redis, mongodb]")
    services = {
        "web": ["3000:3000", "127.0.0.1:3001:80", "[::1]:3001:80", "9000-9001:80-81", "127.0.0.1:3002:53/udp"],
        "any": ["80", "127.0.0.1::81", "8000-8010:80", f"{ALIAS_IP}:3003:80"],
    }
    extra = {name: {"image": "x", "ports": texts} for name, texts in services.items()}
    (here / "compose.yaml").write_text(json.dumps({"include": [".localdev/compose.yaml"], "services": extra}))
    ours = {"MYSQL_PORT": 3306, "POSTGRES_PORT": 5432, "REDIS_PORT": 6379, "MONGODB_PORT": 27017}
    ours |= {"LOCALDEV_HTTP_PORT": 8080, "LOCALDEV_HTTPS_PORT": 8443}
    for more in (0, 1):
        (here / ".env").write_text("".join(f"{name}={port + more}\n" for name, port in ours.items()))
        said = run("docker", "compose", "config", "--format", "json", cwd=here, check=True).stdout
        found = {port.number: port.variable or port.service for port in ports.published(json.loads(said), [])}
        theirs = dict.fromkeys((3000, 3001, 9000, 9001), "web")
        assert found == {port + more: name for name, port in ours.items()} | theirs
        assert [port.variable for port in ports.published(json.loads(said), ["redis", "any"])] == ["REDIS_PORT"]


def test_two_services_on_one_port_are_told_with_the_one_that_can_move(net: Network, tmp_path: Path) -> None:
    both = "port 8080 is published twice, by proxy and by"
    config = compose_config(read_settings(tmp_path, CONF, DATABASES), redis=8080)
    assert net.busy(config=config) == [f"{both} redis. Fix: REDIS_PORT=8081 in .env"]
    assert net.busy("redis", config=config) == []
    net.config["services"]["web"] = {"ports": [{"target": 80, "published": "8080", "protocol": "tcp"}]}
    assert net.busy() == [f"{both} web. Fix: {GIVE.format('web', 8081)}"]


def test_the_services_that_arguments_of_up_name() -> None:
    for text, services in {
        "--build redis proxy": ["redis", "proxy"],
        "--pull always -t 5 --scale redis=2": [],
        "--timeout=5 --timeout 5 redis": ["redis"],
        "--attach web --no-attach db --exit-code-from web --wait-timeout 3 worker": ["worker"],
    }.items():
        assert compose.services_in(text.split()) == services, text


def test_dev_up_starts_nothing_and_says_each_busy_port_of_what_would_start(
    net: Network, repo: Render, clean_env: dict[str, str], tmp_path: Path
) -> None:
    here = Repo(repo(databases="[redis]"), tmp_path, clean_env)
    config = compose_config(here.answers)
    debug = {"target": 80, "published": "3000", "protocol": "tcp"}
    config["services"]["debug"] = {"profiles": ["debug"], "ports": [debug]}
    here.says(config, [], [])
    docker = (here.bin / "docker").read_text().removeprefix("#!/bin/sh\n")
    here.write("docker", docker.replace('*"config --services" |', "*'config --services') cat services ;;\n"))

    def up(*words: str) -> tuple[int, list[str], list[str]]:
        done = here.make(*net.enter[1:], "make", "dev-up", *words, program="nsenter")
        lines = [line for line in done.stderr.splitlines() if line.startswith("localdev: ")]
        return done.returncode, lines, here.calls()

    with net.listen(8080, 6379, 3000) as somebody:
        proxy = f"localdev: {taken(8080, somebody, 'LOCALDEV_HTTP_PORT', 8081)}"
        redis = f"localdev: {taken(6379, somebody, 'REDIS_PORT', 6380)}"
        debug = proxy.replace("8080", "3000").replace("LOCALDEV_HTTP_PORT=8081 in .env", "") + GIVE.format(
            "debug", 3001
        )
        (here.here / "services").write_text("proxy\nredis\n")
        assert up() == (2, [proxy, redis], [])
        (here.here / "services").write_text("proxy\nredis\ndebug\n")
        assert up() == (2, [proxy, redis, debug], [])
        assert up("ARGS=redis") == (2, [redis], [])
        assert up("ARGS=worker") == (0, [], ["compose up --detach worker"])
        # The move that the message names works.
        here.says(compose_config(here.answers, http=8081, redis=6380), [], [])
        assert up() == (0, [], ["compose up --detach"])


# ---- macOS


class DockerMac(Laptop):
    """A pretend Mac with a repo, the alias and a docker."""

    def __init__(self, folder: Path, repo: Path) -> None:
        """Make it; no container runs."""
        super().__init__(folder / "mac", repo)
        self.set_up()
        self.docker = FakeDocker(self.path("/private/tmp"))
        script = (self.docker.bin / "docker").read_text().replace(str(self.docker.folder), "/private/tmp")
        self.write("/usr/local/bin/docker", script, mode=0o755)
        self.config = compose_config(read_settings(folder, CONF, DATABASES))
        self.docker.folder.chmod(0o777)
        self.docker.says(self.config, [], [])

    def up(self) -> tuple[int, list[str]]:
        """Run what make dev-up runs: exit code, lines on stderr."""
        command = ["/usr/bin/python3", "-I", "-B", ".localdev/stack", "up", "docker", "compose"]
        done = self.run(command, cwd=REPO)
        lines = [line.removeprefix("localdev: ") for line in done.stderr.splitlines()]
        assert self.docker.calls() == ([] if "taken" in done.stderr else ["compose up --detach"]), lines
        return done.returncode, lines


def test_on_macos_what_is_in_the_way_is_told_by_netstat_and_no_other(rendered: Render, tmp_path: Path) -> None:
    mac = DockerMac(tmp_path, rendered(databases="[redis, mongodb]"))
    for macos in ("15.3.2", "15.4", "26.6.2") if NIGHTLY else ("15.4", "26.6.2"):  # netstat's headers
        mac.macos = macos
        mac.stop(8080)
        mac.listen(6379, ALIAS_IP)
        mac.listen(18080)
        assert mac.up() == (0, []), macos
        mac.listen(8080, "127.0.0.1", "my 3 app: x|y", line="/opt/node/bin/node app")
        mac.listen(27017, "127.0.0.1", "postgres", "bob", 77)
        node = taken(8080, "node (pid 12345)", "LOCALDEV_HTTP_PORT", 8081)
        assert mac.up() == (1, [node, taken(27017, "postgres (pid 77)", "MONGODB_PORT", 27018)]), macos
        mac.stop(27017)
    for address, proto in (("*", "tcp46"), ("*", "tcp4"), ("*", "tcp6"), ("::1", "tcp6")):
        mac.stop(8080)
        mac.listen(8080, address, "node", proto=proto)
        assert mac.up() == (1, [node]), (address, proto)


def test_on_macos_the_engines_processes_are_told_from_others(rendered: Render, tmp_path: Path) -> None:
    mac = DockerMac(tmp_path, rendered(databases="[redis, mongodb]"))
    helpers = ("com.docker.backend", "com.docke", "OrbStack Helper", "limactl", "ssh", "gvproxy", "vpnkit-bridge")
    for command in helpers if NIGHTLY else helpers[::2]:
        mac.stop(8080)
        mac.listen(8080, "127.0.0.1", command, pid=900)
        mac.docker.says(mac.config, [container("redis", "", "127.0.0.1:8080->6379/tcp")], [])
        assert mac.up() == (1, [taken(8080, "the container redis", "LOCALDEV_HTTP_PORT", 8081)]), command
        # An engine that does not answer: Compose shall say why.
        (mac.docker.folder / "containers").write_text("no JSON\n")
        assert "taken" not in "".join(mac.up()[1]), command
    mac.listen(6379, "127.0.0.1", "sshd-like", pid=5)
    assert taken(6379, "sshd-like (pid 5)", "REDIS_PORT", 6380) in mac.up()[1]


# ---- a real engine


@pytest.mark.engine
def test_what_has_a_port_of_the_real_engine_is_named_before_a_container_starts(
    rendered: Render, repo: Render, run: Run, tmp_path: Path
) -> None:
    need_engine()
    env = {"LOCALDEV_HTTP_PORT": "18180", "LOCALDEV_HTTPS_PORT": "18543", "LOCALDEV_HOST": "host-gateway"}
    proxy = "the container ports-test-proxy-1 of the project ports-test"
    lines = [taken(18180, proxy, "LOCALDEV_HTTP_PORT", 18181), taken(18543, proxy, "LOCALDEV_HTTPS_PORT", 18544)]
    with running_stack(rendered, run, tmp_path / "first", env, project_slug="ports-test") as stack:
        # The same repo under a new name is another project, too: its old containers are in the way.
        for here, name in ((repo(project_slug="ports-test-two"), {}), (stack.repo, {"COMPOSE_PROJECT_NAME": "three"})):
            done = run("make", "dev-up", cwd=here, env=env | name)
            assert done.returncode != 0
            assert {f"localdev: {line}" for line in lines} <= set(done.stderr.splitlines())
            assert run("docker", "compose", "ps", "--all", "--quiet", cwd=here, env=env | name).stdout == ""

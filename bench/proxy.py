"""What a request pays on its way: through our proxy, through the ones that people write, over the alias, over the gateway."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from conftest import Render, Run
from figures import HERE, Figures, median_of
from host import ALIAS_IP, curl, retry
from needs import need, need_command
from running import Stack, running_stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]

WRK = "copier-host-alias/wrk:1"
PORTS = {"LOCALDEV_HTTP_PORT": "8197", "LOCALDEV_HTTPS_PORT": "8597"}
SERVICE = 4500
BODY_MB = 64
CONNECTIONS = (1, 32, 256)

# A service that is no bottleneck: answers of a few bytes, and a large one from memory.
SERVER = """daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {alias}:{port};
        listen {gateway}:{port};
        location / {{ return 200 hello; }}
        location /body {{ root {folder}; }}
    }}
}}
"""
# nginx.conf as the image has it, with the server that tutorials show.
TUTORIAL = """worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    access_log /dev/stdout;
    sendfile on;
    keepalive_timeout 65;
    server {{
        listen 8080;
        location / {{
            proxy_pass http://host-alias:{port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured in a run."""

    requests: float  # per second
    bytes: float  # per second
    mean: float  # milliseconds
    p99: float  # milliseconds


@dataclass
class Network:
    """The network of a stack, seen from a container in it."""

    stack: Stack
    name: str
    gateway: str
    run: Run

    def load(self, url: str, connections: int, seconds: float) -> Load:
        """Put load on `url` from a container, and return what wrk measured."""
        words = ("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency")
        done = self.run(
            *("docker", "run", "--rm", "--network", self.name, "--add-host", f"host-alias:{ALIAS_IP}"),
            *("--volume", f"{HERE / 'report.lua'}:/report.lua:ro", WRK),
            *(*words, "--script", "/report.lua", "--header", f"Host: {self.stack.conf['domain']}", url),
            cwd=HERE,
            check=True,
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith("report "))
        requests, size, duration, mean, p99, errors = map(float, line.split()[1:])
        assert errors == 0, done.stdout
        return Load(requests / duration, size / duration, mean / 1000, p99 / 1000)


@pytest.fixture(scope="module")
def wrk(run: Run) -> None:
    """The image that puts load on others."""
    if run("docker", "image", "inspect", WRK, cwd=HERE).returncode:
        done = run("docker", "build", "--tag", WRK, HERE, cwd=HERE)
        need(done.returncode == 0, f"the image {WRK}", ".ci/images")


@contextlib.contextmanager
def container(run: Run, network: str, image: str, config: Path, target: str) -> Iterator[str]:
    """Run another proxy as a container in `network`; return its address there."""
    started = run(
        *("docker", "run", "--detach", "--network", network, "--add-host", f"host-alias:{ALIAS_IP}"),
        *("--volume", f"{config}:{target}:ro", image),
        cwd=HERE,
        check=True,
    ).stdout.strip()
    try:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        yield run("docker", "inspect", "--format", template, started, cwd=HERE, check=True).stdout.strip()
    finally:
        run("docker", "rm", "--force", "--volumes", started, cwd=HERE, check=True)


@pytest.fixture(scope="module")
def network(
    rendered: Render, run: Run, wrk: None, alias: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """A stack that runs, and a service on the alias and on the gateway of its network."""
    nginx = need_command("nginx")
    with running_stack(
        rendered, run, tmp_path_factory.mktemp("stack"), PORTS, native_services=f"web:{SERVICE}"
    ) as stack:
        name = stack.compose("ps", "--format", "{{.Networks}}", "proxy", check=True).stdout.strip()
        gateway = run(
            *("docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name),
            cwd=HERE,
            check=True,
        ).stdout.strip()
        folder = tmp_path_factory.mktemp("server")
        (folder / "body").write_bytes(bytes(BODY_MB << 20))
        for path in (folder, *folder.parents):
            if path.stat().st_uid == 0 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
        (folder / "nginx.conf").write_text(SERVER.format(folder=folder, alias=ALIAS_IP, gateway=gateway, port=SERVICE))
        with subprocess.Popen([nginx, "-c", folder / "nginx.conf", "-e", "stderr", "-p", folder]) as server:
            try:
                assert retry(lambda: curl(stack.url())) == (200, "hello")
                yield Network(stack, name, gateway, run)
            finally:
                server.terminate()


@pytest.fixture(scope="module")
def others(network: Network, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The proxies that people write: name -> URL in the network."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "nginx.conf").write_text(TUTORIAL.format(port=SERVICE))
    conf = folder / "nginx.conf"
    with container(run, network.name, "nginx:1.30-alpine", conf, "/etc/nginx/nginx.conf") as nginx:
        yield {"tutorials' nginx": f"http://{nginx}:8080/"}


def direct(path: str = "/", address: str = "host-alias") -> str:
    """Return the URL of the service itself, as a container sees it."""
    return f"http://{address}:{SERVICE}{path}"


def through(path: str = "/") -> str:
    """Return the URL of the service behind our proxy, as a container sees it."""
    return f"http://proxy:{PORTS['LOCALDEV_HTTP_PORT']}{path}"


def test_requests_per_second_and_the_slowest_of_a_hundred(
    figures: Figures, network: Network, others: dict[str, str]
) -> None:
    urls = {"this proxy": through(), **others, "no proxy": direct()}
    for connections in CONNECTIONS:
        rounds = [
            {name: network.load(url, connections, figures.seconds(4)) for name, url in urls.items()}
            for _ in range(figures.runs(3))
        ]
        requests = {name: median(loads[name].requests for loads in rounds) for name in urls}
        p99 = {name: median(loads[name].p99 for loads in rounds) for name in urls}
        figures.requests[connections] = requests
        for name, reach, kept in (("tutorials' nginx", 4, 4), ("no proxy", 0.5, 0.29)):
            figures.add(
                f"requests per second, {connections} connection{'s' if connections > 1 else ''}",
                name,
                requests["this proxy"] / requests[name],
                f"{requests['this proxy']:,.0f} / {requests[name]:,.0f}",
                # With others than 32 connections it has to be faster; by how much is not held to a number.
                at_least=reach if connections == 32 or name == "no proxy" else 1,
                kept=min(kept, 1) if connections != 32 else kept,
            )
        for name in others:
            figures.add(
                f"the slowest of a hundred, {connections} connection{'s' if connections > 1 else ''}",
                name,
                p99["this proxy"] / p99[name],
                f"{p99['this proxy']:.2f} ms / {p99[name]:.2f} ms",
                at_most=1,
            )


def test_a_large_body_flows(figures: Figures, network: Network) -> None:
    def megabytes(url: str) -> Callable[[], float]:
        return lambda: network.load(url, 2, figures.seconds(5)).bytes / 1e6

    ours, floor = median_of([megabytes(through("/body")), megabytes(direct("/body"))], figures.runs(3))
    figures.add(
        f"a body of {BODY_MB} MB, MB per second",
        "no proxy",
        ours / floor,
        f"{ours:,.0f} / {floor:,.0f}",
        at_least=0.6,
        kept=0.45,
    )


def test_a_thousand_routes_cost_nothing(figures: Figures, network: Network) -> None:
    one = f"web {SERVICE} /\n"
    thousand = one + "".join(f"s{number} {SERVICE} s{number}.\n" for number in range(999))
    reloads: list[float] = []

    def requests(routes: str) -> Callable[[], float]:
        def load() -> float:
            network.stack.write_routes(routes)
            begin = time.monotonic()
            done = network.stack.make("dev-reload")
            assert done.returncode == 0, done.stderr
            if routes == thousand:
                reloads.append(time.monotonic() - begin)
            return network.load(through(), 32, figures.seconds(4)).requests

        return load

    many, few = median_of([requests(thousand), requests(one)], figures.runs(3))
    figures.add(
        "requests per second, 1,000 routes", "one route", many / few, f"{many:,.0f} / {few:,.0f}", at_least=0.95
    )
    seconds = sorted(reloads)[len(reloads) // 2]
    figures.add("`make dev-reload`, 1,000 routes, in seconds", "a second", seconds, at_most=1, kept=1.3)


def test_the_alias_is_as_fast_as_the_gateway_of_the_network(figures: Figures, network: Network) -> None:
    gateway = direct(address=network.gateway)
    for what, unit, path, connections, value in (
        ("latency from a container", "ms", "/", 1, lambda load: load.mean),
        ("throughput from a container", "MB/s", "/body", 2, lambda load: load.bytes / 1e6),
    ):
        measure = [
            lambda url=url, connections=connections, value=value: value(
                network.load(url, connections, figures.seconds(3))
            )
            for url in (direct(path), gateway.rstrip("/") + path)
        ]
        alias, bridge = median_of(measure, figures.runs(7))
        figures.add(
            what,
            "the bridge's gateway",
            alias / bridge,
            f"{alias:,.3f} {unit} / {bridge:,.3f} {unit}",
            at_least=0.95,
            at_most=1.05,
        )

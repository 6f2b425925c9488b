"""What web pages, strangers and forged headers get of the proxy: nothing. Real servers say what reaches them."""

import http.client
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Render, Run
from host import ALIAS_IP, Echo, curl, retry, service
from needs import need_command
from running import Stack, running_stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
PORTS = {"LOCALDEV_HTTP_PORT": "18196", "LOCALDEV_HTTPS_PORT": "18559", "POSTGRES_PORT": "15496"}
DOMAIN = "strangers-test.localhost"
STRANGER = "localdev: .localdev/routes does not have this host. Which it has: make dev-urls\n"
# Each prints, as JSON, what a program that follows CGI's names gets: RFC 3875, 4.1.18.
PHP = (
    "<?php echo json_encode(array_filter($_SERVER, fn($key) => str_starts_with($key, 'HTTP_'), ARRAY_FILTER_USE_KEY));"
)
RACK = 'require "json"; run ->(env) { [200, {}, [env.select { |key, _| key.start_with?("HTTP_") }.to_json]] }'


@pytest.fixture(scope="module")
def stack(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a wildcard, a path and a full host name."""

    def prepare(stack: Stack) -> None:
        stack.write_routes("web 3196 / web.\napi 4196 /api api. *.tenant. shop.example.test\n")

    answers = {"project_slug": "strangers-test", "databases": "[postgres]"}
    with running_stack(rendered, run, tmp_path_factory.mktemp("stack"), PORTS, prepare, **answers) as stack:
        yield stack


def asked(
    host: str, target: str = "/", accept: str = "*/*", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """Return status, body and headers of what the proxy answers for a first line with `target` and a Host of `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", int(PORTS["LOCALDEV_HTTP_PORT"]), timeout=20)
    try:
        connection.request("GET", target, headers={"Host": host, "Accept": accept, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_a_host_that_is_not_the_projects_gets_nothing(stack: Stack) -> None:
    foreign = (
        "evil.test",
        "evil.test:18196",
        f"{DOMAIN}.evil.test",
        f"evil{DOMAIN}",
        "10.0.0.1",
        "[::2]",
        "localhost.evil.test",
    )
    own = ("", "/__localdev/", "/__localdev/up/web", "/__localdev/running/postgres", "/__localdev/health", "/api")
    for host, path, accept in itertools.product(foreign, own, ("text/html", "application/json", "*/*")):
        for first, name in ((path or "/", host), (f"http://{host}{path}", f"web.{DOMAIN}")):
            case = f"{first} with Host: {name}, {accept}"
            assert asked(name, first, accept)[:2] == (421, STRANGER), case


def test_every_way_to_write_the_projects_hosts_is_understood(stack: Stack) -> None:
    places = {DOMAIN: "web", f"web.{DOMAIN}": "web", f"a.tenant.{DOMAIN}": "api", "shop.example.test": "api"}
    for host, name in places.items():
        spellings = (host, host.upper(), f"{host}.", f"{host}:18196", f"{host}.:18196", f"{host}:80")
        for asks, target in (*((one, "/") for one in spellings), ("evil.test", f"http://{host}:18196/")):
            status, text, _ = asked(asks, target)
            assert (status, text.split(" does not")[0]) == (502, f"localdev: {name}"), (asks, target)
    for host in (DOMAIN, "localhost:18196", "127.0.0.1:18196", "[::1]:18196", f"nobody.{DOMAIN}"):
        assert asked(host, "/__localdev/health")[0] == 200, host
        assert asked(host, "/__localdev/")[0] == 200, host


def test_no_answer_has_a_databases_password_and_no_page_can_be_framed(stack: Stack) -> None:
    for path, accept in itertools.product(
        ("/__localdev/", "/", "/__localdev/x"), ("text/html", "application/json", "*/*")
    ):
        _, text, headers = asked(f"nobody.{DOMAIN}" if path == "/" else DOMAIN, path, accept)
        assert "dev:dev" not in text and "dev@" not in text, (path, accept)
        if accept == "text/html":
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
    assert "postgresql://127.0.0.1:15496/dev" in asked(DOMAIN, "/__localdev/")[1]


def test_the_probe_asks_each_service_by_its_own_host(stack: Stack) -> None:
    seen = []

    class Probed(Echo):
        def parse_request(self) -> bool:
            is_one = super().parse_request()
            seen.append((self.command, self.server.service, self.path, self.headers["Host"]))
            return is_one

    with service("web", 3196, handler=Probed), service("api", 4196, handler=Probed):
        assert asked("shop.example.test", "/__localdev/", "application/json")[0] == 200
    assert sorted(seen) == [("HEAD", name, "/__localdev/probe", f"{DOMAIN}:18196") for name in ("api", "web")]


def test_a_service_hears_of_the_request_from_the_proxy_alone(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "index.php").write_text(PHP)
    (tmp_path / "config.ru").write_text(RACK)
    php = [need_command("php", "php-cli"), "-S", f"{ALIAS_IP}:3196", "-t", str(tmp_path)]
    rack = [
        need_command("rackup", "ruby-rack"),
        "--server",
        "webrick",
        "--host",
        ALIAS_IP,
        "--port",
        "3196",
        "config.ru",
    ]
    words = [["X", "Forwarded", word] for word in ("For", "Proto", "Host", "Port", "Ssl", "Scheme", "Prefix", "Server")]
    words += [
        ["X", "Real", "IP"],
        ["X", "Client", "IP"],
        ["Client", "IP"],
        ["X", "Original", "URL"],
        ["X", "Rewrite", "URL"],
    ]
    words += [["True", "Client", "IP"], ["Forwarded"], ["Proxy"]]
    for command in (php, rack):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            usual = retry(lambda: json.loads(curl(stack.url("web."), "-f")[1]))
            for first, *rest in words:
                every = itertools.product("-_.", repeat=len(rest))
                names = [first + "".join(map("".join, zip(marks, rest, strict=True))) for marks in every]
                spellings = [spelling for name in names for spelling in (name, name.lower(), name.upper())]
                options = [word for spelling in spellings for word in ("-H", f"{spelling}: 6.6.6.6")]
                found = json.loads(curl(stack.url("web."), "-f", *options)[1])
                assert found == usual, f"{' '.join([first, *rest])} of {Path(command[0]).name}"
        finally:
            process.terminate()
            process.wait()
    assert shutil.which("php") and usual["HTTP_X_FORWARDED_HOST"] == f"web.{DOMAIN}:18196"

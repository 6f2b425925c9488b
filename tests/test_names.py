"""One URL everywhere: on a domain other than .localhost it means the same in a browser and in every container."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Render, Run
from host import curl, retry, service
from needs import need_command, need_root
from running import Done, Stack, running_stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
PORTS = {"LOCALDEV_HTTP_PORT": "18191", "LOCALDEV_HTTPS_PORT": "18554", "REDIS_PORT": "26391"}
WORKER = """
services:
  worker:
    image: nginx:1.30-alpine
    entrypoint: ["sleep", "3600"]
    stop_signal: SIGKILL
"""


@pytest.fixture(scope="module")
def stack(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack on a domain of its own, with a container of the user's and a route to a full host."""

    def prepare(stack: Stack) -> None:
        stack.add_to_compose(WORKER)
        routes = stack.repo / ".localdev/routes"
        routes.write_text(routes.read_text() + "admin 3141 admin.example.test deep.localhost\n")

    answers = {"native_services": "web:3141 api:4141", "project_slug": "names-test", "web_domain": "shop.test"}
    answers |= {"databases": "[redis]"}
    with running_stack(rendered, run, tmp_path_factory.mktemp("stack"), PORTS, prepare, **answers) as stack:
        yield stack


def in_container(stack: Stack, url: str, **more: Any) -> Done:
    """Fetch `url` inside the user's container, with its own resolver."""
    return stack.compose("exec", "-T", "worker", "curl", "-sS", "--max-time", "10", url, **more)


def on_this_machine(url: str, hosts: Path, run: Run, *command: str) -> str:
    """Fetch `url` where /etc/hosts is `hosts`: in a mount namespace, so this machine's own stays as it is."""
    need_root()
    inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$1" /etc/hosts; shift; "$@"']
    return run(*inside, "sh", hosts, *command, url, cwd=hosts.parent, check=True, timeout=60).stdout


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """What /etc/hosts needs for these names, as the README says."""
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost shop.test web.shop.test api.shop.test admin.example.test\n")
    return path


@pytest.mark.parametrize("host", ["", "web.", "admin.example.test"])
def test_the_same_url_leads_to_the_service_on_the_machine_and_in_every_container(
    stack: Stack, run: Run, hosts: Path, host: str
) -> None:
    url = stack.url(host, "/x?y")
    with service("web", 3141):
        seen = [on_this_machine(url, hosts, run, "curl", "-sS", "--noproxy", "*")]
        seen += [in_container(stack, url).stdout]
    for answer in map(json.loads, seen):
        assert answer["path"] == "/x?y"
        assert answer["headers"]["Host"] == answer["headers"]["X-Forwarded-Host"] == url.split("/")[2]
        assert answer["headers"]["X-Forwarded-Port"] == PORTS["LOCALDEV_HTTP_PORT"]
    known = [
        stack.compose("exec", "-T", name, "getent", "hosts", url.split("/")[2].split(":")[0]).stdout.split()[0]
        for name in ("worker", "redis")
    ]
    assert known[0] == known[1], "a container of ours does not know the name"


def test_the_same_url_works_in_a_browser(stack: Stack, run: Run, hosts: Path) -> None:
    chromium = need_command("chromium")
    with service("web", 3141):
        browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--dump-dom"]
        page = on_this_machine(stack.url("admin.example.test", "/browser"), hosts, run, *browser)
    assert '"path": "/browser"' in page and "Chrome" in page


def test_https_is_the_same_everywhere_too(stack: Stack, run: Run, hosts: Path, tmp_path: Path) -> None:
    need_command("mkcert")
    assert stack.make("dev-tls", CAROOT=str(tmp_path)).returncode == 0
    try:
        url = stack.url("admin.example.test", "/tls", "https")
        with service("web", 3141):
            here = on_this_machine(
                url, hosts, run, "curl", "-sS", "--noproxy", "*", "--cacert", str(tmp_path / "rootCA.pem")
            )
            root = (tmp_path / "rootCA.pem").read_text()
            there = stack.compose(
                *("exec", "-T", "worker", "sh", "-c", 'cat >/tmp/ca; curl -sS --cacert /tmp/ca "$1"', "sh", url),
                input=root,
            )
        assert json.loads(here)["path"] == json.loads(there.stdout)["path"] == "/tls", there.stderr
        assert json.loads(there.stdout)["headers"]["X-Forwarded-Proto"] == "https"
    finally:
        assert stack.make("dev-tls", "ARGS=--off").returncode == 0


def test_names_below_localhost_stay_the_containers_own(stack: Stack) -> None:
    """As README.md says: curl and browsers take every name below .localhost for themselves, so no container gets one."""
    with service("web", 3141):
        assert curl(stack.url("deep.localhost"))[0] == 200
        done = in_container(stack, stack.url("deep.localhost"))
    assert done.returncode == 7, "inside a container, it is the container itself"


def test_a_new_host_works_at_once_on_the_machine_and_in_containers_after_dev_up(stack: Stack) -> None:
    before = (stack.repo / ".localdev/routes").read_text()
    stack.write_routes(before + "more 3141 more.example.test\n")
    try:
        done = stack.make("dev-reload")
        assert done.returncode == 0
        assert "localdev: other containers learn the new hosts with the next: make dev-up" in done.stderr
        url = stack.url("more.example.test")
        with service("web", 3141):
            assert curl(url, "--resolve", f"more.example.test:{PORTS['LOCALDEV_HTTP_PORT']}:127.0.0.1")[0] == 200
            assert in_container(stack, url).returncode == 6, "not known yet"
            assert stack.make("dev-up").returncode == 0
            assert json.loads(in_container(stack, url).stdout)["path"] == "/"
            for words in (("up", "--detach"), ("restart", "--timeout", "3", "proxy")):
                assert stack.compose(*words).returncode == 0
                assert json.loads(retry(lambda: in_container(stack, url, check=True)).stdout)["path"] == "/", words
        assert "new hosts" not in stack.make("dev-reload").stderr
    finally:
        stack.write_routes(before)
        assert stack.make("dev-up").returncode == 0


def test_dev_up_alone_tells_containers_a_new_host(stack: Stack) -> None:
    before = (stack.repo / ".localdev/routes").read_text()
    stack.write_routes(before + "late 3141 late.example.test\n")
    try:
        assert stack.make("dev-up").returncode == 0
        with service("web", 3141):
            assert json.loads(in_container(stack, stack.url("late.example.test")).stdout)["path"] == "/"
    finally:
        stack.write_routes(before)
        assert stack.make("dev-up").returncode == 0

"""HTTPS: the real mkcert makes the certificate, and clients that verify the whole chain use it."""

import hashlib
import json
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from conftest import Render, Run
from host import curl, retry, service
from needs import need_command
from running import Stack, running_stack
from services import serving_websockets

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
HTTP, HTTPS = 18190, 18553


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which mkcert keeps its certificate authority."""
    need_command("mkcert")
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def stack(rendered: Render, run: Run, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack whose HTTPS was just switched on."""
    answers = {"native_services": "web:3140 api:4140", "project_slug": "https-test", "web_port": HTTP}
    state = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    with running_stack(rendered, run, tmp_path_factory.mktemp("stack"), state, **answers) as stack:
        done = stack.make("dev-tls", CAROOT=str(authority))
        assert done.returncode == 0, done.stderr
        assert "which asks for your password: mkcert -install" in done.stderr
        yield stack


def certificate(stack: Stack) -> Path:
    """Return the file of the stack's certificate with its key."""
    (found,) = (Path(stack.ports["XDG_STATE_HOME"]) / "localdev").glob("*.pem")
    return found


def verified(authority: Path, url: str, *options: str) -> tuple[int, str]:
    """Fetch `url` as a client that trusts mkcert's authority and nobody else."""
    return curl(url, "--cacert", str(authority / "rootCA.pem"), *options)


def test_https_with_http_2_stands_beside_http(stack: Stack, authority: Path) -> None:
    with service("web", 3140):
        for host in ("", "web."):
            url = stack.url(host, "/x", "https")
            assert json.loads(verified(authority, url)[1])["path"] == "/x"
            assert verified(authority, url, "-o", os.devnull, "-w", "%{http_version}\n%{http_code}") == (200, "2")
        assert verified(authority, stack.url("", "/", "https"), "--http1.1")[0] == 200
        assert curl(stack.url())[0] == 200
        with pytest.raises(ConnectionError, match="certificate"):
            curl(stack.url("", "/", "https"))


def test_http_at_the_port_of_https_leads_to_https(stack: Stack) -> None:
    for host in ("", "web.", "nobody."):
        url = stack.url(host, "/x?y=%20z", "https")
        done = curl(url.replace("https:", "http:"), "-o", os.devnull, "-w", "%{redirect_url}\n%{http_code}")
        assert done == (308, url), host


def test_the_service_learns_that_the_client_came_by_https(stack: Stack, authority: Path) -> None:
    url = stack.url("", "/", "https")
    with service("web", 3140):
        headers = json.loads(verified(authority, url)[1])["headers"]
        # A client on the default port names none.
        default = json.loads(verified(authority, url, "-H", "Host: https-test.localhost")[1])["headers"]
    assert (headers["X-Forwarded-Proto"], headers["X-Forwarded-Port"]) == ("https", str(HTTPS))
    assert headers["Host"] == headers["X-Forwarded-Host"] == f"https-test.localhost:{HTTPS}"
    assert (default["Host"], default["X-Forwarded-Port"]) == ("https-test.localhost", "443")


def test_a_secure_websocket_works(stack: Stack, authority: Path) -> None:
    trust = ssl.create_default_context(cafile=str(authority / "rootCA.pem"))
    url = stack.url("", "/", "https").replace("https:", "wss:")
    # Python does not know names below .localhost everywhere.
    way = socket.create_connection(("127.0.0.1", HTTPS))
    with serving_websockets(3140), connect(url, ssl=trust, sock=way) as client:
        for number in range(100):
            client.send(f"frame {number}")
            assert client.recv() == f"frame {number}"


def test_the_key_is_its_owners_alone_and_not_in_the_repo(stack: Stack) -> None:
    path = certificate(stack)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert [found.name for found in path.parent.iterdir() if found.suffix != ".up"] == [path.name]
    assert b"PRIVATE KEY" in path.read_bytes()
    assert not [found for found in stack.repo.rglob("*") if found.is_file() and b"PRIVATE KEY-" in found.read_bytes()]
    # In the container, nobody but the proxy's user has it.
    script = "cd /srv/localdev && stat -c '%a %u' live/ live/tls.pem; grep -rl 'PRIVATE KEY' /srv /tmp"
    modes_and_holder = stack.compose("exec", "-T", "proxy", "sh", "-c", script).stdout.split("\n")
    assert modes_and_holder[:2] == ["700 101", "600 101"]
    assert len(modes_and_holder[2:]) == 2 and modes_and_holder[2].endswith("/tls.pem"), modes_and_holder


def test_urls_show_that_https_is_on(stack: Stack) -> None:
    lines = stack.make("dev-urls").stdout.splitlines()
    assert [line.strip() for line in lines if line.strip().startswith("https://")] == [
        "https://https-test.localhost:18553/", "https://web.https-test.localhost:18553/",
        "https://api.https-test.localhost:18553/",
    ]  # fmt: skip
    assert lines[-1].endswith(" https://https-test.localhost:18553/__localdev/")


def test_https_stays_on_whatever_starts_anew(stack: Stack, authority: Path) -> None:
    def answers() -> None:
        assert verified(authority, stack.url("", "/", "https"))[0] == 200

    with service("web", 3140):
        for words in (("restart", "proxy"), ("up", "--detach"), ("up", "--detach", "--force-recreate", "proxy")):
            assert stack.compose(*words).returncode == 0
            retry(answers)
        assert stack.make("dev-down", "ARGS=--timeout 3").returncode == 0
        assert stack.make("dev-up").returncode == 0
        answers()


def test_a_new_host_is_missed_in_the_certificate_until_dev_tls_runs_again(stack: Stack, authority: Path) -> None:
    routes = (stack.repo / ".localdev/routes").read_text()
    stack.write_routes(routes + "new 3140 new.example.test *.tenant.\n")
    try:
        done = stack.make("dev-reload")
        assert done.returncode == 0
        for host in ("new.example.test", "*.tenant.https-test.localhost"):
            assert f"localdev: the certificate does not have {host}. Run: make dev-tls" in done.stderr
        here = ("--resolve", f"new.example.test:{HTTPS}:127.0.0.1")
        with service("web", 3140):
            with pytest.raises(ConnectionError, match=r"new\.example\.test"):
                verified(authority, stack.url("new.example.test", "/", "https"), *here)
            assert stack.make("dev-tls", CAROOT=str(authority)).returncode == 0
            assert verified(authority, stack.url("new.example.test", "/", "https"), *here)[0] == 200
            assert verified(authority, stack.url("acme.tenant.", "/", "https"))[0] == 200
        assert "does not have" not in stack.make("dev-reload").stderr
    finally:
        stack.write_routes(routes)
        assert stack.make("dev-reload").returncode == 0


def test_an_unusable_certificate_is_told_in_one_line_and_the_old_one_stays_in_use(
    stack: Stack, authority: Path
) -> None:
    path = certificate(stack)
    good = path.read_text()
    try:
        for text in ("no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            # The hosts are still there, so nothing else is complained of.
            path.write_text(good.splitlines()[0] + "\n" + text)
            done = stack.make("dev-reload")
            assert done.returncode != 0, text
            ours = [line for line in done.stderr.splitlines() if line.startswith("localdev: ")]
            assert len(ours) == 1, (text, done.stderr)
            assert "the certificate is unusable" in ours[0] and "Make it again: make dev-tls" in ours[0], text
            with service("web", 3140):
                assert verified(authority, stack.url("", "/", "https"))[0] == 200, text
            status = verified(authority, stack.url("", "/__localdev/", "https"))[0]
            assert status == 200, f"{text}: its pages are gone"
        path.unlink()
        path.mkdir()
        done = stack.make("dev-reload")
        path.rmdir()
        assert done.stderr.splitlines()[0] == (
            f"localdev: {path} cannot be read (Is a directory). Fix: rm {path} && make dev-tls"
        )
    finally:
        path.write_text(good)
        path.chmod(0o600)
    assert stack.make("dev-reload").returncode == 0


def test_https_goes_off_and_on(stack: Stack, authority: Path) -> None:
    done = stack.make("dev-tls", "ARGS=--off")
    assert (done.returncode, "https:" in done.stdout) == (0, False)
    assert stack.make("dev-tls", "ARGS=--off").stderr == "localdev: HTTPS is off already\n"
    with pytest.raises(ConnectionError):
        verified(authority, stack.url("", "/", "https"))
    listed = stack.compose("exec", "-T", "proxy", "grep", "-rl", "PRIVATE KEY", "/srv", "/tmp").stdout
    assert listed == "", "the old key is left"
    assert stack.make("dev-tls", CAROOT=str(authority)).returncode == 0
    with service("web", 3140):
        assert verified(authority, stack.url("", "/", "https"))[0] == 200


def without_mkcert(folder: Path) -> str:
    """Return a PATH on which everything is found but mkcert."""
    folder.mkdir()
    for place in os.environ["PATH"].split(":"):
        for path in Path(place).glob("*") if place else ():
            if path.name != "mkcert" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return str(folder)


def test_without_mkcert_one_line_says_how_to_get_it(repo: Render, run: Run, tmp_path: Path) -> None:
    env = {"PATH": without_mkcert(tmp_path / "bin"), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = run("make", "dev-tls", cwd=repo(), env=env)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "localdev: mkcert is missing. Fix: install it: brew install mkcert (Debian: sudo apt install mkcert), then: make dev-tls"
    )
    assert not (tmp_path / "state").exists()


def test_a_failure_on_the_way_leaves_the_old_certificate(repo: Render, run: Run, tmp_path: Path) -> None:
    here = repo()
    (tmp_path / "bin").mkdir()
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state")}
    checkout = hashlib.sha256(os.path.realpath(here).encode()).hexdigest()[:16]
    stored = tmp_path / f"state/localdev/{checkout}.pem"
    stored.parent.mkdir(parents=True)
    for mkcert, message in (
        ("echo 'ERROR: no luck' >&2; exit 1", "localdev: mkcert failed: ERROR: no luck"),
        # As on a full disk: a part of it is there, and must not take the old one's place.
        ("echo half >$2", f"localdev: {stored} cannot be written: No such file or directory"),
    ):
        stored.write_text("old\n")
        (tmp_path / "bin/mkcert").write_text(f"#!/bin/sh\n{mkcert}\n")
        (tmp_path / "bin/mkcert").chmod(0o755)
        done = run("make", "dev-tls", cwd=here, env=env)
        assert done.returncode != 0
        assert message in done.stderr.splitlines(), done.stderr
        assert {path.name: path.read_text() for path in stored.parent.iterdir()} == {stored.name: "old\n"}

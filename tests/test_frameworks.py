"""What `make dev-env` prints is what real frameworks need: with it the proxy reaches them and they accept its names.
Without it the doctor says so, and what it says to change is what they need."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from apps import COMMANDS, Apps, environment
from conftest import Render, Run
from host import curl, retry
from needs import need_image
from running import Stack, running_stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
PORTS = {"LOCALDEV_HTTP_PORT": "8187", "LOCALDEV_HTTPS_PORT": "8550"}
APP_PORTS = {name: port for port, name in enumerate(COMMANDS, 4301)}
# Next.js answers every name, but gives what makes a page work, its scripts and its WebSocket, only to those that it knows.
REFUSAL = {"vite": 403, "webpack": 403, "next": 403, "django": 400, "rails": 403}
# Debian 12 has Rails 6, whose settings have to read the variable.
RAILS = "local/rails:1"
# By which variables names are accepted; all others say where to listen.
NAMES = ("RAILS_DEVELOPMENT_HOSTS", "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", "PROXY_HOSTS")
each = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(scope="module")
def stack(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack in which every application has a name below .localhost and one below another domain."""

    def prepare(stack: Stack) -> None:
        stack.write_routes("".join(f"{name} {port} {name}. {name}.shop.test\n" for name, port in APP_PORTS.items()))

    folder = tmp_path_factory.mktemp("stack")
    with running_stack(rendered, run, folder, PORTS, prepare, project_slug="frameworks-test") as stack:
        yield stack


@pytest.fixture(scope="module")
def env(stack: Stack) -> dict[str, str]:
    """The environment for native services."""
    done = stack.make("-s", "dev-env")
    assert done.returncode == 0, done.stderr
    return environment(done.stdout)


def fetch(stack: Stack, host: str, path: str = "/", *options: str) -> tuple[int, str]:
    """Return status and body of `path` of `host`, which leads to the proxy."""
    port = PORTS["LOCALDEV_HTTP_PORT"]
    return curl(stack.url(host, path), "--resolve", f"*:{port}:127.0.0.1", *options)


def is_up(stack: Stack, name: str, host: str) -> None:
    """Raise unless the application `name` shows its page as `host`."""
    status, body = fetch(stack, host)
    assert status == 200, body
    assert name in body


def is_accepted(stack: Stack, name: str, host: str) -> None:
    """Raise unless the page that `name` shows as `host` works."""
    is_up(stack, name, host)
    if name == "next":
        assert fetch(stack, host, "/_next/none", "-H", f"Origin: {stack.url(host, '')}")[0] == 404


@each
def test_with_the_environment_a_framework_answers_by_every_name(
    stack: Stack, apps: Apps, env: dict[str, str], name: str
) -> None:
    with apps.start(name, APP_PORTS[name], env):
        retry(lambda: is_up(stack, name, f"{name}."), 90)
        is_accepted(stack, name, f"{name}.")
        is_accepted(stack, name, f"{name}.shop.test")


@each
def test_without_the_address_it_is_not_reached(stack: Stack, apps: Apps, env: dict[str, str], name: str) -> None:
    names = {key: env[key] for key in NAMES}
    with apps.start(name, APP_PORTS[name], names | {"HOST_ALIAS_IP": "localhost"}):
        port = APP_PORTS[name]
        retry(lambda: curl(f"http://localhost:{port}/"), 90)
        assert fetch(stack, f"{name}.")[0] == 502


@pytest.mark.parametrize("name", REFUSAL)
def test_without_the_names_it_refuses_another_domain(stack: Stack, apps: Apps, env: dict[str, str], name: str) -> None:
    with apps.start(name, APP_PORTS[name], {key: value for key, value in env.items() if key not in NAMES}):
        host = f"{name}.shop.test"
        path = "/_next/none" if name == "next" else "/"

        def refused() -> None:
            assert fetch(stack, host, path, "-H", f"Origin: {stack.url(host, '')}")[0] == REFUSAL[name]

        retry(refused, 90)


@contextlib.contextmanager
def rails_in_a_container(apps: Apps, env: dict[str, str]) -> Iterator[None]:
    """Run the application rails by Rails 7 or later, in a container that has this machine's network."""
    need_image(RAILS)
    options = ["--rm", "--network", "host", "--volume", f"{apps.folder}:/apps", "--workdir", "/apps/rails"]
    options += [word for name in env for word in ("--env", name)]
    # Its note that it runs would stay in the folder, and keep the next one from starting.
    command = ["bin/rails", "server", "-p", str(APP_PORTS["rails"]), "-P", "/tmp/server.pid"]
    container = subprocess.run(
        ["docker", "run", "--detach", *options, RAILS, *command],
        env=os.environ | env,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", container], stdout=subprocess.DEVNULL, check=True)


def test_rails_7_reads_the_names_by_itself(stack: Stack, apps: Apps, env: dict[str, str]) -> None:
    with rails_in_a_container(apps, env):
        retry(lambda: is_up(stack, "rails", "rails."), 60)
        is_up(stack, "rails", "rails.shop.test")
    with rails_in_a_container(apps, {key: value for key, value in env.items() if key != "RAILS_DEVELOPMENT_HOSTS"}):

        def refused() -> None:
            assert fetch(stack, "rails.shop.test")[0] == 403

        retry(refused, 60)


# How people start each when they think of no proxy: all of these listen on a loopback address only.
USUAL = {
    "vite": "npx vite --port {port} --strictPort",
    "webpack": "npx webpack serve --port {port} --host localhost",
    "next": "npx next dev -H 127.0.0.1 -p {port}",
    "django": "python3 manage.py runserver {port}",
    "flask": "flask run -p {port}",
    "uvicorn": "python3 -m uvicorn app:app --port {port}",
    "gunicorn": "gunicorn -b 127.0.0.1:{port} app:app",
    "rails": "bin/rails server -p {port}",
}
CALLED = {"vite": "Vite", "webpack": "webpack-dev-server", "next": "Next", "django": "Django", "flask": "Flask"}
CALLED |= {"uvicorn": "uvicorn", "gunicorn": "gunicorn", "rails": "(Rails|Puma)"}


def findings(stack: Stack, name: str) -> dict[str, dict[str, str]]:
    """Return what the doctor finds of the service `name`, by id."""
    done = stack.run(
        "python3", "-I", "-B", ".localdev/stack", "doctor", "--", "--json", cwd=stack.repo, env=stack.ports, timeout=60
    )
    return {found["id"]: found for found in json.loads(done.stdout)["findings"] if found["subject"] == name}


@each
def test_the_doctor_names_the_framework_and_the_change_that_it_names_works(
    stack: Stack, apps: Apps, env: dict[str, str], name: str
) -> None:
    port = APP_PORTS[name]
    names = {key: env[key] for key in NAMES}
    with apps.run(name, USUAL[name].format(port=port), names):
        retry(lambda: curl(f"http://localhost:{port}/"), 90)
        (found,) = (one for one in findings(stack, name).values() if one["level"] == "fail")
    assert found["id"] in ("service.loopback", "service.loopback6")
    assert re.match(rf"{CALLED[name]} \(\S+, pid \d+\) listens on (127\.0\.0\.1|\[::1\]):{port}\b", found["text"])
    with apps.run(name, found["fix"], names):
        retry(lambda: is_up(stack, name, f"{name}."), 90)
        after = findings(stack, name)
    assert after["service.alias"]["level"] == "ok"
    assert not [one for one in after.values() if one["level"] == "fail"]


@pytest.mark.parametrize("name", sorted(REFUSAL.keys() - {"next"}))
def test_the_doctor_tells_a_refused_name_and_the_environment_clears_it(
    stack: Stack, apps: Apps, env: dict[str, str], name: str
) -> None:
    with apps.start(name, APP_PORTS[name], {key: value for key, value in env.items() if key not in NAMES}):
        found = retry(lambda: findings(stack, name)["route.host-refused"], 90)
    assert f"{name}." in found["text"]
    assert 'eval "$(make -s dev-env)"' in found["fix"]
    with apps.start(name, APP_PORTS[name], env):
        retry(lambda: is_up(stack, name, f"{name}."), 90)
        assert "route.host-refused" not in findings(stack, name)

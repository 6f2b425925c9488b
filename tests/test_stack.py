"""The main job on a real engine: containers reach a service that listens on the alias IP only, through the real proxy."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymongo
import pymysql
import pytest
import redis

from conftest import Render, Run
from host import ALIAS_IP, curl, has_alias, is_free, service
from needs import need

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
PORTS = {
    "LOCALDEV_HTTP_PORT": "18080",
    "POSTGRES_PORT": "15432",
    "MYSQL_PORT": "13306",
    "REDIS_PORT": "16379",
    "MONGODB_PORT": "17017",
}
PROXY = "http://web.my-app-s-repo.localhost:18080"


@pytest.fixture(scope="module")
def stack(
    rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Callable[..., subprocess.CompletedProcess[str]]]]:
    """A running stack with everything in it: its repo, and a function that runs make there."""
    for name, port in PORTS.items():
        need(is_free(int(port)), f"port {port} of 127.0.0.1 ({name})", "stop what listens there")
    answers = rendered(native_services="web:3123 api:4123", databases="[postgres, mysql, redis, mongodb]")
    here = Path(shutil.copytree(answers, tmp_path_factory.mktemp("stack") / "my app's repo"))

    def make(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("make", *arguments, cwd=here, env=PORTS | env, timeout=500)

    up = make("dev-up")
    try:
        assert up.returncode == 0, up.stderr[-3000:]
        assert up.stdout.splitlines()[0].split() == ["web", "http://my-app-s-repo.localhost:18080/", f"{ALIAS_IP}:3123"]
        yield here, make
    finally:
        down = make("dev-down", "ARGS=--volumes --yes --timeout 3")
        assert down.returncode == 0, down.stderr


def test_a_service_on_the_alias_only_answers_through_the_proxy(stack) -> None:
    with service("web", 3123):
        for url in (PROXY, "http://my-app-s-repo.localhost:18080"):
            status, body = curl(url)
            assert (status, json.loads(body)["service"]) == (200, "web")


def test_each_container_knows_the_machine_as_host_alias(stack) -> None:
    here, _ = stack
    compose = ["docker", "compose", "exec", "-T"]
    with service("web", 3123):
        done = subprocess.run(
            [*compose, "proxy", "wget", "-q", "-O", "-", "http://host-alias:3123/direct"],
            cwd=here, env=os.environ | PORTS, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert json.loads(done.stdout)["path"] == "/direct"
    for name in ("postgres", "mysql", "redis", "mongodb"):
        hosts = subprocess.run(
            [*compose, name, "cat", "/etc/hosts"],
            cwd=here,
            env=os.environ | PORTS,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert [ALIAS_IP, "host-alias"] in [line.split() for line in hosts.splitlines()]


def test_each_database_answers_a_query_and_keeps_its_data_through_down_and_up(stack) -> None:
    _, make = stack

    def postgres():
        return psycopg.connect("postgresql://dev:dev@127.0.0.1:15432/dev", autocommit=True)

    def mysql():
        return pymysql.connect(
            host="127.0.0.1", port=13306, user="dev", password="dev", database="dev", autocommit=True
        )

    def kv():
        return redis.Redis.from_url("redis://:dev@127.0.0.1:16379/0", decode_responses=True)

    def mongo():
        return pymongo.MongoClient("mongodb://dev:dev@127.0.0.1:17017/?authSource=admin", serverSelectionTimeoutMS=5000)

    with postgres() as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS x")
    with mysql() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 42 AS x")
    kv().set("x", 42)
    mongo().dev.t.insert_one({"x": 42})

    assert make("dev-down", "ARGS=--timeout 20").returncode == 0
    left = subprocess.run(
        ["docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=my-app-s-repo"],
        capture_output=True,
        check=True,
    )
    assert left.stdout == b"", "dev-down left a container"
    assert has_alias(), "dev-down must not touch the alias"
    up = make("dev-up")
    assert up.returncode == 0, up.stderr[-3000:]

    assert postgres().execute("SELECT x FROM t").fetchone() == (42,)
    with mysql() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT x FROM t")
        assert cursor.fetchone() == (42,)
    assert kv().get("x") == "42"
    assert mongo().dev.t.find_one({"x": 42})["x"] == 42


def test_databases_refuse_a_wrong_password_and_ports_are_on_loopback_only(stack) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect("postgresql://dev:wrong@127.0.0.1:15432/dev")
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=13306, user="dev", password="wrong", database="dev")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=16379).ping()
    for port in map(int, PORTS.values()):
        assert not is_free(port)
        assert is_free(port, ALIAS_IP), "published on the alias, too"


def test_status_says_what_is_there(stack) -> None:
    _, make = stack
    done = make("dev-status")
    assert f"address  {ALIAS_IP}  present" in done.stdout
    for name in ("proxy", "postgres", "mysql", "redis", "mongodb"):
        assert name in done.stdout


def test_a_second_up_changes_nothing_and_asks_for_nothing(stack) -> None:
    here, make = stack

    def started() -> str:
        done = subprocess.run(
            ["docker", "compose", "ps", "-q"],
            cwd=here,
            env=os.environ | PORTS,
            capture_output=True,
            text=True,
            check=True,
        )
        return subprocess.run(
            ["docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", *done.stdout.split()],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    before = started()
    done = make("dev-up")
    assert done.returncode == 0
    assert "host-alias:" not in done.stderr
    assert started() == before


def test_without_an_engine_one_line_says_what_to_start_before_root_is_asked_for(rendered: Render, run: Run) -> None:
    done = run("make", "dev-up", cwd=rendered(), env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    line, make = done.stderr.splitlines()
    assert line == "localdev: no container runtime answers. Start Docker Desktop, OrbStack, Colima or dockerd"
    assert done.returncode == 2 and make.startswith("make: ")


def test_a_clash_of_service_names_is_told_by_dev_up(repo: Render, run: Run) -> None:
    here = repo(databases="[redis]")
    text = (here / "compose.yaml").read_text()
    (here / "compose.yaml").write_text(text + "\nservices:\n  redis:\n    image: x:1\n")
    done = run("make", "dev-up", cwd=here, env=PORTS)
    assert done.returncode != 0
    assert (
        "localdev: the service redis is in your Compose file and in .localdev/compose.yaml. Rename yours" in done.stderr
    )


def test_a_stack_without_containers_comes_up(repo: Render, run: Run) -> None:
    here = repo(web_proxy="none", project_slug="empty")
    done = run("make", "dev-up", cwd=here)
    assert done.returncode == 0, done.stderr
    assert f"http://{ALIAS_IP}:3000/" in done.stdout
    assert run("make", "dev-down", cwd=here).returncode == 0
    assert run("make", "dev-status", cwd=here).returncode == 0


def test_without_root_containers_use_the_host_gateway_under_the_same_name(repo: Render, run: Run) -> None:
    here = repo(project_slug="gateway", native_services="web:3124")
    env = {"LOCALDEV_HTTP_PORT": "18081", "LOCALDEV_HTTPS_PORT": "18444", "LOCALDEV_HOST": "host-gateway"}
    try:
        up = run("make", "dev-up", cwd=here, env=env)
        assert up.returncode == 0, up.stderr
        with service("web", 3124, "0.0.0.0"):
            assert curl("http://gateway.localhost:18081/")[0] == 200
    finally:
        run("make", "dev-down", "ARGS=--volumes --yes", cwd=here, env=env, check=True)


def test_a_clone_that_others_may_not_read_is_told_with_the_command_that_mends_it(repo: Render, run: Run) -> None:
    here = repo(project_slug="umask")
    env = {"LOCALDEV_HTTP_PORT": "18081", "LOCALDEV_HTTPS_PORT": "18444"}
    (here / ".localdev/proxy").chmod(0o700)
    try:
        up = run("make", "dev-up", cwd=here, env=env)
        assert up.returncode != 0
        assert up.stderr.splitlines()[-2] == (
            "localdev: the proxy may not read .localdev/proxy. Fix: chmod -R a+rX .localdev/proxy && make dev-up"
        )
        run("chmod", "-R", "a+rX", ".localdev/proxy", cwd=here, check=True)
        assert run("make", "dev-up", cwd=here, env=env).returncode == 0
    finally:
        run("make", "dev-down", "ARGS=--volumes --yes", cwd=here, env=env, check=True)

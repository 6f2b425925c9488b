"""host-alias.conf as stack/ reads it, and the ports that Compose publishes: what is printed is what is published."""

import json
import re
import shutil
from pathlib import Path

import pytest

from apps import environment
from conftest import Render, Run
from needs import need_compose
from settings import PortError, SettingsError, published, read
from sites import CONF, compose_config, read_settings

CONFIGURATIONS = [
    *((f"domain={bad}", 3, "domain must") for bad in ("", "a b", "a;", "A.test", "-a.test", "a..b", "*.a", "\033[2J")),
    *((f"ip={bad}", 2, "ip must") for bad in ("", "1.1.1.1;", "a", "$(id)", "::1")),
    *(
        (f"{name}_port={bad}", 4 + (name == "https"), "port must")
        for name in ("web", "https")
        for bad in ("", "0", "80;")
    ),
    *(
        (f"databases={bad}", 6, "databases must")
        for bad in ("x", "a=", "A=b", "a=<!--# x", "a=\t", "a=b;c =d", "a=b\\'c")
    ),
]


def test_a_configuration_that_is_none_is_refused_with_file_and_line(tmp_path: Path) -> None:
    for line, number, reason in CONFIGURATIONS:
        lines = f"{CONF}databases=\n".splitlines()
        lines[number - 1] = line
        (tmp_path / "host-alias.conf").write_text("\n".join(lines) + "\n")
        with pytest.raises(SettingsError) as caught:
            read(str(tmp_path / "host-alias.conf"))
        assert re.match(rf"{tmp_path}/host-alias[.]conf:{number}: [ -~]*{reason}[ -~]*\Z", str(caught.value)), line


def test_a_line_that_is_there_twice_is_refused_as_host_alias_does(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"host-alias[.]conf:6: ip is set twice[.] Keep one"):
        read_settings(tmp_path, CONF + "ip=10.6.6.6\n")


def test_a_line_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no line domain="):
        read_settings(tmp_path, CONF.replace("domain=shop.localhost\n", ""))


def test_a_port_that_is_none_is_refused_with_its_variable(tmp_path: Path) -> None:
    answers = read_settings(tmp_path, databases="redis=redis://h:${REDIS_PORT:-6379}/0")
    for value in ("0", "65536", "8080-8090", "\033[2J", "99999999999", "x"):
        for service, name in (("http", "LOCALDEV_HTTP"), ("https", "LOCALDEV_HTTPS"), ("redis", "REDIS")):
            with pytest.raises(PortError) as caught:
                published(answers, compose_config(answers, **{service: value}))
            said = re.sub("[^ -~]", "?", value)
            assert str(caught.value) == f"{name}_PORT is {said}, which is no port. Give it a number from 1 to 65535"
    with pytest.raises(PortError, match="LOCALDEV_HTTP_PORT and LOCALDEV_HTTPS_PORT are both 8443"):
        published(answers, compose_config(answers, http=8443))


# How https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax writes a value.
DOTENV = [
    *("POSTGRES_PORT=15432", "POSTGRES_PORT = 15432", "POSTGRES_PORT: 15432", "export POSTGRES_PORT=15432"),
    *("POSTGRES_PORT='15432'", 'POSTGRES_PORT="15432"', "POSTGRES_PORT=15432 # moved", "POSTGRES_PORT='15432' # moved"),
    *(
        "BASE=154\nPOSTGRES_PORT=${BASE}32",
        "BASE=154\nPOSTGRES_PORT=${BASE:-1}32",
        'BASE=154\nPOSTGRES_PORT="${BASE}32"',
    ),
    *(
        "POSTGRES_PORT=1\nPOSTGRES_PORT=15432",
        "POSTGRES_PORT=${NONE:-15432}",
        "POSTGRES_PORT=15432\r",
        "\ufeffPOSTGRES_PORT=15432",
    ),
]


def test_what_is_printed_is_what_compose_publishes(repo: Render, run: Run) -> None:
    need_compose()
    here = repo(databases="[postgres]")

    def seen(**env: str) -> str:
        """Return the port that dev-env prints, which is the one that Compose publishes."""
        command = ("docker", "compose", "config", "--format", "json")
        (port,) = json.loads(run(*command, cwd=here, env=env, check=True).stdout)["services"]["postgres"]["ports"]
        printed = environment(run("make", "-s", "dev-env", cwd=here, env=env, check=True).stdout)["POSTGRES_URL"]
        assert printed == f"postgresql://dev:dev@127.0.0.1:{port['published']}/dev", (here / ".env").read_text()
        return port["published"]

    for text in DOTENV:
        (here / ".env").write_text(text + "\n")
        assert seen() == "15432", text
    assert seen(POSTGRES_PORT="15433") == "15433", "the shell comes first"
    (here / "other.yaml").write_text("include: [.localdev/compose.yaml]\n")
    (here / "two.env").write_text("POSTGRES_PORT=15434\n")
    assert seen(COMPOSE_ENV_FILES="two.env") == "15434"
    (here / ".env").write_text("COMPOSE_FILE=other.yaml\nPOSTGRES_PORT=15435\n")
    assert seen() == "15435"
    (here / ".localdev/.env").write_text("POSTGRES_PORT=15436\n")
    (here / ".env").write_text("")
    assert seen() == "15436", "Compose reads a .env beside an included file"


def test_the_host_gateway_is_known_from_the_shell_and_from_dotenv(repo: Render, run: Run) -> None:
    need_compose()
    here = repo()
    for dotenv, env, address in (
        ("", {}, "10.254.254.254"),
        ("", {"LOCALDEV_HOST": ""}, "10.254.254.254"),
        ("", {"LOCALDEV_HOST": "host-gateway"}, "0.0.0.0"),
        ("LOCALDEV_HOST = host-gateway\n", {}, "0.0.0.0"),
    ):
        (here / ".env").write_text(dotenv)
        assert environment(run("make", "-s", "dev-env", cwd=here, env=env, check=True).stdout)["BINDING"] == address


def test_without_compose_nothing_is_guessed(repo: Render, run: Run, tmp_path: Path) -> None:
    here = repo(databases="[postgres]")
    for name in ("sh", "make", "python3", "env"):
        (tmp_path / name).symlink_to(str(shutil.which(name, path="/usr/bin:/bin")))
    for target in ("dev-env", "dev-urls"):
        done = run("make", "-s", target, cwd=here, env={"PATH": str(tmp_path)})
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("localdev: there is no docker here. Install Docker")

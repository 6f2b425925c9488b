"""make dev-env: the environment for native services, as every shell that people have takes it."""

import os
from pathlib import Path

import pexpect
import pytest

import environment as made
from apps import COMMANDS, HERE, environment
from conftest import PROJECT, Render, Run
from needs import need_command, need_compose
from sites import CONF, site_of

# Everything but a blank, which separates databases, and a backslash, which fish reads in quotes, too.
NASTY = """postgresql://a'b"c:$HOME`id`$(id)@h/;&|<>*?~#!x{1,2}%%s'''é"""
ADDRESSES = [*made.LISTEN]
BEHIND = [name for _, name, _ in made.BEHIND_A_PROXY]
NAMES = ["RAILS_DEVELOPMENT_HOSTS", "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", "PROXY_HOSTS"]
EVAL = 'eval "$(make -s dev-env)"'
SHELLS = {
    "dash": ["dash", "-euc", f"{EVAL}; env -0"],
    "bash": ["bash", "-euc", f"{EVAL}; env -0"],
    "busybox": ["busybox", "sh", "-euc", f"{EVAL}; env -0"],
    "mksh": ["mksh", "-euc", f"{EVAL}; env -0"],
    "zsh": ["zsh", "-fuc", f"{EVAL}; env -0"],
    "fish": ["fish", "--no-config", "-c", "make -s dev-env | source; env -0"],
    "direnv": ["sh", "-euc", "direnv allow . && direnv exec . env -0"],
}


@pytest.fixture
def nasty(repo: Render) -> Path:
    """A repo with a value that no shell may look into."""
    need_compose()
    here = repo(databases="[postgres]")
    conf = here / ".localdev/host-alias.conf"
    kept = [line for line in conf.read_text().splitlines() if not line.startswith("databases=")]
    conf.write_text("\n".join([*kept, f"databases=postgres={NASTY}\n"]))
    (here / ".envrc").write_text(f"watch_file .localdev/routes .localdev/host-alias.conf .env\n{EVAL}\n")
    return here


def exported(text: str) -> dict[str, str]:
    """Return the environment that `env -0` printed."""
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_takes_each_value_as_it_is(run: Run, nasty: Path, tmp_path: Path, shell: str) -> None:
    need_command(SHELLS[shell][0] if shell != "direnv" else shell)
    printed = environment(run("make", "-s", "dev-env", cwd=nasty, check=True).stdout)
    assert list(printed) == [*ADDRESSES, *BEHIND, *NAMES, "POSTGRES_URL"]
    assert printed["POSTGRES_URL"] == NASTY
    done = run(*SHELLS[shell], cwd=nasty, env={"HOME": str(tmp_path)}, check=True)
    seen = exported(done.stdout)
    assert {name: seen[name] for name in printed} == printed


def test_an_interactive_zsh_takes_it_comments_and_all(nasty: Path, clean_env: dict[str, str], tmp_path: Path) -> None:
    zsh = pexpect.spawn(need_command("zsh"), ["-f", "-i"], cwd=nasty, env=clean_env, encoding="utf-8", timeout=20)
    zsh.sendline(f"{EVAL}; print -r -- status=$?; env -0 >{tmp_path}/seen; exit")
    zsh.expect(pexpect.EOF)
    assert "status=0" in zsh.before.replace("status=$?", "")
    assert "command not found" not in zsh.before
    assert exported((tmp_path / "seen").read_text())["POSTGRES_URL"] == NASTY


def test_a_line_before_each_variable_names_who_reads_it(rendered: Render, run: Run) -> None:
    need_compose()
    here = rendered(databases="[postgres, redis]")
    lines = run("make", "-s", "dev-env", cwd=here, check=True).stdout.splitlines()
    urls = [line for line in lines if "_URL=" in line]
    assert lines[-len(urls) - 1].startswith("# ") and lines[-len(urls) :] == urls
    rest = lines[: -len(urls) - 1]
    names = [line.split("=")[0].removeprefix("export ") for line in rest if line[:2] != "# "]
    assert names == [*ADDRESSES, *BEHIND, *NAMES]
    # One variable has the same reader as the one before.
    assert [line for line in rest if "WDS_SOCKET_PORT" not in line][::2] == [line for line in rest if line[:2] == "# "]
    # zsh, Rails' tests and Python's TLS would take these for something else.
    assert not {"HOST", "PORT", "DATABASE_URL", "SSL_CERT_FILE"} & {*names}


@pytest.mark.parametrize(
    ("domain", "routes", "rails", "vite", "hosts"),
    [
        ("shop.localhost", "web 1 / web.\n", "", "host-alias", "shop.localhost,host-alias,web.shop.localhost"),
        ("shop.localhost", "", "", "host-alias", "shop.localhost,host-alias"),
        ("shop.test", "a 1\n", "", ".shop.test", "shop.test,host-alias,a.shop.test"),
        (
            "shop.localhost",
            "a 1 a.b. *.t. *. far.example.test\n",
            ",a.b.shop.localhost,.t.shop.localhost,far.example.test",
            ".far.example.test",
            "shop.localhost,host-alias,a.b.shop.localhost,.t.shop.localhost,.shop.localhost,far.example.test",
        ),
        (
            "shop.localhost",
            "a 1 a.one.test a.two.test b.two.test *.two.test\n",
            ",a.one.test,a.two.test,b.two.test,.two.test",
            ".two.test",
            "shop.localhost,host-alias,a.one.test,a.two.test,b.two.test,.two.test",
        ),
        (
            "shop.test",
            "a 1 a.one.test a. b.\n",
            ",a.one.test",
            ".shop.test",
            "shop.test,host-alias,a.one.test,a.shop.test,b.shop.test",
        ),
    ],
)
def test_every_name_of_routes_is_accepted(
    tmp_path: Path, domain: str, routes: str, rails: str, vite: str, hosts: str
) -> None:
    seen = environment(
        made.lines(made.variables(site_of(tmp_path, routes, conf=CONF.replace("shop.localhost", domain))))
    )
    assert seen["RAILS_DEVELOPMENT_HOSTS"] == f".{domain},host-alias{rails}"
    assert seen["__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS"] == vite
    assert set(seen["PROXY_HOSTS"].split(",")) == set(hosts.split(","))
    assert seen["PROXY_HOSTS"].count(",") == hosts.count(",")


def test_without_a_proxy_services_are_asked_by_containers_only(rendered: Render, run: Run) -> None:
    need_compose()
    here = rendered(web_proxy="none", databases="[mysql]")
    seen = environment(run("make", "-s", "dev-env", cwd=here, check=True).stdout)
    assert {name: seen[name] for name in NAMES} == dict.fromkeys(NAMES, "host-alias")
    assert seen["HOST_ALIAS_IP"] == "10.254.254.254"
    assert seen["MYSQL_URL"] == "mysql://dev:dev@127.0.0.1:3306/dev"


URLS = {
    "postgres": "postgresql://dev:dev@127.0.0.1:5432/dev",
    "mysql": "mysql://dev:dev@127.0.0.1:3306/dev",
    "redis": "redis://:dev@127.0.0.1:6379/0",
    "mongodb": "mongodb://dev:dev@127.0.0.1:27017/?authSource=admin",
}


def test_each_database_has_its_url_and_none_is_what_test_runs_would_use(rendered: Render, run: Run) -> None:
    need_compose()
    for chosen in ((), *((name,) for name in URLS), tuple(URLS)):
        here = rendered(databases=f"[{', '.join(chosen)}]")
        seen = environment(run("make", "-s", "dev-env", cwd=here, check=True).stdout)
        # No DATABASE_URL: Rails prefers it to config/database.yml in its tests, too, which would empty the database.
        wanted = {f"{name.upper()}_URL": URLS[name] for name in chosen}
        assert {name: value for name, value in seen.items() if name.endswith("_URL")} == wanted


def test_an_error_in_routes_leaves_the_environment_alone(repo: Render, run: Run) -> None:
    here = repo()
    (here / ".localdev/routes").write_text("web\n")
    done = run("make", "-s", "dev-env", cwd=here)
    assert done.returncode != 0
    assert done.stdout == "" and ".localdev/routes:1: " in done.stderr


def test_it_works_from_anywhere_with_c(rendered: Render, run: Run) -> None:
    need_compose()
    here = rendered()
    done = run("make", "-s", "-C", here, "dev-env", cwd=os.sep, check=True)
    assert done.stdout == run("make", "-s", "dev-env", cwd=here, check=True).stdout


def test_the_pages_say_how_each_framework_is_started_and_what_its_settings_say(rendered: Render) -> None:
    for page in (PROJECT / "docs/services.md", rendered() / ".localdev/README.md"):
        text = page.read_text()
        for command in COMMANDS.values():
            assert f"| `{command.format(port=3000)}` |" in text
        for name, setting in (
            ("django/manage.py", 'ALLOWED_HOSTS = [".localhost", *os.environ.get("PROXY_HOSTS", "").split(",")]'),
            ("rails/config/application.rb", 'config.hosts.concat(ENV["RAILS_DEVELOPMENT_HOSTS"].to_s.split(","))'),
            (
                "next/next.config.js",
                'allowedDevOrigins: process.env.PROXY_HOSTS?.split(",").map((host) => host.replace(/^\\./, "*."))',
            ),
            ("webpack/webpack.config.js", 'allowedHosts: process.env.PROXY_HOSTS?.split(",") ?? "auto"'),
        ):
            assert f"| `{setting}` |" in text
            assert setting.replace(" = ", "=") in (HERE / name).read_text()
        assert "watch_file .localdev/routes .localdev/host-alias.conf .env" in text

"""routes: the file's format, through every awk that a host or the proxy's container may have."""

import re
from pathlib import Path

import pytest

from conftest import PROJECT, Render, Run
from needs import need_command

AWKS = {
    "busybox": ("busybox", "awk"),
    "mawk": ("mawk",),
    "gawk": ("gawk",),
    "gawk --posix": ("gawk", "--posix"),
    "one-true-awk": ("original-awk",),
}
CONF = "label=a.b\nip=10.254.254.254\ndomain=shop.localhost\nweb_port=8080\n"


@pytest.fixture(params=AWKS)
def routes(request: pytest.FixtureRequest, tmp_path: Path, run: Run):
    """Returns a function that gives routes.awk a file: exit code, stdout, stderr."""
    awk = AWKS[request.param]
    need_command(awk[0])
    (tmp_path / "host-alias.conf").write_text(CONF)

    def routes(text: str, want: str = "table", conf: str = CONF, dotenv: str | None = None, **env: str):
        (tmp_path / "host-alias.conf").write_text(conf)
        (tmp_path / "routes").write_bytes(text.encode())
        files = ["host-alias.conf", *([".env"] if dotenv is not None else []), "routes"]
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv)
        program = PROJECT / "template/localdev/routes.awk"
        return run(*awk, "-v", f"want={want}", "-f", program, *files, cwd=tmp_path, env={"LC_ALL": "C"} | env)

    return routes


EXAMPLE = """\
# service   port    where
web         3000    /
api         4000    /api  api.   # two places

admin       5000    admin.example.test
shop        6000    Shop.Example.TEST/v1/  b./x
docs\t7000
"""


def test_each_form_of_a_place_becomes_host_and_path(routes) -> None:
    done = routes(EXAMPLE)
    assert done.stderr == ""
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["2", "web", "3000", "shop.localhost", "/"],
        ["3", "api", "4000", "shop.localhost", "/api"],
        ["3", "api", "4000", "api.shop.localhost", "/"],
        ["5", "admin", "5000", "admin.example.test", "/"],
        ["6", "shop", "6000", "shop.example.test", "/v1"],
        ["6", "shop", "6000", "b.shop.localhost", "/x"],
        ["7", "docs", "7000", "docs.shop.localhost", "/"],
    ]


@pytest.mark.parametrize("want", ["nginx", "urls", "table"])
def test_windows_line_endings_and_a_missing_last_newline_change_nothing(routes, want: str) -> None:
    plain = routes(EXAMPLE, want).stdout
    assert plain
    assert routes(EXAMPLE.replace("\n", "\r\n"), want).stdout == plain
    assert routes(EXAMPLE.rstrip("\n"), want).stdout == plain


ERRORS = [
    *((line, "port") for line in ("web", "web x", "web 0", "web 65536", "web 03000", "web 3000000000")),
    *((line, "named with") for line in ("Web 3000", "web;id 3000", "-web 3000", "9 3000")),
    ("web 3000 admin", "write admin. for admin.shop.localhost"),
    *((f"web 3000 {host}", "host name") for host in ("a..b", "-a.b", "a-.b", "a_b.c", "a.b:80", "é.b", "$host.b")),
    ("web 3000 " + "a" * 250 + ".test", "host name"),
    *((f"web 3000 {path}", "path") for path in ("/a//b", "/a/../b", "/..", "/a;b", '/a"b', "/{", "/$uri", "/a%2Fb")),
    *((f"web 3000 {path}", "belong to the proxy") for path in ("/__localdev", "/__localdev/x", "b./__localdev/")),
    ("web 3000 / /", "already on line 2"),
    ("web 3000 SHOP.localhost /", "already on line 2"),
    ("web 3000\nweb 3001 /x", "port 3000 on line 2"),
]


@pytest.mark.parametrize(("text", "reason"), ERRORS)
def test_an_error_names_file_and_line_and_nothing_is_printed(routes, text: str, reason: str) -> None:
    done = routes(f"good 1000\n{text}\n", "nginx")
    assert done.returncode == 1
    assert done.stdout == ""
    (message,) = done.stderr.splitlines()
    assert re.match(rf"routes:{2 + text.count(chr(10))}: ", message)
    assert reason in message


def test_all_errors_are_told_at_once(routes) -> None:
    done = routes("web\nok 3000\napi x\n")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["routes:1", "routes:3"]


def test_urls_have_the_port_of_shell_then_dotenv_then_answer(routes) -> None:
    text = "web 3000 /\n"
    assert "http://shop.localhost:8080/ " in routes(text, "urls").stdout
    for dotenv in (
        "LOCALDEV_HTTP_PORT=8081\n",
        'A=1\nLOCALDEV_HTTP_PORT="8081"\n',
        "export LOCALDEV_HTTP_PORT=8081 # x\r\n",
    ):
        assert "http://shop.localhost:8081/ " in routes(text, "urls", dotenv=dotenv).stdout
    assert "http://shop.localhost:8082/ " in routes(text, "urls", dotenv=dotenv, LOCALDEV_HTTP_PORT="8082").stdout
    assert "http://shop.localhost/ " in routes(text, "urls", LOCALDEV_HTTP_PORT="80").stdout
    assert "10.254.254.254:3000\n" in routes(text, "urls").stdout


def test_without_a_proxy_the_urls_are_the_services_own(routes) -> None:
    assert "http://10.254.254.254:3000/ " in routes("web 3000 /\n", "urls", conf=CONF.replace("8080", "none")).stdout


def test_every_awk_prints_the_same(tmp_path: Path, run: Run) -> None:
    for name, awk in AWKS.items():
        need_command(awk[0])
        (tmp_path / "host-alias.conf").write_text(CONF)
        (tmp_path / "routes").write_text(EXAMPLE)
        for want in ("nginx", "urls", "table"):
            program = PROJECT / "template/localdev/routes.awk"
            done = run(*awk, "-v", f"want={want}", "-f", program, "host-alias.conf", "routes", cwd=tmp_path, check=True)
            first = tmp_path / f"{want}.expected"
            if not first.exists():
                first.write_text(done.stdout)
            assert done.stdout == first.read_text(), name


def test_a_path_is_itself_and_what_is_below_it(routes) -> None:
    configuration = routes("api 4000 /api\n", "nginx").stdout
    assert re.findall(r"location (.*) \{", configuration) == ["= /api", "/api/", "/"]
    assert configuration.index("no-route.conf") > configuration.index("location / {")


@pytest.mark.parametrize("services", ["web:3000", "web:3000 api:4000 a-b:65535", ""])
def test_the_seeded_file_is_valid_and_gives_the_first_service_the_bare_url(
    rendered: Render, run: Run, services: str
) -> None:
    repo = rendered(native_services=services)
    done = run("sh", "localdev/sh/stack.sh", "urls", cwd=repo, check=True)
    assert len(done.stdout.splitlines()) == (len(services.split()) + 1 if services else 0)
    if services:
        assert done.stdout.split()[1] == "http://my-app-s-repo.localhost:8080/"

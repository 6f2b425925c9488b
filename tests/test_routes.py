"""routes: the file's format and all that follows from it, through every awk that a host or the proxy's container may have."""

import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from conftest import LOCALDEV, Render, Run
from needs import NIGHTLY, need_command
from shells import AWKS, CONF, configuration


@pytest.fixture(params=AWKS)
def routes(request: pytest.FixtureRequest, tmp_path: Path, run: Run):
    """Returns a function that gives routes.awk a file: exit code, stdout, stderr."""
    awk = AWKS[request.param]
    need_command(awk[0])

    def routes(
        text: str, want: str = "table", conf: str = CONF, dotenv: str | None = None, tls: str = "off", **env: str
    ):
        (tmp_path / "host-alias.conf").write_text(conf)
        (tmp_path / "routes").write_bytes(text.encode())
        files = ["host-alias.conf", *([".env"] if dotenv is not None else []), "routes"]
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv)
        options = ["-v", f"want={want}", "-v", f"tls={tls}", "-f", LOCALDEV / "routes.awk"]
        return run(*awk, *options, *files, cwd=tmp_path, env={"LC_ALL": "C"} | env)

    return routes


EXAMPLE = """\
# service   port    where
web         3000    /
api         4000    /api  api.   # two places

admin       5000    admin.example.test
shop        6000    Shop.Example.TEST/v1/  b./x  *.tenant.
docs\t7000
tool        pg_admin.x:80  /tool *.example.test/tool
"""


def test_each_form_of_a_place_becomes_host_and_path(routes) -> None:
    done = routes(EXAMPLE)
    assert done.stderr == ""
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["2", "web", "host-alias", "3000", "shop.localhost", "/"],
        ["3", "api", "host-alias", "4000", "shop.localhost", "/api"],
        ["3", "api", "host-alias", "4000", "api.shop.localhost", "/"],
        ["5", "admin", "host-alias", "5000", "admin.example.test", "/"],
        ["6", "shop", "host-alias", "6000", "shop.example.test", "/v1"],
        ["6", "shop", "host-alias", "6000", "b.shop.localhost", "/x"],
        ["6", "shop", "host-alias", "6000", "*.tenant.shop.localhost", "/"],
        ["7", "docs", "host-alias", "7000", "docs.shop.localhost", "/"],
        ["8", "tool", "pg_admin.x", "80", "shop.localhost", "/tool"],
        ["8", "tool", "pg_admin.x", "80", "*.example.test", "/tool"],
    ]


def test_windows_line_endings_a_byte_order_mark_and_a_missing_last_newline_change_nothing(routes) -> None:
    for want in ("urls", "table", "hosts", "names"):
        plain = routes(EXAMPLE, want).stdout
        assert plain
        for text in (EXAMPLE.replace("\n", "\r\n"), "\ufeff" + EXAMPLE, EXAMPLE.rstrip("\n")):
            assert routes(text, want).stdout == plain, want


ERRORS = [
    *((line, "port") for line in ("web", "web x", "web 0", "web 65536", "web 03000", "web 3000000000")),
    *((f"web {target}", "port") for target in ("db:", "db:0", "db:x", "db:80:81", "db:65536")),
    *((f"web {target}", "name:port") for target in (":80", "DB:80", "$x:80", "a/b:80", "-a:80", "a" * 64 + ":80")),
    *((line, "named with") for line in ("Web 3000", "web;id 3000", "-web 3000", "9 3000", "w" * 64 + " 3000")),
    ("web 3000 admin", "write admin. for admin.shop.localhost"),
    *((f"web 3000 {host}", "host name") for host in ("a..b", "-a.b", "a-.b", "a_b.c", "a.b:80", "é.b", "$host.b")),
    *((f"web 3000 {host}", "host name") for host in ("a.*.b", "*a.b", "a*.b", "**.b", "*.*.b", "a.*")),
    *((f"web 3000 {host}", "host name") for host in ("a." * 126 + "test", "x." + "a" * 64 + ".test")),
    *(
        (f"web 3000 {path}", "path")
        for path in ("/a//b", "/a/../b", "/..", "/a;b", '/a"b', "/a\\b", "/a\\", "/{", "/$uri", "/a%2Fb")
    ),
    *((f"web 3000 {path}", "belong to the proxy") for path in ("/__localdev", "/__localdev/x", "b./__localdev/")),
    ("web 3000 / /", "already on line 2"),
    ("web 3000 /api /api/", "shop.localhost/api is already on line 2"),
    ("web 3000 *.a. *.A.shop.localhost", "already on line 2"),
    ("web 3000 SHOP.localhost /", "already on line 2"),
    ("web 3000 /\napi 4000 shop.localhost", "shop.localhost/ is already on line 2; remove one"),
    ("web 3000\nweb 3001 /x", "host-alias:3000 on line 2"),
    ("web 3000\nweb db:3000 /x", "host-alias:3000 on line 2"),
    # Some awks take them for blanks, and a terminal for an order.
    *((line, "control character") for line in ("web\v3000", "web 3000 /a\fb", "web 3000 \033[2J.b", "web\r3000", "\1")),
    (f"web 3000 {'a' * 70}..b", f" {'a' * 60}... has no valid host name"),
]


def test_an_error_names_file_and_line_and_nothing_is_printed(routes) -> None:
    for text, reason in ERRORS:
        done = routes(f"good 1000\n{text}\n", "urls")
        assert (done.returncode, done.stdout) == (1, ""), text
        (message,) = done.stderr.splitlines()
        assert message.startswith(f"routes:{2 + text.count(chr(10))}: ") and reason in message, f"{text!r}: {message}"


def test_all_errors_are_told_at_once(routes) -> None:
    done = routes("web\nok 3000\napi x\n")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["routes:1", "routes:3"]


def test_urls_have_the_port_of_shell_then_dotenv_then_answer(routes) -> None:
    text = "web 3000 /\n"
    assert "http://shop.localhost:8080/ " in routes(text, "urls").stdout
    for dotenv in (
        "LOCALDEV_HTTP_PORT=8081\n",
        'A=1\nLOCALDEV_HTTP_PORT="8081"\n',
        "LOCALDEV_HTTP_PORT='8081' \n",
        "export LOCALDEV_HTTP_PORT=8081 # x\r\n",
    ):
        assert "http://shop.localhost:8081/ " in routes(text, "urls", dotenv=dotenv).stdout
    assert "http://shop.localhost:8082/ " in routes(text, "urls", dotenv=dotenv, LOCALDEV_HTTP_PORT="8082").stdout
    assert "http://shop.localhost/ " in routes(text, "urls", LOCALDEV_HTTP_PORT="80").stdout
    assert "10.254.254.254:3000\n" in routes(text, "urls").stdout


def test_a_configuration_that_is_none_is_refused_with_file_and_line(routes) -> None:
    def assert_refused(line: str, number: int, reason: str, want: str) -> None:
        lines = f"{CONF}databases=\n".splitlines()
        lines[number - 1] = line
        done = routes("web 3000\n", want, conf="\n".join(lines) + "\n")
        assert (done.returncode, done.stdout) == (1, ""), line
        assert re.match(rf"host-alias[.]conf:{number}: [ -~]*{reason}[ -~]*\n", done.stderr), f"{line}: {done.stderr}"

    ports = ("", "0", "80;")
    for name, number, reason, values in (
        ("domain", 3, "domain must", ("", "a b", "a;", "A.test", "-a.test", "a..b", "*.a", "\033[2J")),
        ("ip", 2, "ip must", ("", "1.1.1.1;", "a", "$(id)", "::1")),
        *(("web_port", 4, "port must", ports), ("https_port", 5, "port must", ports)),
        ("databases", 6, "databases must", ("x", "a=", "A=b", "a=<!--# x", "a=\t", "a=b;c =d")),
    ):
        for value in values:
            assert_refused(f"{name}={value}", number, reason, "urls")
        for want in ("table", "hosts", "names"):
            assert_refused(f"{name}={values[0]}", number, reason, want)


@pytest.mark.parametrize("where", ["environment", "dotenv"])
def test_a_port_that_is_none_is_refused_where_it_would_be_printed(routes, where: str) -> None:
    def asked(name: str, want: str, value: str) -> tuple[int, str, str]:
        given = {name: value} if where == "environment" else {"dotenv": f"{name}={value}\n"}
        done = routes("web 3000\n", want, conf=f"{CONF}databases=redis=redis://h:${{REDIS_PORT:-6379}}/0\n", **given)
        return done.returncode, done.stdout, done.stderr

    def refusal(name: str, shown: str) -> tuple[int, str, str]:
        return 1, "", f"localdev: {name} is {shown}, which is no port. Give it a number from 1 to 65535\n"

    for value in ("0", "65536", "80;", "-1", "8080-8090", "\033[2J", "99999999999", "é"):
        shown = re.sub("[^ -~]", "?", value.replace("é", "??"))
        assert asked("LOCALDEV_HTTP_PORT", "urls", value) == refusal("LOCALDEV_HTTP_PORT", shown)
    for name, wants, others in (
        ("LOCALDEV_HTTP_PORT", (), ("table",)),
        ("LOCALDEV_HTTPS_PORT", ("urls", "https_port"), ("table",)),
        # An address of a database is in the environment and on the dashboard only.
        ("REDIS_PORT", ("env",), ("urls",)),
    ):
        assert [asked(name, want, "80;") for want in wants] == [refusal(name, "80;")] * len(wants)
        assert [asked(name, want, "80;")[0] for want in others] == [0]


def test_a_port_that_only_compose_knows_is_left_to_it(routes) -> None:
    assert ":${A}/" in routes("web 3000\n", "urls", dotenv="A=1\nLOCALDEV_HTTP_PORT=${A}\n").stdout


def test_urls_show_what_is_on(routes) -> None:
    def shown(**options: str) -> list[list[str]]:
        return [line.split() for line in routes("web 3000 /\ntool pgadmin:80\n", "urls", **options).stdout.splitlines()]

    assert shown() == [
        ["web", "http://shop.localhost:8080/", "10.254.254.254:3000"],
        ["tool", "http://tool.shop.localhost:8080/", "pgadmin:80"],
        ["All", "of", "them,", "up", "or", "down:", "http://shop.localhost:8080/__localdev/"],
    ]
    with_tls = shown(tls="on", LOCALDEV_HTTPS_PORT="443")
    assert [line[-1] for line in with_tls if len(line) == 1] == [
        "https://shop.localhost/",
        "https://tool.shop.localhost/",
    ]
    assert with_tls[-1][-1] == "https://shop.localhost/__localdev/"
    assert shown(LOCALDEV_HOST="host-gateway")[0][-1] == "host-alias:3000"


def test_without_a_proxy_the_urls_are_the_services_own(routes) -> None:
    done = routes("web 3000 /\n", "urls", conf=CONF.replace("8080", "none"))
    assert done.stdout.split() == ["web", "http://10.254.254.254:3000/", "10.254.254.254:3000"]


def test_the_hosts_of_the_certificate_are_all_that_lead_to_the_proxy(routes) -> None:
    assert routes(EXAMPLE, "hosts").stdout.split() == [
        *("shop.localhost", "api.shop.localhost", "admin.example.test", "shop.example.test", "b.shop.localhost"),
        *("*.tenant.shop.localhost", "docs.shop.localhost", "*.example.test"),
    ]
    assert routes("a 1\n", "hosts").stdout.split() == ["shop.localhost", "a.shop.localhost"]


def test_other_containers_get_every_name_that_they_can_use(routes) -> None:
    def names(text: str, **options: str) -> list[str]:
        proxy = yaml.safe_load(routes(text, "names", **options).stdout)["services"]["proxy"]
        return proxy["networks"]["default"]["aliases"] if proxy else []

    assert names(EXAMPLE) == ["admin.example.test", "shop.example.test"]
    assert names("web 3000 / a.b.localhost\n") == []
    # Compose's YAML takes the first for a number, Python's the second.
    assert '- "1.e5"\n' in routes("web 3000 1.e5\n", "names").stdout
    assert names("web 3000 1.e-5 2.e5 1.5 0.0.0.0 e.e\n") == ["1.e-5", "2.e5", "1.5", "0.0.0.0", "e.e"]
    conf = CONF.replace("shop.localhost", "shop.test")
    assert names("api 4000 api. a.localhost\n", conf=conf) == ["shop.test", "api.shop.test"]


@pytest.mark.parametrize("tls", ["off", "on"])
def test_every_awk_prints_the_same(tmp_path: Path, run: Run, tls: str) -> None:
    made = {}
    for name, awk in AWKS.items():
        need_command(awk[0])
        made[name] = configuration(run, tmp_path, EXAMPLE, awk, tls)
        (tmp_path / "routes").write_text(EXAMPLE)
        for want in ("urls", "table", "hosts", "names"):
            options = ["-v", f"want={want}", "-v", f"tls={tls}", "-f", LOCALDEV / "routes.awk"]
            made[name] += (run(*awk, *options, "host-alias.conf", "routes", cwd=tmp_path, check=True).stdout,)
    first = made["busybox"]
    assert all(first)
    for name, those in made.items():
        assert those == first, name


def servers(text: str) -> dict[str, str]:
    """Return nginx's server blocks by server_name."""
    return {
        re.search(r"server_name (.*);", block)[1]: block for block in re.findall(r"^server \{.*?^\}", text, re.M | re.S)
    }


def test_a_path_is_itself_and_what_is_below_it(tmp_path: Path, run: Run) -> None:
    text, _ = configuration(run, tmp_path, "api 4000 /api\n")
    server = servers(text)["shop.localhost"]
    assert re.findall(r"location (.*) \{", server) == ["= /api", "/api/", "/"]
    assert server.index("no-route.conf") > server.index("location / {")


def test_a_host_has_what_the_wildcard_above_it_has_where_it_says_nothing_else(tmp_path: Path, run: Run) -> None:
    text, _ = configuration(run, tmp_path, "web 1000 *.t. *.t./api\nadmin 2000 acme.t./api\nfar 3000 a.b.t.\n")

    def services(host: str) -> list[str]:
        return re.findall(r"location (\S+) \{\n\s+set \$service (\S+);", servers(text)[host])

    assert services("~^[^.]+[.]t[.]shop[.]localhost$") == [("/", "web"), ("/api/", "web")]
    assert services("acme.t.shop.localhost") == [("/api/", "admin"), ("/", "web")]
    assert services("a.b.t.shop.localhost") == [("/", "far")]


def test_a_host_that_no_route_has_gets_the_first_server(tmp_path: Path, run: Run) -> None:
    text, _ = configuration(run, tmp_path, "web 1000\n")
    assert list(servers(text)) == ["_", "web.shop.localhost"]


SEEDED = (("web:3000", "my-app-s-repo.localhost"), ("web:3000 api:4000 a-b:65535", "shop.test"), ("", "1.e5"))


@pytest.mark.parametrize(("services", "domain"), product(*zip(*SEEDED, strict=True)) if NIGHTLY else SEEDED)
def test_the_seeded_files_are_valid_and_give_the_first_service_the_bare_url(
    rendered: Render, run: Run, services: str, domain: str
) -> None:
    repo = rendered(native_services=services, web_domain=domain)
    *routes, dashboard = run("sh", ".localdev/sh/stack.sh", "urls", cwd=repo, check=True).stdout.splitlines()
    assert dashboard.endswith(f" http://{domain}:8080/__localdev/")
    assert len(routes) == (len(services.split()) + 1 if services else 0)
    if services:
        assert routes[0].split()[1] == f"http://{domain}:8080/"
    # names.yaml is written by make dev-up when it differs: a fresh repo must not.
    names = run(
        "awk", "-v", "want=names", "-f", "routes.awk", "host-alias.conf", "routes", cwd=repo / ".localdev", check=True
    ).stdout
    assert (repo / ".localdev/names.yaml").read_text() == names

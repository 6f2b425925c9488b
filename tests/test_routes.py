"""routes: the file's format, and what follows from it: URLs, hosts, nginx's configuration."""

import re
from pathlib import Path

import pytest

import nginx
import urls
from routes import Route, RoutesError, hosts
from sites import CONF, read_routes, site_of

EXAMPLE = """\
# service   port    where
web         3000    /
api         4000    /api  api.   # two places

admin       5000    admin.example.test
shop        6000    Shop.Example.TEST/v1/  b./x  *.tenant.
docs\t7000
tool        pg_admin.x:80  /tool *.example.test/tool
"""


def test_each_form_of_a_place_becomes_host_and_path(tmp_path: Path) -> None:
    assert read_routes(tmp_path, EXAMPLE) == [
        Route(2, "web", "host-alias", 3000, "shop.localhost", "/"),
        Route(3, "api", "host-alias", 4000, "shop.localhost", "/api"),
        Route(3, "api", "host-alias", 4000, "api.shop.localhost", "/"),
        Route(5, "admin", "host-alias", 5000, "admin.example.test", "/"),
        Route(6, "shop", "host-alias", 6000, "shop.example.test", "/v1"),
        Route(6, "shop", "host-alias", 6000, "b.shop.localhost", "/x"),
        Route(6, "shop", "host-alias", 6000, "*.tenant.shop.localhost", "/"),
        Route(7, "docs", "host-alias", 7000, "docs.shop.localhost", "/"),
        Route(8, "tool", "pg_admin.x", 80, "shop.localhost", "/tool"),
        Route(8, "tool", "pg_admin.x", 80, "*.example.test", "/tool"),
    ]


def test_windows_line_endings_a_byte_order_mark_and_a_missing_last_newline_change_nothing(tmp_path: Path) -> None:
    plain = read_routes(tmp_path, EXAMPLE)
    for text in (EXAMPLE.replace("\n", "\r\n"), "\ufeff" + EXAMPLE, EXAMPLE.rstrip("\n")):
        assert read_routes(tmp_path, text) == plain
    assert read_routes(tmp_path, "") == read_routes(tmp_path, "# nothing\n\n") == []


ERRORS = [
    *((line, "port") for line in ("web", "web x", "web 0", "web 65536", "web 03000", "web 3000000000", "web ٣")),
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
    # A terminal would take them for an order.
    *((line, "control character") for line in ("web\v3000", "web 3000 /a\fb", "web 3000 \033[2J.b", "web\r3000", "\1")),
    ("web 3000 /a\u0085b", "path"),
    (f"web 3000 {'a' * 70}..b", f" {'a' * 60}... has no valid host name"),
]


def test_an_error_names_file_and_line(tmp_path: Path) -> None:
    for text, reason in ERRORS:
        with pytest.raises(RoutesError) as caught:
            read_routes(tmp_path, f"good 1000\n{text}\n")
        (message,) = str(caught.value).splitlines()
        assert re.match(rf"{tmp_path}/routes:{2 + text.count(chr(10))}: [ -~]*\Z", message), (text, message)
        assert reason in message, (text, message)


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RoutesError) as caught:
        read_routes(tmp_path, "web\nok 3000\napi x\nb 1 /__localdev a..b\n")
    lines = [line.removeprefix(f"{tmp_path}/").split(": ")[0] for line in str(caught.value).splitlines()]
    assert lines == ["routes:1", "routes:3", "routes:4", "routes:4"]


def test_the_hosts_are_all_that_lead_to_the_proxy(tmp_path: Path) -> None:
    assert hosts(read_routes(tmp_path, EXAMPLE), "shop.localhost") == [
        *("shop.localhost", "api.shop.localhost", "admin.example.test", "shop.example.test", "b.shop.localhost"),
        *("*.tenant.shop.localhost", "docs.shop.localhost", "*.example.test"),
    ]
    assert hosts(read_routes(tmp_path, "a 1\n"), "shop.localhost") == ["shop.localhost", "a.shop.localhost"]


def test_urls_show_what_is_on(tmp_path: Path) -> None:
    text = "web 3000 /\ntool pgadmin:80\n"

    def shown(**options: object) -> list[list[str]]:
        return [line.split() for line in urls.table(site_of(tmp_path, text, **options)).splitlines()]

    assert shown() == [
        ["web", "http://shop.localhost:8080/", "10.254.254.254:3000"],
        ["tool", "http://tool.shop.localhost:8080/", "pgadmin:80"],
        ["All", "of", "them,", "up", "or", "down:", "http://shop.localhost:8080/__localdev/"],
    ]
    with_https = shown(has_https=True, https=443)
    assert [line[-1] for line in with_https if len(line) == 1] == [
        "https://shop.localhost/",
        "https://tool.shop.localhost/",
    ]
    assert with_https[-1][-1] == "https://shop.localhost/__localdev/"
    assert shown(http=80)[0][1] == "http://shop.localhost/"
    assert shown(gateway=1)[0][-1] == "host-alias:3000"
    without = urls.table(site_of(tmp_path, "web 3000 /\n", conf=re.sub("_port=[0-9]+", "_port=none", CONF)))
    assert without.split() == ["web", "http://10.254.254.254:3000/", "10.254.254.254:3000"]


# --- nginx ------------------------------------------------------------------------------------------------------------


def servers(folder: Path, text: str, **options: object) -> dict[str, str]:
    """Return nginx's server blocks by server_name."""
    made = nginx.configuration(site_of(folder, text, **options))
    blocks = re.findall(r"^server \{.*?^\}", made, re.M | re.S)
    assert "return 421 " in blocks[0] and "include" not in blocks[0]
    return {re.search(r"server_name (.*);", block)[1]: block for block in blocks[1:]}


def test_a_path_is_itself_and_what_is_below_it(tmp_path: Path) -> None:
    server = servers(tmp_path, "api 4000 /api\n")["shop.localhost"]
    assert re.findall(r"location (.*) \{", server) == ["= /api", "/api/", "/"]
    assert server.index("no-route.$page") > server.index("location / {")


def test_a_host_has_what_the_wildcard_above_it_has_where_it_says_nothing_else(tmp_path: Path) -> None:
    found = servers(tmp_path, "web 1000 *.t. *.t./api\nadmin 2000 acme.t./api\nfar 3000 a.b.t.\n")

    def services(host: str) -> list[str]:
        return re.findall(r"location (\S+) \{\n\s+set \$service (\S+);", found[host])

    assert services("~^[^.]+[.]t[.]shop[.]localhost$") == [("/", "web"), ("/api/", "web")]
    assert services("acme.t.shop.localhost") == [("/api/", "admin"), ("/", "web")]
    assert services("a.b.t.shop.localhost") == [("/", "far")]


def test_the_projects_other_names_come_last(tmp_path: Path) -> None:
    below = "localhost 127.0.0.1 [::1] ~[.]shop[.]localhost$"
    assert list(servers(tmp_path, "web 1000\n")) == ["web.shop.localhost", f"shop.localhost {below}"]
    assert list(servers(tmp_path, "web 1000 / *.t.\n")) == ["shop.localhost", "~^[^.]+[.]t[.]shop[.]localhost$", below]


def test_https_is_served_where_there_is_a_certificate(tmp_path: Path) -> None:
    assert "ssl" not in nginx.configuration(site_of(tmp_path, "web 1000\n"))
    for server in servers(tmp_path, "web 1000\n", has_https=True).values():
        assert "listen 8080;" in server and "listen 8443 ssl;" in server

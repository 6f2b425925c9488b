"""The proxy's pages as stack/ makes them, without a proxy; test_pages.py shows them in a browser."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pages
from conftest import LOCALDEV
from sites import DATABASES, site_of

SOURCES = sorted((LOCALDEV / "proxy/pages").iterdir())
# It has every character that HTML, JSON or nginx's includes gives a meaning, and that may be in a URL.
NASTY = 'mongodb://dev:a"bc<d>e&f@127.0.0.1:1/?g=1&amp;h=@services@'


def made(folder: Path, text: str, **options: object) -> dict[str, str]:
    """Return the pages for routes `text`."""
    return pages.made(site_of(folder, text, **options), str(LOCALDEV / "proxy/pages"))


def asked(page: str) -> str:
    """Return `page` as if it was asked for, of a service that is up: with nginx's own words taken away."""
    page = re.sub(r"<!--# include virtual=[^>]*? set=.*?<!--# else -->", "", page)
    page = re.sub(r"<!--# include virtual=.*?-->", "up", page)
    return re.sub(r"<!--#.*?-->", "", page)


def test_a_source_needs_nothing_from_elsewhere() -> None:
    for source in SOURCES:
        text = source.read_text()
        assert not re.search(r"""\son[a-z]+\s*=|\sstyle\s*=|javascript:|@import|innerHTML|\seval\b""", text)
        assert not re.search(r"""(?:src|href)="(?!/__localdev/"|data:,")|url\((?!data:)|https?://(?!\*)""", text)


def test_every_include_that_begins_ends(tmp_path: Path) -> None:
    for name, page in made(tmp_path, "web 1 /\n", databases=DATABASES).items():
        depth = 0
        for word in re.findall(r"<!--# (if|endif)\b", page):
            # nginx knows one level only: https://nginx.org/en/docs/http/ngx_http_ssi_module.html
            depth += 1 if word == "if" else -1
            assert depth in (0, 1), name
        assert depth == 0 and page.count("<!--#") == len(re.findall(r"<!--# [^>]*?-->", page)), name
        assert not re.search(r"(?<![\w:.])@[a-z-]+@", page), name


def test_pages_of_nothing_at_all_are_whole(tmp_path: Path) -> None:
    found = made(tmp_path, "")
    assert json.loads(found["dashboard.json"]) == {"domain": "shop.localhost", "services": [], "databases": []}
    assert json.loads(found["no-route.json"])["routes"] == []
    assert found["dashboard.txt"] == (
        "localdev: there are no services yet. To add one, edit .localdev/routes, then: make dev-reload\n"
    )
    assert "<div>\n<p>There are none yet." in found["dashboard.html"]
    assert "<div hidden>\n<h2>Databases" in found["dashboard.html"] and "<li>" not in found["no-route.html"]


def test_a_databases_url_is_quoted_as_each_format_needs_it(tmp_path: Path) -> None:
    found = made(tmp_path, "web 1 /\n", databases=f"mongodb={NASTY}")
    shown = re.sub("//.*@127", "//127", NASTY)
    assert json.loads(asked(found["dashboard.json"]))["databases"][0]["url"] == shown
    assert f"mongodb  {shown}\n" in found["dashboard.txt"]
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(found["dashboard.html"])
    assert shown in texts


def test_a_databases_port_is_the_published_one_and_its_password_is_in_no_page(tmp_path: Path) -> None:
    found = made(tmp_path, "", databases=DATABASES, redis=6380)
    assert [row["url"] for row in json.loads(asked(found["dashboard.json"]))["databases"]] == [
        "redis://127.0.0.1:6380/0",
        "mongodb://127.0.0.1:27017/?a=1&b=2",
    ]
    assert not [name for name, page in found.items() if "dev@" in page]


def test_urls_are_in_the_order_of_routes_and_https_comes_first(tmp_path: Path) -> None:
    found = made(tmp_path, "web 1 / *.t.\nbox redis:1\nweb 1 /x\n", has_https=True)
    places = [("web", "{}/"), ("web", "*.t.{}/"), ("box", "box.{}/"), ("web", "{}/x")]
    urls = [
        (service, scheme + "://" + place.format(f"shop.localhost:{port}"))
        for service, place in places
        for scheme, port in (("https", 8443), ("http", 8080))
    ]
    assert [(route["service"], route["url"]) for route in json.loads(found["no-route.json"])["routes"]] == urls
    assert [tuple(line.split()) for line in found["no-route.txt"].splitlines()[1:-1]] == urls
    assert {row["name"]: row["urls"] for row in json.loads(asked(found["dashboard.json"]))["services"]} == {
        name: [url for service, url in urls if service == name] for name in ("web", "box")
    }
    assert json.loads(found["no-route.json"])["dashboard"] == "https://shop.localhost:8443/__localdev/"
    links = re.findall(r'<a href="(http[^"]*)">', found["dashboard.html"])
    assert sorted(links) == sorted(url for _, url in urls if "*" not in url)


def test_without_the_alias_no_page_speaks_of_it(tmp_path: Path) -> None:
    for gateway, listen, others in ((0, "10.254.254.254", "0.0.0.0"), (1, "0.0.0.0", "10.254.254.254")):
        found = made(tmp_path, "web 1 /\n", gateway=gateway)
        page = found["down.html"].replace("Let it listen on 0.0.0.0.", "")  # what a container always needs
        assert listen in page and others not in page
        assert ("make dev-alias" in page) == (not gateway)
        assert ("to any port" in page) == bool(gateway)
        assert ("host-alias:1" in found["dashboard.txt"]) == bool(gateway)


def test_every_form_of_the_down_page_names_the_doctor(tmp_path: Path) -> None:
    found = made(tmp_path, "web 1 /\n")
    assert all("make dev-doctor" in found[f"down.{kind}"] for kind in ("html", "txt", "json"))


def test_columns_are_as_wide_as_the_longest_word_in_them(tmp_path: Path) -> None:
    long = "s" * 63
    found = made(tmp_path, f"a 1 /\n{long} {'c' * 63}:65535 b.\n")
    rows = [asked(line) for line in found["dashboard.txt"].splitlines()]
    assert [line.split("\t")[0] for line in rows] == ["up", "up"]
    assert rows[0].index("http") == rows[1].index("http")
    links = found["no-route.txt"].splitlines()[1:3]
    assert links[0].index("http") == links[1].index("http") == 65

"""The sources of the proxy's pages, and what pages.awk makes of them, without a proxy; test_pages.py shows the pages."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conftest import LOCALDEV, Run
from shells import AWKS, configuration

SOURCES = sorted((LOCALDEV / "proxy/pages").iterdir())
WORDS = ["service", "target", "up", "url", "link", "database", "address", "running", "comma"]
WORDS += ["domain", "dashboard", "ip", "listen", "style", "script"]
THIS = ["service", "target", "port", "container", "reason", "method"]
# It has every character that HTML, JSON or nginx's includes gives a meaning, and that may be in a URL.
NASTY = 'mongodb://dev:a"b\\c<d>e&f@127.0.0.1:1/?g=1&amp;h=@service@'
sources = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def asked(page: str) -> str:
    """Return `page` as if it was asked for, of a service that is up: with nginx's own words taken away."""
    page = re.sub(r"<!--# include virtual=.*?-->", "up", page)
    return re.sub(r"<!--#.*?-->", "", page)


@sources
def test_a_source_uses_only_words_that_are_known(source: Path) -> None:
    text = source.read_text()
    for what in re.findall(r"@each (.*)@", text):
        assert what in ("service", "route", "url", "database")
    for what in re.findall(r"@if (.*)@", text):
        assert what.removeprefix("no ") in ("service", "database", "alias")
    for what in re.findall(r"@when (.*)@", text):
        assert re.fullmatch(r"((refused|timeout|closed|unknown-name)( native| container)?|get|sent)", what), (
            "nginx knows them in this order only"
        )
    for word in re.findall(r"@([a-z.]+)@", text):
        if word != "end":
            known = THIS if word.startswith("this.") else WORDS
            assert word.removeprefix("this.").removesuffix(".column") in known
    assert len(re.findall(r"^[ \t]*@(?:each|if|when) ", text, re.M)) == text.count("@end@")


@sources
def test_a_source_is_safe_for_nginx_and_needs_nothing_from_elsewhere(source: Path) -> None:
    text = source.read_text()
    assert "<!--" not in text
    assert not re.search(r"""\son[a-z]+\s*=|\sstyle\s*=|javascript:|@import|innerHTML|\seval\b""", text)
    assert not re.search(r"""(?:src|href)="(?!/__localdev/"|data:,"|@url@")|url\((?!data:)|https?://(?!\*)""", text)
    # The files that become part of a page must not end that part.
    if source.suffix in (".css", ".js"):
        assert "</" not in text


@pytest.mark.parametrize("awk", AWKS.values(), ids=AWKS)
def test_pages_of_nothing_at_all_are_whole(run: Run, tmp_path: Path, awk: tuple[str, ...]) -> None:
    _, pages = configuration(run, tmp_path, "", awk, databases="")
    for name, page in pages.items():
        assert not re.search(r"@[a-z.]+@", page), name
    assert json.loads(pages["dashboard.json"]) == {"domain": "shop.localhost", "services": [], "databases": []}
    assert json.loads(pages["no-route.json"])["routes"] == []
    assert pages["dashboard.txt"] == (
        "localdev: there are no services yet. To add one, edit .localdev/routes, then: make dev-reload\n"
    )
    assert "There are none yet." in pages["dashboard.html"]
    assert "Databases" not in pages["dashboard.html"] and "<li>" not in pages["no-route.html"]


@pytest.mark.parametrize("awk", AWKS.values(), ids=AWKS)
def test_a_databases_url_is_quoted_as_each_format_needs_it(run: Run, tmp_path: Path, awk: tuple[str, ...]) -> None:
    _, pages = configuration(run, tmp_path, "web 1 /\n", awk, databases=f"mongodb={NASTY}")
    assert json.loads(asked(pages["dashboard.json"]))["databases"][0]["url"] == NASTY
    assert f"mongodb  {NASTY}  " in pages["dashboard.txt"]
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append
    parser.feed(pages["dashboard.html"])
    assert NASTY in texts


def test_a_databases_port_is_the_moved_one(run: Run, tmp_path: Path) -> None:
    _, pages = configuration(run, tmp_path, "", REDIS_PORT="6380", MONGODB_PORT="")
    assert [row["url"] for row in json.loads(asked(pages["dashboard.json"]))["databases"]] == [
        "redis://:dev@127.0.0.1:6380/0",
        "mongodb://dev:dev@127.0.0.1:27017/?a=1&b=2",
    ]


def test_urls_stand_in_the_order_of_routes_and_https_first(run: Run, tmp_path: Path) -> None:
    _, pages = configuration(run, tmp_path, "web 1 / *.t.\nbox redis:1\nweb 1 /x\n", tls="on")
    places = [("web", "{}/"), ("web", "*.t.{}/"), ("box", "box.{}/"), ("web", "{}/x")]
    urls = [
        (service, scheme + "://" + place.format(f"shop.localhost:{port}"))
        for service, place in places
        for scheme, port in (("https", 8443), ("http", 8080))
    ]
    assert [(route["service"], route["url"]) for route in json.loads(pages["no-route.json"])["routes"]] == urls
    assert [tuple(line.split()) for line in pages["no-route.txt"].splitlines()[1:-1]] == urls
    assert {row["name"]: row["urls"] for row in json.loads(asked(pages["dashboard.json"]))["services"]} == {
        name: [url for service, url in urls if service == name] for name in ("web", "box")
    }
    assert json.loads(pages["no-route.json"])["dashboard"] == "https://shop.localhost:8443/__localdev/"
    links = re.findall(r'<a href="(http[^"]*)">', pages["dashboard.html"])
    assert sorted(links) == sorted(url for _, url in urls if "*" not in url)


@pytest.mark.parametrize("kind", ["html", "txt", "json"])
def test_without_the_alias_no_page_speaks_of_it(run: Run, tmp_path: Path, kind: str) -> None:
    for env, listen, others in (
        ({}, "10.254.254.254", "0.0.0.0"),
        ({"LOCALDEV_HOST": "host-gateway"}, "0.0.0.0", "10.254.254.254"),
    ):
        _, pages = configuration(run, tmp_path, "web 1 /\n", **env)
        page = pages[f"down.{kind}"].replace("Let it listen on 0.0.0.0.", "")  # what a container always needs
        assert listen in page and others not in page
        assert ("make dev-alias" in page) == (not env)
        assert ("to any port" in page) == bool(env)
        assert ("host-alias:1" in pages["dashboard.txt"]) == bool(env)


def test_columns_are_as_wide_as_the_longest_word_in_them(run: Run, tmp_path: Path) -> None:
    long = "s" * 63
    _, pages = configuration(run, tmp_path, f"a 1 /\n{long} {'c' * 63}:65535 b.\n")
    rows = [asked(line).expandtabs() for line in pages["dashboard.txt"].split("\n\n")[0].splitlines()]
    assert [line.split()[2] for line in rows] == ["up", "up"]
    assert rows[0].index("up ") == rows[1].index("up ") and rows[0].index("http") == rows[1].index("http")
    assert rows[0].index("up ") % 8 == 0
    links = pages["no-route.txt"].splitlines()[1:3]
    assert links[0].index("http") == links[1].index("http") == 65

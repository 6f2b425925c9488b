"""The proxy's own pages, as people and programs see them: on the real engine, by curl's and fetch's requests, by raw
sockets, and in a real browser, whose pages are also asked for accessibility by axe."""

import contextlib
import dataclasses
import http.client
import http.server
import itertools
import json
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from conftest import Render, Run
from host import ALIAS_IP, curl, retry, service
from needs import need
from running import Stack, running_stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
PORTS = {"LOCALDEV_HTTP_PORT": "18380", "LOCALDEV_HTTPS_PORT": "18743", "POSTGRES_PORT": "15480", "REDIS_PORT": "16380"}
WEB, API = 3181, 4181
ROUTES = f"""\
web    {WEB}         / web.
api    {API}         /api api. *.tenant.
docs   {API}         docs./v1
box    redis:6379   box.
empty  redis:9999   empty.
stuck  stuck:6379   stuck.
gone   pgadmin:80   gone.
"""
# It takes one waiting connection at most, which makes it easy to keep it from taking ours.
STUCK = """
services:
  stuck:
    image: redis:8-alpine
    command: ["redis-server", "--tcp-backlog", "1", "--protected-mode", "no"]
"""
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"
# A path that no phone has the room for in one line.
LONG = "long" * 40
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


@pytest.fixture(scope="module")
def stack(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a route of every kind."""

    def prepare(stack: Stack) -> None:
        stack.write_routes(ROUTES)
        stack.add_to_compose(STUCK)

    answers = {"project_slug": "pages-test", "databases": "[postgres, redis]"}
    with running_stack(rendered, run, tmp_path_factory.mktemp("stack"), PORTS, prepare, **answers) as stack:
        yield stack


@pytest.fixture
def routes(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    """Other routes for one test."""
    stack.write_routes(request.param)
    done = stack.make("dev-reload")
    yield
    stack.write_routes(ROUTES)
    assert (done.returncode, stack.make("dev-reload").returncode) == (0, 0), done.stderr


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser, without a screen."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    need(path, "Chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        # As root, which tests of the engine may be, it starts only without its sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclasses.dataclass
class Seen:
    """What a page did behind the scenes."""

    requests: list[str] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Returns a function that opens a URL in a window of its own. Every page of every test that is opened with it must
    leave the console free of errors and ask nobody but the proxy for anything; `offline` allows failed requests."""
    contexts, everything = [], []

    def open_page(url: str | None, offline: bool = False, **options: object) -> Page:
        context = browser.new_context(viewport=options.pop("viewport", SIZES["desktop"]), **options)
        contexts.append(context)
        page = context.new_page()
        page.seen = Seen()
        everything.append((page.seen, offline))
        page.on("request", lambda request: page.seen.requests.append(request.url))
        page.on("pageerror", lambda error: page.seen.errors.append(str(error)))
        page.on("console", lambda message: page.seen.errors.append(f"{message.text} {message.location['url']}"))
        if url:
            page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for seen, offline in everything:
        outside = [
            url for url in seen.requests if not re.match(r"data:,|http://[^/]*pages-test\.localhost:18380/", url)
        ]
        assert not outside
        # The browser itself notes a page's status when it is an error.
        expected = (
            r"Failed to load resource: the server responded with a status of (404|502|504) .* http://[^ ]*/[^_ ]*$"
        )
        if offline:
            expected += r"|Failed to load resource: net::ERR_"
        assert not [error for error in seen.errors if not re.match(expected, error)]


class Site(http.server.BaseHTTPRequestHandler):
    """A service with pages and errors of its own, that remembers what it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with what was asked for, and /crash by hanging up."""
        self.server.__dict__.setdefault("asked", []).append((self.command, self.path))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/crash":
            self.close_connection = True
            return
        body = f"<title>The service</title><p>{self.command} of {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


for command in ("HEAD", "POST"):
    setattr(Site, f"do_{command}", Site.do_GET)


@contextlib.contextmanager
def hanging_up(answer: Callable[[socket.socket], object] = lambda end: end.recv(1 << 16)) -> Iterator[None]:
    """A service that takes every connection, reads the request and ends the connection without an answer in HTTP."""
    with socket.create_server((ALIAS_IP, WEB), backlog=50) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the listener is closed: the test is over
                    return
                with connection, contextlib.suppress(OSError):
                    answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def speak_tls(connection: socket.socket) -> None:
    """Do what a server of HTTPS does with a request in plain HTTP: it fails in the handshake."""
    with contextlib.suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(connection, server_side=True)


@contextlib.contextmanager
def fill(address: tuple[str, int], count: int) -> Iterator[None]:
    """Open connections to a listener that accepts none, until the kernel drops further ones as a firewall does."""
    with contextlib.ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(address)

        def is_full() -> None:
            with pytest.raises(TimeoutError), socket.create_connection(address, timeout=0.3):
                pass

        retry(is_full)
        yield


@contextlib.contextmanager
def deaf(_: Stack) -> Iterator[None]:
    """A service that never takes a connection."""
    with socket.create_server((ALIAS_IP, WEB), backlog=0), fill((ALIAS_IP, WEB), 3):
        yield


@contextlib.contextmanager
def deaf_container(stack: Stack) -> Iterator[None]:
    """A paused container, in which the same is so."""
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    name = stack.compose("ps", "-q", "stuck", check=True).stdout.strip()
    address = stack.run("docker", "inspect", "-f", network, name, cwd=stack.repo, check=True).stdout.strip()
    stack.compose("pause", "stuck", check=True)
    try:
        with fill((address, 6379), 6):
            yield
    finally:
        stack.compose("unpause", "stuck", check=True)


@dataclasses.dataclass
class Reason:
    """Why a service is down: how to make it so, and what its pages say then."""

    host: str
    service: str
    target: str
    code: str
    status: int
    heading: str
    hints: tuple[str, ...]
    make: Callable[[Stack], AbstractContextManager[None]] = lambda _: contextlib.nullcontext()


NATIVE = ("web.", "web", f"{ALIAS_IP}:{WEB}")
NO_ANSWER = "The connection gets no answer"
HANGS_UP = "It ends the connection without an HTTP answer"
REASONS = {
    "refused": Reason(*NATIVE, "refused", 502, "Nothing listens there", ("127.0.0.1 or ::1 only", f"-p {WEB}")),
    "timeout": Reason(
        *NATIVE, "timeout", 504, NO_ANSWER,
        (f"sudo ufw allow from 172.16.0.0/12 to {ALIAS_IP} port {WEB}", "make dev-alias"), deaf,
    ),
    "closed": Reason(*NATIVE, "closed", 502, HANGS_UP, ("crashed", "HTTPS"), lambda _: hanging_up()),
    "closed by HTTPS": Reason(*NATIVE, "closed", 502, HANGS_UP, ("crashed", "HTTPS"), lambda _: hanging_up(speak_tls)),
    "container closed": Reason(
        "box.", "box", "redis:6379", "closed", 502, HANGS_UP, ("docker compose logs redis", "HTTPS")
    ),
    "container refused": Reason(
        "empty.", "empty", "redis:9999", "refused", 502, "The container runs, but nothing listens there",
        ("docker compose logs redis", "127.0.0.1 only"),
    ),
    "container timeout": Reason(
        "stuck.", "stuck", "stuck:6379", "timeout", 504, NO_ANSWER, ("docker compose restart stuck", "paused"),
        deaf_container,
    ),
    "unknown-name": Reason(
        "gone.", "gone", "pgadmin:80", "unknown-name", 502, "No container named pgadmin runs",
        ("docker compose up -d pgadmin", ".localdev/routes"),
    ),
}  # fmt: skip


def ask(
    stack: Stack, host: str, path: str = "/", method: str = "GET", accept: str | None = "*/*"
) -> tuple[int, http.client.HTTPMessage, str]:
    """Return status, headers and body of what the proxy answers a program that sends this Accept, None for no header."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(PORTS["LOCALDEV_HTTP_PORT"]), 20)) as client:
        client.request(method, path, headers={"Host": stack.url(host)[7:-1]} | ({"Accept": accept} if accept else {}))
        answer = client.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def news(page: Page):
    """Return the live region of `page`."""
    return page.locator("#news")


def expect_service(page: Page, text: str) -> None:
    """See the page of a Site in `page`, and on it `text`."""
    expect(page).to_have_title("The service", timeout=8000)
    expect(page.locator("p")).to_have_text(text)


def state(page: Page, name: str):
    """Return the state of `name` on the dashboard; of two with this name, the first."""
    return page.locator(f'[data-name="{name}"]').first


# --- what programs get ------------------------------------------------------------------------------------------------


KINDS = {
    BROWSER: "text/html",
    "text/html": "text/html",
    "application/json": "application/json",
    AXIOS: "application/json",
    "*/*": "text/plain",
    "text/plain": "text/plain",
    "image/avif,image/webp,*/*;q=0.8": "text/plain",
    None: "text/plain",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")


def test_browsers_get_html_tools_json_and_curl_text_whatever_they_ask_by(stack: Stack) -> None:
    places = [("web.", "/x", 502), ("nobody.", "/x", 404), ("docs.", "/", 404)]
    places += [(host, "/__localdev/", 200) for host in ("", "api.", "nobody.")]
    for (host, path, status), (accept, kind), method in itertools.product(places, KINDS.items(), METHODS):
        if status == 200 and method not in ("GET", "HEAD"):
            continue
        case = f"{method} of {path} on {host}, Accept: {accept}"
        got, headers, body = ask(stack, host, path, method, accept)
        assert (got, headers["Content-Type"]) == (status, f"{kind}; charset=utf-8"), case
        assert (headers["Cache-Control"], headers["Vary"]) == ("no-store", "Accept"), case
        assert headers["X-Content-Type-Options"] == "nosniff", case
        policy = headers["Content-Security-Policy"] or ""
        assert ("default-src 'none'" in policy) == (kind == "text/html"), case
        if method == "HEAD":
            assert body == "", case
        elif kind == "text/html":
            assert body.startswith("<!DOCTYPE html>\n") and body.endswith("</html>\n"), case
        elif kind == "application/json":
            assert json.loads(body).get("error") == {502: "down", 404: "no-route"}.get(status), case
        else:
            assert body.startswith("localdev: ") or status == 200, case
    assert ask(stack, "", "/__localdev")[1]["Location"] == "/__localdev/"


def test_a_host_or_path_without_route_is_explained_to_programs(stack: Stack) -> None:
    routes = [
        ("web", "http://pages-test.localhost:18380/"),
        ("web", "http://web.pages-test.localhost:18380/"),
        ("api", "http://pages-test.localhost:18380/api"),
        ("api", "http://api.pages-test.localhost:18380/"),
        ("api", "http://*.tenant.pages-test.localhost:18380/"),
        ("docs", "http://docs.pages-test.localhost:18380/v1"),
        *((name, f"http://{name}.pages-test.localhost:18380/") for name in ("box", "empty", "stuck", "gone")),
    ]
    for host, path in (("nobody.", "/x"), ("docs.", "/"), ("docs.", "/v1x"), ("", "/__localdev/x")):
        case = f"{path} on {host!r}"
        status, _, text = ask(stack, host, path)
        assert status == 404, case
        first, *listed, last = text.splitlines()
        assert first == "localdev: no route leads here. To add one, edit .localdev/routes, then: make dev-reload", case
        assert [tuple(line.split()) for line in listed] == routes, case
        assert len({line.index("http") for line in listed}) == 1, case
        assert last == "All services: http://pages-test.localhost:18380/__localdev/", case
        about = json.loads(ask(stack, host, path, accept="application/json")[2])
        assert about == {
            "error": "no-route",
            "message": first.removeprefix("localdev: "),
            "routes": [{"service": name, "url": url} for name, url in routes],
            "dashboard": "http://pages-test.localhost:18380/__localdev/",
        }, case


def test_the_dashboard_is_a_table_in_text_and_data_in_json(stack: Stack) -> None:
    with service("api", API):
        about = json.loads(ask(stack, "", "/__localdev/", accept="application/json")[2])
        text = ask(stack, "", "/__localdev/")[2].expandtabs()
    assert about["domain"] == "pages-test.localhost"
    assert [(row["name"], row["target"], row["state"]) for row in about["services"]] == [
        ("web", f"{ALIAS_IP}:{WEB}", "down"),
        ("api", f"{ALIAS_IP}:{API}", "up"),
        ("docs", f"{ALIAS_IP}:{API}", "up"),
        ("box", "redis:6379", "down"),  # it takes the connection, but speaks no HTTP
        ("empty", "redis:9999", "down"),
        ("stuck", "stuck:6379", "down"),
        ("gone", "pgadmin:80", "down"),
    ]
    assert about["services"][1]["urls"] == [
        "http://pages-test.localhost:18380/api",
        "http://api.pages-test.localhost:18380/",
        "http://*.tenant.pages-test.localhost:18380/",
    ]
    databases = [
        ["postgres", "postgresql://127.0.0.1:15480/dev", "running"],
        ["redis", "redis://127.0.0.1:16380/0", "running"],
    ]
    assert [list(row.values()) for row in about["databases"]] == databases
    rows = [line.split() for line in text.splitlines()]
    assert rows == [
        *([row["state"], row["name"], row["target"], url] for row in about["services"] for url in row["urls"]),
        *([state, name, url] for name, url, state in databases),
    ]
    for column in range(1, 4):
        # Each column begins at the same place in every row: behind the blanks that follow the one before.
        starts = {re.match(rf"(?:\S+\s+){{{column}}}", line).end() for line in text.splitlines()[: -len(databases)]}
        assert len(starts) == 1, text


class LongAnswer(http.server.BaseHTTPRequestHandler):
    """Knows no path, and says so on a long page, as Rails does in development."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "100000000")
        self.end_headers()

    log_message = Site.log_message


def test_a_service_whose_answer_to_the_probe_would_be_long_is_up(stack: Stack) -> None:
    with service("web", WEB, handler=LongAnswer):
        status, body = curl(stack.url("", "/__localdev/"))
        assert status == 200 and re.search(r"(?m)^up\s+web ", body), body
        assert curl(stack.url("", "/__localdev/up/web")) == (200, "up")


def test_nothing_of_a_request_gets_into_a_page(stack: Stack) -> None:
    nobody = "nobody.pages-test.localhost:18380"
    for (host, path), accept in itertools.product(
        (
            ("<script>alert(1)</script>", "/"),
            ('"onload=alert(1)', "/"),
            ('a"b<script>.pages-test.localhost:18380', "/"),
            (nobody, '/<script>alert(1)</script>"onload=alert(1)'),
            ("web.pages-test.localhost:18380", '/<script>alert(1)</script>"onload=alert(1)'),
            (nobody, "/?<script>alert(1)</script>{{.Host}}<!--#echo var='host'-->"),
            ("pages-test.localhost:18380", '/__localdev/up/<script>alert(1)</script>"onload=alert(1)'),
        ),
        (BROWSER, AXIOS, "*/*"),
    ):
        with socket.create_connection(("127.0.0.1", int(PORTS["LOCALDEV_HTTP_PORT"])), 20) as connection:
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nX-Forwarded-Host: <script>alert(1)\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert re.match(r"HTTP/1.1 (400|404|502) ", answer), head
        for part in ("<script>a", "alert(1)", "onload=", "{{", "<!--"):
            assert part not in answer, head


# --- what people see --------------------------------------------------------------------------------------------------


def explains_to_programs(stack: Stack, reason: Reason) -> None:
    """Raise unless curl and clients of APIs are told why."""
    status, _, text = ask(stack, reason.host)
    _, _, raw = ask(stack, reason.host, accept="application/json")
    assert status == reason.status
    assert text.splitlines() == [
        f"localdev: {reason.service} does not answer at {reason.target} ({reason.code}). To see why: make dev-doctor",
        "All services: http://pages-test.localhost:18380/__localdev/",
    ]
    assert json.loads(raw) == {
        "error": "down",
        "service": reason.service,
        "target": reason.target,
        "reason": reason.code,
        "message": f"{reason.service} does not answer at {reason.target}",
        "fix": "make dev-doctor",
        "dashboard": "http://pages-test.localhost:18380/__localdev/",
    }


def explains_to_people(page: Page, reason: Reason) -> None:
    """Raise unless `page` says why."""
    expect(page).to_have_title(f"{reason.service} does not answer")
    expect(page.locator("h1")).to_have_text(f"{reason.service} does not answer at {reason.target}")
    expect(page.locator("h2").first).to_have_text(reason.heading)
    text = page.locator("main").inner_text()
    for hint in reason.hints:
        assert hint in text
    expect(news(page)).to_have_text(f"This page loads again by itself as soon as {reason.service} answers.")
    expect(page.get_by_role("status").first).to_be_attached()


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_service_that_is_down_is_explained_to_everybody_until_it_is_back(
    stack: Stack, open_page, reason: Reason
) -> None:
    with reason.make(stack):
        explains_to_programs(stack, reason)
        page = open_page(stack.url(reason.host, "/deep?link=1"))
        explains_to_people(page, reason)
        expect_accessible(page)
        if reason.host != "web.":
            page.get_by_role("link", name="All services").click()
            expect(page).to_have_url(stack.url(reason.host, "/__localdev/"))
            return
        # It found the service down by now, too.
        with page.expect_response(lambda response: response.url.endswith("/__localdev/up/web")) as looked:
            pass
        assert looked.value.text() == "down"
    with service("web", WEB, handler=Site):
        started = time.monotonic()
        expect(page).to_have_title("The service", timeout=10000)
        assert time.monotonic() - started < 3
        expect_service(page, "GET of /deep?link=1")


def test_the_start_hints_name_address_and_port_and_are_copied_by_a_button(stack: Stack, open_page) -> None:
    page = open_page(stack.url("web."), permissions=["clipboard-read", "clipboard-write"])
    address = ALIAS_IP
    assert page.locator("dl .copy").all_inner_texts() == [
        f"bin/rails server -b {address} -p {WEB}",
        f"npx vite --host {address} --port {WEB} --strictPort",
        f"npx next dev -H {address} -p {WEB}",
        f"python3 manage.py runserver {address}:{WEB}",
        f"flask run --host {address} --port {WEB}",
        f"uvicorn main:app --reload --host {address} --port {WEB}",
        f"php artisan serve --host={address} --port={WEB}",
        f"SERVER_ADDRESS={address} SERVER_PORT={WEB} ./mvnw spring-boot:run",
    ]
    page.get_by_role("button", name="Copy bin/rails server").click()
    expect(page.get_by_role("button", name="Copied bin/rails server")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == f"bin/rails server -b {ALIAS_IP} -p {WEB}"


def test_a_page_that_was_sent_for_is_not_sent_again_by_itself(stack: Stack, open_page) -> None:
    page = open_page(None)
    page.set_content(f'<form method="post" action="{stack.url("web.", "/order")}"><input name="a" value="b"><button>')
    page.get_by_role("button").click()
    expect(page.locator("h1")).to_contain_text("web does not answer")
    expect(news(page)).to_have_text("Your browser sent a POST request, so this page does not load again by itself.")
    with service("web", WEB, handler=Site) as server:
        expect(news(page)).to_contain_text("web answers again.")
        # It goes on to look, and to do nothing else.
        retry(lambda: server.asked[2])
        assert set(server.asked) == {("HEAD", "/__localdev/probe")}
        page.get_by_role("button", name="Try again").click()
        expect_service(page, "POST of /order")
        assert server.asked.count(("POST", "/order")) == 1
        assert ("GET", "/order") not in server.asked


def test_a_page_that_makes_the_service_hang_up_is_asked_for_only_once(stack: Stack, open_page) -> None:
    with service("web", WEB, handler=Site) as server:
        page = open_page(stack.url("web.", "/crash"))
        expect(news(page)).to_have_text("web answers, but not this request.")
        retry(lambda: server.asked[2])
        assert [each for each in server.asked if each[0] != "HEAD"] == [("GET", "/crash")]
        page.get_by_role("button", name="Try again").click()
        retry(lambda: [each for each in server.asked if each == ("GET", "/crash")][1])
        expect(news(page)).to_have_text("web answers, but not this request.")
    # Once it was down and is back, it may be mended.
    expect(news(page)).to_have_text("This page loads again by itself as soon as web answers.")
    with service("web", WEB, handler=Site) as server:
        retry(lambda: server.asked.index(("GET", "/crash")))


def test_a_page_that_nobody_looks_at_asks_nothing(stack: Stack, open_page) -> None:
    page = open_page(None)
    page.clock.install()
    for host, path, interval in (("web.", "/", 1000), ("", "/__localdev/", 3000)):
        page.goto(stack.url(host, path))
        asks = "/__localdev/up/web" if host else "/__localdev/"
        with page.expect_request(lambda request, asks=asks: request.url.endswith(asks)):
            page.clock.run_for(interval + 10)
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
        page.wait_for_load_state("networkidle")
        page.clock.run_for(interval + 10)  # a look that was on its way
        page.wait_for_load_state("networkidle")
        before = len(page.seen.requests)
        page.clock.run_for(20 * interval)
        assert len(page.seen.requests) == before
        page.evaluate("Object.defineProperty(document, 'hidden', { value: false })")
        with page.expect_request(lambda request, asks=asks: request.url.endswith(asks)):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_host_without_route_is_named_and_the_routes_are_links(stack: Stack, open_page) -> None:
    page = open_page(stack.url("nobody.", f"/{LONG}"))
    expect(page).to_have_title("No route leads here")
    expect(page.locator("h1")).to_have_text("No route leads here")
    expect(page.locator("main p").first).to_have_text(
        f"nobody.pages-test.localhost:18380/{LONG} is in no line of .localdev/routes."
    )
    expect(page.locator("#example")).to_have_text("my-service  4000  nobody.")
    expect(page.get_by_text("make dev-reload")).to_be_visible()
    rows = page.locator(".list > li")
    assert rows.count() == 10
    expect(rows.nth(2)).to_have_text(re.compile(r"api\s+http://pages-test.localhost:18380/api"))
    # A wildcard is no address.
    assert page.locator(".list a").count() == 9
    # A short list needs no filter.
    expect(page.get_by_label("Filter")).to_be_hidden()
    expect_accessible(page)
    with service("api", API, handler=Site):
        page.get_by_role("link", name=stack.url("docs.", "/v1")).click()
        expect_service(page, "GET of /v1")
        page.go_back()
        page.get_by_role("link", name="All services").click()
        expect(page).to_have_url(stack.url("nobody.", "/__localdev/"))
    # The line to add is for the host that was asked for; markup in a path is text.
    for host, path, place in (
        ("docs.", "/x/y", "docs."), ("a.b.", "/", "a.b."), ("", "/__localdev/x", "my-service."), ("docs.", "/%22", "docs."),
        ("nobody.", "/<img src=x onerror=alert(1)>'\"?<b>#<b>", "nobody."),
    ):  # fmt: skip
        page.goto(stack.url(host, path))
        expect(page.locator("#example"), path).to_have_text(f"my-service  4000  {place}")
    assert page.locator("img").count() == page.locator("b").count() == 0
    expect(page.locator("#here")).to_contain_text("nobody.pages-test.localhost:18380/%3Cimg")


def test_the_dashboard_follows_services_and_databases_without_loading_again(stack: Stack, open_page) -> None:
    page = open_page(stack.url("", "/__localdev/"))
    page.evaluate("document.title = 'not loaded again'")
    expect(page.locator("h1")).to_have_text("pages-test.localhost")
    expect(state(page, "web")).to_have_text("down")
    for name, address in (
        ("postgres", "postgresql://127.0.0.1:15480/dev"),
        ("redis", "redis://127.0.0.1:16380/0"),
    ):
        expect(page.locator("li", has=state(page, name)).locator("code")).to_have_text(address)
        expect(state(page, name)).to_have_text("running")

    def shows(name: str, now: str) -> None:
        expect(state(page, name)).to_have_text(now, timeout=8000)
        expect(news(page)).to_contain_text(f"{name} is {now}.")
        assert now in state(page, name).get_attribute("class").split()

    with service("web", WEB, handler=Site):
        shows("web", "up")
        expect(state(page, "api")).to_have_text("down")
    shows("web", "down")
    stack.compose("stop", "--timeout", "3", "redis", check=True)
    try:
        shows("redis", "stopped")
        expect(state(page, "postgres")).to_have_text("running")
    finally:
        stack.compose("start", "redis", check=True)
    with service("web", WEB, handler=Site):
        shows("redis", "running")
        expect(state(page, "web")).to_have_text("up", timeout=8000)
    expect(page).to_have_title("not loaded again")


def test_the_dashboard_is_for_everybody_and_its_links_lead_to_the_services(stack: Stack, open_page) -> None:
    with service("api", API, handler=Site):
        page = open_page(stack.url("", "/__localdev/"))
        expect(page.get_by_role("status").first).to_be_attached()
        # A short list needs no filter.
        expect(page.get_by_label("Filter")).to_be_hidden()
        # The states differ by word and shape, not by colour alone.
        fill = "getComputedStyle(document.querySelector('[data-name={}]'), '::before').backgroundColor"
        assert page.evaluate(fill.format("api")) != "rgba(0, 0, 0, 0)"
        assert page.evaluate(fill.format("web")) == "rgba(0, 0, 0, 0)"
        expect_accessible(page)
        links = [link.get_attribute("href") for link in page.locator(".to a").all()]
        assert links == [line.split()[1] for line in ask(stack, "nobody.")[2].splitlines()[1:-1] if "*" not in line]
        page.get_by_role("link", name=stack.url("", "/api")).click()
        expect_service(page, "GET of /api")


def test_pages_say_when_the_proxy_itself_is_gone(stack: Stack, open_page) -> None:
    dashboard = open_page(stack.url("", "/__localdev/"), offline=True)
    down = open_page(stack.url("web."), offline=True)
    stack.compose("stop", "--timeout", "3", "proxy", check=True)
    try:
        expect(news(dashboard)).to_have_text(
            "The proxy does not answer, so nothing is known. To start it: make dev-up", timeout=8000
        )
        expect(news(dashboard)).to_be_visible()
        expect(state(dashboard, "postgres")).to_have_text("unknown")
        expect(news(down)).to_have_text("The proxy itself does not answer. To start it: make dev-up")
    finally:
        stack.compose("start", "proxy", check=True)
    expect(state(dashboard, "postgres")).to_have_text("running", timeout=10000)
    expect(news(down)).to_have_text("This page loads again by itself as soon as web answers.")


def test_the_dashboard_shows_edited_routes_by_itself(stack: Stack, open_page) -> None:
    page = open_page(stack.url("", "/__localdev/"))
    with page.expect_response(stack.url("", "/__localdev/")):
        pass
    try:
        stack.write_routes(ROUTES.replace("docs./v1", "docs./v2") + f"new {API} new./v2\n")
        assert stack.make("dev-reload").returncode == 0
        expect(page.locator("a[href$='/v2']")).to_have_count(2, timeout=8000)
        expect(state(page, "new")).to_have_text("down")
    finally:
        stack.write_routes(ROUTES)
        assert stack.make("dev-reload").returncode == 0
    expect(page.locator("a[href$='/v2']")).to_have_count(0, timeout=8000)


def test_pages_are_of_use_without_script(stack: Stack, open_page) -> None:
    dashboard = open_page(stack.url("", "/__localdev/"), java_script_enabled=False)
    expect(state(dashboard, "web")).to_have_text("down")
    expect(state(dashboard, "redis")).to_have_text("running")
    nowhere = open_page(stack.url("nobody."), java_script_enabled=False)
    expect(nowhere.locator("main p").first).to_have_text(
        "What your browser's address bar shows is in no line of .localdev/routes."
    )
    expect(nowhere.locator("#example")).to_have_text("my-service  4000  my-service.")
    sent = open_page(None, java_script_enabled=False)
    sent.set_content(f'<form method="post" action="{stack.url("web.", "/order")}"><button>')
    sent.get_by_role("button").click()
    # Playwright itself does not count what stands in <noscript> as text.
    retry(lambda: news(sent).inner_text().index("The page does not load again by itself: your browser sent something"))
    assert sent.locator("meta[http-equiv]").count() == 0
    down = open_page(stack.url("web.", "/x"), java_script_enabled=False)
    assert news(down).inner_text() == "Without JavaScript this page loads again every 5 seconds."
    with service("web", WEB, handler=Site):
        expect_service(down, "GET of /x")


THOUSAND = "".join(f"svc-{i:03} {20000 + i} svc-{i:03}. /svc-{i:03}\n" for i in range(1000))


@pytest.mark.parametrize("routes", [THOUSAND], ids=["1000"], indirect=True)
def test_a_thousand_services_are_a_filter_away(stack: Stack, open_page, routes: None) -> None:
    page = open_page(None)
    begin = time.monotonic()
    page.goto(stack.url("", "/__localdev/"))
    rows = page.locator("#filter + .list > li:visible")
    expect(rows).to_have_count(1000)
    expect(state(page, "svc-999")).to_have_text("down")
    assert time.monotonic() - begin < 3
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["desktop"]["width"]
    # All by keyboard: into the box, type, to the first link, into the page.
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("SVC-12")
    expect(rows).to_have_count(10)
    expect(page.locator("#found")).to_have_text("10 of 1000")
    expect(state(page, "svc-120")).to_be_visible()
    with service("svc-120", 20120, handler=Site):
        # By its state, too, which changes while one looks.
        page.get_by_label("Filter").fill("up")
        expect(rows).to_have_count(1, timeout=10000)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect_service(page, "GET of /")
    page.goto(stack.url("nobody."))
    page.get_by_label("Filter").fill("localhost:18380/svc-777")
    expect(page.locator(".list > li:visible")).to_have_count(1)


@pytest.mark.parametrize("routes", ["# none yet\n"], ids=["none"], indirect=True)
def test_an_empty_routes_has_its_pages(stack: Stack, open_page, routes: None) -> None:
    page = open_page(stack.url("", "/__localdev/"))
    expect(page.locator("main")).to_contain_text("There are none yet.")
    expect(state(page, "redis")).to_have_text("running")
    assert not violations(page)
    # Text and JSON of no routes: test_page_texts.py.
    page = open_page(stack.url())
    expect(page.locator("h1")).to_have_text("No route leads here")
    expect(page.locator("#example")).to_have_text("my-service  4000  /")
    assert not violations(page)


# --- for everybody ----------------------------------------------------------------------------------------------------


def violations(page: Page) -> list[str]:
    """Return what axe finds on `page`; that it looked at the colours is seen to."""
    found = Axe().run(page, options={}).response
    assert "color-contrast" in [rule["id"] for rule in found["passes"]]
    return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


def expect_accessible(page: Page) -> None:
    """Raise unless `page` is for everybody: by axe, in light and dark, on desk and phone, by keyboard alone."""
    backgrounds = set()
    for (name, size), scheme in itertools.product(SIZES.items(), ("light", "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        case = f"{scheme} on {name}"
        # Colours do not depend on the size, nor the rest on colours: two of the four have all that axe can tell.
        if case in ("dark on desktop", "light on phone"):
            assert violations(page) == [], case
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], case
        assert page.evaluate(
            "[...document.querySelectorAll('body, body *')].filter(e => e.checkVisibility() && e.innerText)"
            ".every(e => parseFloat(getComputedStyle(e).fontSize) >= 16)"
        ), case
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    assert page.locator("html[lang=en]").count() == page.locator("h1").count() == 1
    for landmark in ("banner", "main"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    reached_by_keyboard(page)


def reached_by_keyboard(page: Page) -> None:
    """Raise unless everything on `page` is reached by keyboard, and seen to be."""
    wanted = page.locator("a, button:visible, input:visible").count()
    assert wanted > 1
    for _ in range(wanted):
        page.keyboard.press("Tab")
        outline = page.evaluate("(({outlineStyle, outlineWidth}) => outlineStyle + outlineWidth)"
                                "(getComputedStyle(document.activeElement))")  # fmt: skip
        assert outline == "solid3px", page.evaluate("document.activeElement.outerHTML")
        page.evaluate("document.activeElement.dataset.reached = ''")
    assert page.locator("[data-reached]").count() == wanted


def test_nothing_moves_for_those_who_do_not_want_it(stack: Stack, open_page) -> None:
    for wish, moves in (("no-preference", "breathe"), ("reduce", "none")):
        page = open_page(stack.url("web."), reduced_motion=wish)
        assert page.evaluate("getComputedStyle(document.querySelector('.news'), '::before').animationName") == moves

"""Nothing that works without a proxy may break behind it: real clients, the real container, services on the alias only.

Nothing in this file knows how the proxy is configured.
"""

import gzip
import ipaddress
import json
import queue
import random
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

import pytest
from websockets.sync.client import ClientConnection, connect

from conftest import Render, Run
from host import retry
from needs import examples
from running import Stack, running_stack
from services import MEGABYTE, Answer, Connection, Head, Service, message, serving, serving_websockets

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
PORT = 18090
DOMAIN = "proxy-test.localhost"
HOST = f"Host: web.{DOMAIN}:{PORT}"
WEB, SOCKET, LONG, TWO, FIVE, API = range(3100, 3106)
ROUTES = f"web:{WEB} socket:{SOCKET} long:{LONG} two:{TWO} five:{FIVE} api:{API}"
# Longer than the minute after which proxies like to give up, nginx by default in each of its time-outs.
LONG_SECONDS = 62


@dataclass
class Proxy:
    """A running stack, the proxy's container in it, the service `web` behind it, and what goes on meanwhile."""

    stack: Stack
    container: str
    web: Service
    background: dict[str, Future[float]]

    def run(self, *command: str) -> str:
        """Return what `command` prints in the proxy's container."""
        return docker("exec", self.container, *command)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def client(seconds: float = 20) -> Connection:
    """Connect to the proxy as a browser of this machine does; silence for `seconds` is an error."""
    return Connection(socket.create_connection(("127.0.0.1", PORT), timeout=seconds))


def ask(request: bytes, connection: Connection | None = None) -> tuple[Head, bytes]:
    """Send `request` and return the answer's head and body; without a `connection` on one of its own."""
    if connection is None:
        with client() as connection:
            return ask(request, connection)
    connection.send(request)
    head = connection.head()
    return head, connection.body(head)


def replying(line: str, *fields: str, body: str | bytes | None = None) -> Answer:
    """Return a service that answers just that."""
    return lambda connection, head: connection.send(message(line, *fields, body=body))


def get(target: str, *fields: str, host: str = HOST) -> bytes:
    return message(f"GET {target} HTTP/1.1", host, *fields)


def websocket(**options: object) -> ClientConnection:
    """Open a WebSocket through the proxy that sends no pings of its own."""
    end = socket.create_connection(("127.0.0.1", PORT), timeout=20)
    end.settimeout(None)
    return connect(
        f"ws://socket.{DOMAIN}:{PORT}/chat?room=1", sock=end, proxy=None, ping_interval=None, max_size=None, **options
    )


def echoes(connection: ClientConnection, frame: str | bytes) -> None:
    connection.send(frame)
    assert connection.recv(timeout=20) == frame


# === what takes a minute, while the other tests run ==================================================================


def idle_websocket(over: threading.Event) -> float:
    """Return how long a WebSocket was silent before it was used again."""
    with websocket() as connection:
        echoes(connection, "before")
        started = time.monotonic()
        over.wait(LONG_SECONDS)
        idle = time.monotonic() - started
        echoes(connection, "after")
        return idle


LONG_HOST = f"Host: long.{DOMAIN}:{PORT}"
LARGE = b"x" * 64 * MEGABYTE  # too large for all buffers on its way
# What a client sends, what it sends after its pause, and what it gets: the service thinks, or the client pauses in its request, or
# reads nothing of the answer, or the service reads nothing of the request.
PAUSES = {
    "/thinks": (get("/thinks", host=LONG_HOST), b"", b"42"),
    "/eats": (message("POST /eats HTTP/1.1", LONG_HOST, "Content-Length: 10") + b"first", b"later", b"firstlater"),
    "/talks": (get("/talks", host=LONG_HOST), b"", LARGE),
    "/chews": (message("POST /chews HTTP/1.1", LONG_HOST, body=LARGE), b"", b"%d" % len(LARGE)),
}


def pause(over: threading.Event, first: bytes, later: bytes, wanted: bytes) -> float:
    """Return how long nothing went one way; nobody may have given up meanwhile."""
    started = time.monotonic()
    with client(LONG_SECONDS + 60) as connection:
        connection.send(first)
        over.wait(max(0, LONG_SECONDS - (time.monotonic() - started)))
        connection.send(later)
        head = connection.head()
        assert (head.status, connection.body(head) == wanted) == (200, True)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def proxy(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A running stack, with what takes a minute under way."""
    over = threading.Event()

    def answer_long(connection: Connection, head: Head) -> None:
        if head.target in ("/thinks", "/chews"):
            over.wait(LONG_SECONDS)
        arrived = connection.body(head)
        bodies = {"/thinks": b"42", "/talks": LARGE, "/eats": arrived, "/chews": b"%d" % len(arrived)}
        connection.send(message("HTTP/1.1 200 OK", body=bodies[head.target]))

    answers = {"project_slug": "proxy-test", "native_services": ROUTES}
    ports = {"LOCALDEV_HTTP_PORT": str(PORT)}
    with (
        running_stack(rendered, run, tmp_path_factory.mktemp("proxy"), ports, **answers) as stack,
        serving(WEB) as web,
        serving(LONG, answer_long),
        serving_websockets(SOCKET),
        ThreadPoolExecutor(len(PAUSES) + 1) as pool,
    ):
        try:
            background = {name: pool.submit(pause, over, *words) for name, words in PAUSES.items()}
            background["websocket"] = pool.submit(idle_websocket, over)
            container = stack.compose("ps", "-q", "proxy", check=True).stdout.strip()
            yield Proxy(stack, container, web, background)
        finally:
            over.set()


@pytest.fixture
def web(proxy: Proxy) -> Iterator[Service]:
    """The service `web`, for one test. It stays while tests come and go: the proxy keeps its connections to it."""
    fresh = Service()
    proxy.web.answer, proxy.web.heads, proxy.web.errors = fresh.answer, fresh.heads, fresh.errors
    yield proxy.web
    assert not proxy.web.errors


# === the container ====================================================================================================


def test_the_container_has_no_power_over_the_machine(proxy: Proxy) -> None:
    (about,) = json.loads(docker("inspect", proxy.container))
    host = about["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert [mount["Destination"] for mount in about["Mounts"] if mount["RW"]] == ["/srv"]
    assert not [mount for mount in about["Mounts"] if "docker.sock" in mount["Source"]]

    for status in proxy.run("sh", "-c", "cat /proc/[0-9]*/status").split("Name:\t")[1:]:
        values = dict(line.split(":\t", 1) for line in status.splitlines()[1:])
        assert "0" not in values["Uid"].split() + values["Gid"].split(), status
        assert {values[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}, status
        assert int(values["CapBnd"], 16) == 0, status
    # Of the process that started all others; `docker exec` starts some that prove nothing.
    assert "NoNewPrivs:\t1" in proxy.run("cat", "/proc/1/status")


def test_the_container_can_write_to_tmp_and_to_its_own_configuration_only(proxy: Proxy) -> None:
    # Tried in every folder: what a folder's mode says is not the point.
    folders = "find / -type d ! -path '/proc/*' ! -path '/sys/*' 2>/dev/null"
    attempt = '(: >"$folder/written") 2>/dev/null && rm "$folder/written" && echo "$folder"'
    written = proxy.run("sh", "-c", f"{folders} | while IFS= read -r folder; do {attempt}; done; true").splitlines()
    # What is below /dev the engine puts there, in memory.
    assert "/tmp" in written
    assert {folder.split("/")[1] for folder in written} - {"dev"} == {"srv", "tmp"}


# === WebSocket ========================================================================================================


def test_a_websocket_carries_frames_of_every_size(proxy: Proxy) -> None:
    dice, count = random.Random(1), examples(10_000)
    large = {frame: dice.randbytes(3 * MEGABYTE) for frame in range(0, count, count // 10)}
    frames = [
        large.get(number)
        or (f"frame {number} é" if number % 2 else dice.randbytes(dice.choice((0, 1, 125, 126, 5000))))
        for number in range(count)
    ]
    with websocket() as connection:
        sender = threading.Thread(target=lambda: [connection.send(frame) for frame in frames])
        sender.start()
        for number, frame in enumerate(frames):
            assert connection.recv(timeout=20) == frame, number
        sender.join()


def test_a_websockets_handshake_passes_and_so_does_its_end(proxy: Proxy) -> None:
    with serving_websockets(API, subprotocols=["v2.chat"], origins=["https://app.example"]) as connections:
        end = socket.create_connection(("127.0.0.1", PORT), timeout=20)
        with connect(
            f"ws://api.{DOMAIN}:{PORT}/a%2Fb?room=1",
            sock=end,
            proxy=None,
            origin="https://app.example",
            subprotocols=["v1.chat", "v2.chat"],
            additional_headers={"Cookie": "session=1"},
        ) as connection:
            echoes(connection, "x")
            assert connection.subprotocol == "v2.chat"
            assert "permessage-deflate" in connection.response.headers["Sec-WebSocket-Extensions"]
            request = connections[-1].request
            assert (request.path, request.headers["Cookie"]) == ("/a%2Fb?room=1", "session=1")
            connection.close(4001, "bye")

        def service_knows_why() -> None:
            assert (connections[-1].close_code, connections[-1].close_reason) == (4001, "bye")

        retry(service_knows_why)


def test_a_service_may_refuse_a_websocket_with_its_own_words(web: Service) -> None:
    web.answer = replying("HTTP/1.1 403 Forbidden", body="not you")
    head, body = ask(
        get("/", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    )
    assert (head.status, body) == (403, b"not you")
    assert (web.seen.get("Upgrade"), web.seen.get("Connection").lower()) == ("websocket", "upgrade")


# === streams ==========================================================================================================


def test_each_server_sent_event_arrives_at_once(web: Service) -> None:
    def answer(connection: Connection, head: Head) -> None:
        connection.send(message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Connection: close"))
        # The first is sent with the head, then nothing for a while: a buffer would be found out.
        for _ in range(20):
            connection.send(f"data: {time.monotonic()}\n\n")
            time.sleep(0.15)
        connection.close()

    def every_event_is_on_time() -> None:
        delays = []
        with client() as connection:
            connection.send(get("/events", "Accept: text/event-stream"))
            for part in connection.chunks(connection.head()):
                arrived = time.monotonic()
                delays += [arrived - float(event.removeprefix(b"data: ")) for event in part.split(b"\n\n")[:-1]]
        assert len(delays) == 20
        assert max(delays) < 0.1, delays

    web.answer = answer
    # A busy machine is late now and then; a proxy that keeps events back is late each time.
    retry(every_event_is_on_time, seconds=10)


def test_each_chunk_of_an_answer_arrives_before_the_next_is_sent(web: Service) -> None:
    arrived = threading.Semaphore(0)

    def answer(connection: Connection, head: Head) -> None:
        connection.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
        for number in range(50):
            connection.send_chunk(f"{number:03}")
            assert arrived.acquire(timeout=10), f"chunk {number} did not arrive"
        connection.send_chunk("")

    web.answer = answer
    with client() as connection:
        connection.send(get("/"))
        for number, chunk in enumerate(connection.chunks(connection.head())):
            assert chunk == f"{number:03}".encode()
            arrived.release()
    assert number == 49


def test_each_chunk_of_a_request_arrives_before_the_next_is_sent(web: Service) -> None:
    arrived: queue.Queue[bytes] = queue.Queue()

    def answer(connection: Connection, head: Head) -> None:
        for chunk in connection.chunks(head):
            arrived.put(chunk)
        connection.send(message("HTTP/1.1 200 OK", body="all"))

    web.answer = answer
    with client() as connection:
        connection.send(message("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked"))
        for number in range(50):
            connection.send_chunk(f"{number:03}")
            assert arrived.get(timeout=10) == f"{number:03}".encode()
        connection.send_chunk("")
        head = connection.head()
        assert (head.status, connection.body(head)) == (200, b"all")


def test_an_upload_of_two_gigabytes_passes_through_and_is_kept_nowhere(proxy: Proxy, web: Service) -> None:
    # One byte more than 31 bits can count.
    blocks, block = 2048, random.Random(2).randbytes(MEGABYTE)
    length = blocks * MEGABYTE + 1

    def answer(connection: Connection, head: Head) -> None:
        size = checksum = 0
        for part in connection.chunks(head):
            size += len(part)
            checksum = zlib.crc32(part, checksum)
        connection.send(message("HTTP/1.1 200 OK", body=f"{size} {checksum}"))

    def memory() -> float:
        """Return how many MB the container uses; what lies in its /tmp is in memory, too."""
        text = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", proxy.container).split("/")[0].strip()
        units = {"GiB": 1024, "MiB": 1, "KiB": 1 / 1024, "B": 1 / MEGABYTE}
        unit = next(unit for unit in units if text.endswith(unit))
        return float(text.removesuffix(unit)) * units[unit]

    def in_tmp() -> int:
        return int(proxy.run("du", "-sk", "/tmp").split()[0]) // 1024

    web.answer = answer
    before, most, done = (memory(), in_tmp()), [0.0, 0], threading.Event()

    def watch() -> int:
        samples = 0
        while not done.is_set():
            most[:] = [max(pair) for pair in zip(most, (memory(), in_tmp()), strict=True)]
            samples += 1
        return samples

    checksum = 0
    with client(60) as connection, ThreadPoolExecutor() as pool:
        samples = pool.submit(watch)
        try:
            connection.send(f"POST / HTTP/1.1\r\n{HOST}\r\nContent-Length: {length}\r\n\r\n")
            for number in range(blocks):
                part = number.to_bytes(8) + block[8:]
                checksum = zlib.crc32(part, checksum)
                connection.send(part)
            connection.send("x")
            head = connection.head()
            assert connection.body(head).decode() == f"{length} {zlib.crc32(b'x', checksum)}"
        finally:
            done.set()
        assert samples.result(timeout=60) > 1
    assert most[0] - before[0] < 64, "the container's memory grew by the upload"
    assert most[1] - before[1] < 1, "the upload was written to /tmp"


def test_a_service_notices_within_seconds_that_a_client_went_away(web: Service) -> None:
    noticed: queue.Queue[float] = queue.Queue()
    started = threading.Semaphore(0)

    def answer(connection: Connection, head: Head) -> None:
        connection.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
        connection.send_chunk("first")
        started.release()
        try:
            if head.target == "/silent":
                connection.ended()
            while head.target == "/talking":
                connection.send_chunk("more")
                time.sleep(0.05)
        except ConnectionError:
            pass
        noticed.put(time.monotonic())
        connection.close()

    def leave(target: str) -> float:
        with client() as connection:
            connection.send(get(target))
            chunks = connection.chunks(connection.head())
            assert next(chunks).startswith(b"first")
            assert started.acquire(timeout=10)
        return time.monotonic()

    web.answer = answer
    for target in ("/silent", "/talking"):
        left = leave(target)
        assert noticed.get(timeout=30) - left < 5


def test_clients_that_do_not_read_or_send_only_half_disturb_nobody(web: Service) -> None:
    size = 32 * MEGABYTE

    def answer(connection: Connection, head: Head) -> None:
        connection.body(head)
        connection.send(message("HTTP/1.1 200 OK", body=b"x" * (size if head.target == "/large" else 1)))

    web.answer = answer
    lazy = [client() for _ in range(10)]
    for connection in lazy:
        connection.send(get("/large"))
    half = [client() for _ in range(100)]
    for number, connection in enumerate(half):
        # Some stop in the head, some in the body.
        connection.send(message("POST / HTTP/1.1", HOST, "Content-Length: 10")[: -2 if number % 2 else None])
    for _ in range(50):
        started = time.monotonic()
        assert ask(get("/"))[1] == b"x"
        assert time.monotonic() - started < 5
    for number, connection in enumerate(half):
        connection.send(*(["\r\n"] if number % 2 else []), "0123456789")
        head = connection.head()
        assert (head.status, connection.body(head)) == (200, b"x")
        connection.close()
    for connection in lazy:
        assert sum(map(len, connection.chunks(connection.head()))) == size
        connection.close()


# === headers ==========================================================================================================


def test_sixty_kilobytes_of_headers_arrive_and_forty_of_cookies_reach_the_service(web: Service) -> None:
    cookies = [f"c{number}={'x' * 3990}" for number in range(14)]
    fields = [f"Set-Cookie: {cookie}" for cookie in cookies] + [f"X-Large: {'y' * 4000}"]
    assert len("".join(fields)) > 60_000
    web.answer = replying("HTTP/1.1 200 OK", *fields, body="ok")
    head, body = ask(get("/", f"Cookie: {'; '.join(cookies[:11])}"))
    assert (head.status, body) == (200, b"ok")
    assert (head.all("Set-Cookie"), head.get("X-Large")) == (cookies, "y" * 4000)
    assert web.seen.get("Cookie") == "; ".join(cookies[:11])


def test_header_names_with_underscores_and_dots_pass_both_ways(web: Service) -> None:
    fields = {"x_trace_id": "1", "X.Dotted": "2", "x-mixed_up.name": "3", "X~Odd!#$&'*^`|": "4"}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    web.answer = replying("HTTP/1.1 200 OK", *lines, body="")
    head, _ = ask(get("/", *lines))
    for name, value in fields.items():
        assert (web.seen.all(name), head.all(name)) == ([value], [value]), name


def test_what_a_service_says_about_itself_and_where_it_redirects_to_is_not_touched(web: Service) -> None:
    fields = [
        ("Server", "my-app/1.0 (dev)"),
        ("Date", "Tue, 01 Feb 2000 00:00:00 GMT"),
        ("Location", f"http://10.254.254.254:{WEB}/next?a=b#c"),
        ("Refresh", f"5; url=http://host-alias:{WEB}/"),
        ("Set-Cookie", "b=2; Path=/; Domain=example.test; HttpOnly"),
        ("Set-Cookie", "a=1; Secure; SameSite=None"),
        ("Set-Cookie", "b=3"),
        ("Cache-Control", "private, no-store"),
        ("Vary", "Accept, Cookie"),
        ("Link", "</a.css>; rel=preload"),
        ("Link", "</b.css>; rel=preload"),
        ("WWW-Authenticate", 'Basic realm="a"'),
        ("Access-Control-Allow-Origin", "*"),
        ("Content-Security-Policy", "default-src 'self'"),
        ("Strict-Transport-Security", "max-age=1"),
        # Some proxies take these for themselves.
        ("X-Accel-Buffering", "yes"),
        ("X-Accel-Redirect", "/elsewhere"),
        ("X-Accel-Expires", "10"),
        ("X-Sendfile", "/etc/passwd"),
        ("X-Pad", "x"),
    ]
    lines = [f"{name}: {value}" for name, value in fields]
    for status in ("200 OK", "201 Created", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"):
        for length in (["Content-Length: 2"], ["Connection: close"]):

            def answer(connection: Connection, head: Head, status: str = status, length: list[str] = length) -> None:
                connection.send(message(f"HTTP/1.1 {status}", *lines, *length), "ok")
                if length == ["Connection: close"]:
                    connection.close()

            web.answer = answer
            head, body = ask(get("/"))
            assert (str(head.status), body) == (status.split()[0], b"ok")
            for name in {name for name, _ in fields}:
                assert head.all(name) == [value for its_name, value in fields if its_name == name], name
    elsewhere = ("http://web/next", f"http://host-alias:{WEB}/next", "//other.example/x", "https://other.example/a%2Fb")
    for location in (*elsewhere, "/next", "next", "?page=2"):
        web.answer = replying("HTTP/1.1 302 Found", f"Location: {location}", body="")
        assert ask(get("/"))[0].get("Location") == location


def test_the_service_sees_who_asked_for_what_and_a_client_cannot_forge_it(web: Service) -> None:
    names = [f"X-Forwarded-{name}" for name in ("For", "Proto", "Host", "Port")] + ["X-Real-IP", "Forwarded"]
    # What Rack, WSGI and PHP cannot tell from them is as good as they are.
    names += [name.replace("-", "_") for name in names] + [name.replace("-", "_", 1) for name in names[:5]]
    names += ["_".join(name.rsplit("-", 1)) for name in names[:5]]
    for forged in ([], [f"{name}: 6.6.6.6" for name in names], [f"{name.lower()}: 6.6.6.6" for name in names * 2]):
        assert ask(get("/", *forged, "Proxy: 6.6.6.6"))[0].status == 200
        seen = web.seen
        assert f"Host: {seen.get('Host')}" == HOST
        assert seen.get("X-Forwarded-Host") == seen.get("Host")
        assert (seen.get("X-Forwarded-Proto"), seen.get("X-Forwarded-Port")) == ("http", str(PORT))
        assert ipaddress.ip_address(seen.get("X-Forwarded-For")).is_private
        assert seen.get("X-Real-IP") == seen.get("X-Forwarded-For")
        assert not [value for _, value in seen.fields if "6.6.6.6" in value]
    # A client on the default port names none.
    assert ask(get("/", host=f"Host: web.{DOMAIN}"))[0].status == 200
    assert (web.seen.get("Host"), web.seen.get("X-Forwarded-Port")) == (f"web.{DOMAIN}", "80")


# === methods and versions =============================================================================================


def test_every_method_passes_with_and_without_a_body(web: Service) -> None:
    with client() as connection:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW", "M-SEARCH"):
            for body in (None, "", "a body"):
                head, answer = ask(message(f"{method} /path HTTP/1.1", HOST, body=body), connection)
                assert (head.status, answer) == (200, (body or "").encode()), method
                assert web.seen.line == f"{method} /path HTTP/1.1"
    assert len(web.heads) == 27


def test_head_keeps_the_length_of_what_get_would_bring(web: Service) -> None:
    web.answer = replying("HTTP/1.1 200 OK", "Content-Length: 1234567", 'ETag: "x"')
    with client() as connection:
        for _ in range(3):
            connection.send(message("HEAD / HTTP/1.1", HOST))
            head = connection.head()
            assert (head.status, head.get("Content-Length"), head.get("ETag")) == (200, "1234567", '"x"')
    assert [head.method for head in web.heads] == ["HEAD"] * 3


def test_options_of_the_whole_server_are_answered(web: Service) -> None:
    # A proxy may answer for itself or refuse; it may not hang, or send nothing.
    head, _ = ask(message("OPTIONS * HTTP/1.1", HOST, "Connection: close"))
    assert 200 <= head.status < 500
    assert ask(get("/"))[0].status == 200


def test_clients_of_http_1_0_are_served(web: Service) -> None:
    def answer(connection: Connection, head: Head) -> None:
        if head.target == "/chunked":
            connection.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
            for part in ("one", "two", ""):
                connection.send_chunk(part)
        else:
            connection.send(message("HTTP/1.1 200 OK", body=head.target))

    web.answer = answer
    for target, expected in (("/plain", b"/plain"), ("/chunked", b"onetwo")):
        with client() as connection:
            connection.send(message(f"GET {target} HTTP/1.0", HOST))
            head = connection.head()
            assert (head.status, head.get("Transfer-Encoding"), connection.body(head)) == (200, "", expected)
            assert connection.ended()
    with client() as connection:
        for number in range(10):
            head, body = ask(message(f"GET /{number} HTTP/1.0", HOST, "Connection: keep-alive"), connection)
            assert (head.get("Connection").lower(), body) == ("keep-alive", f"/{number}".encode())


def test_one_connection_of_a_client_serves_many_requests(web: Service) -> None:
    with client() as connection:
        for number in range(200):
            body = f"body {number}"
            assert ask(message(f"POST /{number} HTTP/1.1", HOST, body=body), connection)[1] == body.encode()
        # Sent without waiting for the answers.
        connection.send(*(message(f"POST /p{number} HTTP/1.1", HOST, body=str(number)) for number in range(20)))
        for number in range(20):
            assert connection.body(connection.head()) == str(number).encode()
    with client() as connection:
        ask(get("/", "Connection: close"), connection)
        assert connection.ended()


def test_a_client_that_waits_for_100_continue_gets_it(web: Service) -> None:
    with client() as connection:
        connection.send(message("POST / HTTP/1.1", HOST, "Expect: 100-continue", "Content-Length: 4"))
        assert connection.head().status == 100
        connection.send("body")
        head = connection.head()
        assert (head.status, connection.body(head)) == (200, b"body")


# === paths ============================================================================================================


def test_a_path_reaches_the_service_as_it_was_sent(web: Service) -> None:
    for target in (
        "/a%2Fb", "/a%2fb", "//a//b", "/a/", "/a;b=c;d", "/%20+%2B", "/a+b", "/?a=%00&b", "/a?", "/?", "/?a=b?c=d",
        "/%C3%A9", "/%c3%a9?%C3%a9", "/a?r=%FC", "/~a!$&'()*,=:@", "/%25%2525", "/%E2%82%AC/%ff", "/%5B%5c%7c%22",
        "/a/../b", "/a/./b", "/./a", "/a/b/..", "/a%2E%2E/b", "/http://x.example/", "/a?b=http://x.example/../c",
        f"/{'long/' * 1600}?{'q' * 500}",
    ):  # fmt: skip
        assert (ask(get(target))[0].status, web.seen.target) == (200, target)


def test_a_path_that_clients_should_have_encoded_means_the_same_to_the_service(web: Service) -> None:
    # No URL may have these characters, but clients send them; a proxy may do what the client should have done.
    for target in ("/é", "/ü?ü=é", "/a|b", '/a"b"', "/[a]{b}^`", "/<a>", "/a\\b"):
        assert ask(get(target))[0].status == 200, target
        assert unquote(web.seen.target, errors="surrogateescape") == target


def test_a_path_that_leads_nowhere_is_refused_or_passed_but_never_changed(web: Service) -> None:
    for target in ("/../a", "/a/../../b", "/%2e%2e/x", "/a%00b", "/%zz", "/%"):
        web.heads.clear()
        status = ask(get(target))[0].status
        assert (status, [head.target for head in web.heads]) in ((400, []), (200, [target])), target


def test_a_request_that_names_its_host_in_the_path_is_understood(web: Service) -> None:
    assert ask(message(f"GET http://web.{DOMAIN}:{PORT}/a%2Fb?c HTTP/1.1", HOST))[0].status == 200
    assert web.seen.target == "/a%2Fb?c"


# === answers ==========================================================================================================


def test_an_encoded_answer_arrives_byte_for_byte(web: Service) -> None:
    plain = ("text é\n" * 5000).encode()
    bodies = {
        "gzip": gzip.compress(plain),
        "br": random.Random(3).randbytes(50_000),
        "zstd": b"\x28\xb5\x2f\xfd",
        "": plain,
    }
    for coding, body in bodies.items():
        fields = ["Content-Type: text/html", 'ETag: "strong"', "Vary: Accept-Encoding", "Accept-Ranges: bytes"]
        fields += [f"Content-Encoding: {coding}"] if coding else []
        web.answer = replying("HTTP/1.1 200 OK", *fields, body=body)
        head, arrived = ask(get("/", "Accept-Encoding: gzip, deflate, br, zstd"))
        assert web.seen.get("Accept-Encoding") == "gzip, deflate, br, zstd"
        assert arrived == body
        # One without a coding stays without: the proxy compresses nothing itself.
        assert head.get("Content-Encoding") == coding
        # Nor does it say more about the answer than the service does: a browser would believe it.
        assert head.get("Content-Type") == "text/html"
        assert (head.get("ETag"), head.get("Vary")) == ('"strong"', "Accept-Encoding")
        assert head.get("Content-Length") == str(len(body))


def test_ranges_and_conditions_are_the_services_business(web: Service) -> None:
    whole = gzip.compress(random.Random(4).randbytes(10_000))

    def answer(connection: Connection, head: Head) -> None:
        fields = ['ETag: "v1"', "Content-Encoding: gzip", "Last-Modified: Tue, 01 Feb 2000 00:00:00 GMT"]
        if head.target == "/whole":
            connection.send(message("HTTP/1.1 200 OK", *fields, "Accept-Ranges: bytes", body=whole))
        elif head.get("If-None-Match"):
            connection.send(message("HTTP/1.1 304 Not Modified", *fields))
        elif head.get("Range") == "bytes=99999-":
            content_range = f"Content-Range: bytes */{len(whole)}"
            connection.send(message("HTTP/1.1 416 Range Not Satisfiable", content_range, body="no"))
        else:
            content_range = f"Content-Range: bytes 100-199/{len(whole)}"
            connection.send(message("HTTP/1.1 206 Partial Content", *fields, content_range, body=whole[100:200]))

    web.answer = answer
    with client() as connection:
        head, body = ask(get("/", "Range: bytes=100-199", 'If-Range: "v1"'), connection)
        assert (web.seen.get("Range"), web.seen.get("If-Range")) == ("bytes=100-199", '"v1"')
        assert (head.status, body, head.get("ETag")) == (206, whole[100:200], '"v1"')
        assert (head.get("Content-Range"), head.get("Content-Encoding")) == (f"bytes 100-199/{len(whole)}", "gzip")
        assert ask(get("/", "Range: bytes=99999-"), connection)[0].status == 416

        connection.send(get("/", 'If-None-Match: "v1"', "If-Modified-Since: Tue, 01 Feb 2000 00:00:00 GMT"))
        head = connection.head()
        assert (head.status, head.get("ETag"), web.seen.get("If-None-Match")) == (304, '"v1"', '"v1"')
        assert web.seen.get("If-Modified-Since") == "Tue, 01 Feb 2000 00:00:00 GMT"

        # A service that knows better answers with everything.
        head, body = ask(get("/whole", 'If-None-Match: "v1"', "Range: bytes=1-2"), connection)
        assert (head.status, body) == (200, whole)


def test_a_services_own_errors_pass_untouched(web: Service) -> None:
    asked = 0
    with client() as connection:
        for status in (400, 401, 403, 404, 405, 408, 413, 418, 422, 429, 431, 499, 500, 501, 502, 503, 504, 599):
            for kind, body in (
                ("text/html; charset=utf-8", f"<h1>my own {status} é</h1>".encode()),
                ("application/problem+json", json.dumps({"status": status}).encode()),
                ("text/plain", b""),
            ):
                asked += 1
                web.answer = replying(f"HTTP/1.1 {status} Mine", f"Content-Type: {kind}", "Retry-After: 7", body=body)
                head, arrived = ask(message("POST / HTTP/1.1", HOST, f"Accept: {kind}", body=""), connection)
                assert (head.status, arrived, head.get("Cache-Control")) == (status, body, "")
                assert (head.get("Content-Type"), head.get("Retry-After")) == (kind, "7")
                assert web.seen.line == "POST / HTTP/1.1"
    assert len(web.heads) == asked, "the proxy asked again"


# === connections that are kept open ===================================================================================


def test_no_request_meets_a_connection_that_its_service_is_just_closing(proxy: Proxy) -> None:
    """Two services close what was idle for 2 s and for 5 s; waves of requests arrive around these times.

    By night 20,000 requests and more.
    """
    dice = random.Random(5)
    failures: list[str] = []

    def lane(name: str, pauses: list[float], together: threading.Barrier) -> None:
        host = f"Host: {name}.{DOMAIN}:{PORT}"
        connection = client()
        for wave, pause in enumerate(pauses):
            for number in range(10):
                try:
                    if number % 3 != 2:
                        # Nobody may send this twice, so a proxy cannot hide that it failed.
                        request = message(f"POST /{number} HTTP/1.1", host, body=f"{number}")
                    else:
                        request = get(f"/{number}", host=host)
                    head, body = ask(request, connection)
                except OSError as error:
                    failures.append(f"{name} {wave} {number} {error}")
                    connection = client()
                    continue
                if (head.status, body) != (200, f"{number}".encode() if number % 3 != 2 else b""):
                    failures.append(f"{name} {wave} {number} {head.line}")
                if head.get("Connection").lower() == "close":
                    connection.close()
                    connection = client()
            # All connections were last used now, and all of them are needed in the next wave, at about the same time.
            together.wait(timeout=60)
            time.sleep(pause + random.uniform(0, 0.03))
        connection.close()

    with serving(TWO, idle=2, closing=0.02) as two, serving(FIVE, idle=5, closing=0.02) as five:
        threads = []
        for name, idle, lanes, meetings in (("two", 2, 40, examples(30)), ("five", 5, 100, examples(10))):
            together = threading.Barrier(lanes)
            pauses = [idle + dice.uniform(-0.06, 0.04) for _ in range(meetings)] + [0]
            threads += [threading.Thread(target=lane, args=(name, pauses, together)) for _ in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, (len(failures), failures[:10])
        assert (len(two.heads), len(five.heads)) == (400 * (examples(30) + 1), 1000 * (examples(10) + 1))
        for kept in (two, five):
            assert kept.connections < len(kept.heads) / 2
        assert not two.errors + five.errors


# === reload ===========================================================================================================


@pytest.fixture
def reload(proxy: Proxy, web: Service) -> Iterator[Callable[[], None]]:
    """Returns a function that adds a route and has the proxy use it."""
    before = (proxy.stack.repo / ".localdev/routes").read_text()
    count = 0
    with serving(API, lambda connection, head: connection.send(message("HTTP/1.1 200 OK", body="api"))):

        def reload() -> None:
            nonlocal count
            count += 1
            proxy.stack.write_routes(before + "".join(f"api {API} web./added/{number}\n" for number in range(count)))
            done = proxy.stack.make("dev-reload")
            assert done.returncode == 0, done.stderr

            def is_used() -> None:
                assert ask(get(f"/added/{count - 1}"))[1] == b"api"

            retry(is_used)

        yield reload
        proxy.stack.write_routes(before)
        assert proxy.stack.make("dev-reload").returncode == 0


def test_reloads_lose_no_websocket_no_request_in_flight_and_none_that_arrives(
    proxy: Proxy, web: Service, reload: Callable[[], None]
) -> None:
    arrived, goon, over = threading.Event(), threading.Event(), threading.Event()
    answered: list[int] = []
    lost: list[int] = []

    def answer(connection: Connection, head: Head) -> None:
        if head.target != "/slow":
            connection.send(message("HTTP/1.1 200 OK", body=connection.body(head)))
            return
        connection.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
        connection.send_chunk("before ")
        arrived.set()
        assert goon.wait(100)
        connection.send_chunk("after")
        connection.send_chunk("")

    def visit(visitor: int) -> None:
        while not over.is_set():
            # Each on a connection of its own: one that is kept open may end at any time, and clients know that.
            try:
                head, body = ask(message("POST / HTTP/1.1", HOST, body=str(visitor)))
            except ConnectionError:
                lost.append(visitor)
                continue
            assert (head.status, body) == (200, str(visitor).encode())
            answered.append(visitor)

    web.answer = answer
    with websocket() as connection, client(100) as slow_client, ThreadPoolExecutor() as pool:
        echoes(connection, "before")
        visitors = [pool.submit(visit, visitor) for visitor in range(4)]
        try:
            slow = pool.submit(ask, get("/slow"), slow_client)
            assert arrived.wait(10)
            for count in range(examples(30)):
                reloading = pool.submit(reload)
                while not reloading.done():
                    echoes(connection, "during")
                reloading.result()

                def many_were_answered(many: int = 100 * (count + 1)) -> None:
                    assert len(answered) >= many

                retry(many_were_answered)
            # Proxies that give old connections some time end them now: it would be heard.
            with pytest.raises(TimeoutError):
                connection.recv(timeout=2)
            echoes(connection, "after")
            assert not slow.done()
        finally:
            over.set()
            goon.set()
        for visitor in visitors:
            visitor.result()
        assert slow.result()[1] == b"before after"
    assert lost == []


# === what took a minute ===============================================================================================


def test_silence_of_more_than_a_minute_ends_nothing(proxy: Proxy) -> None:
    ended = {name: job.exception(timeout=200) for name, job in proxy.background.items()}
    assert not {name: error for name, error in ended.items() if error}
    waited = {name: job.result() for name, job in proxy.background.items()}
    assert min(waited.values()) >= LONG_SECONDS, waited

"""This machine as the tests of the engine use it: its alias IP, its ports, and services that listen on the alias."""

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Found = TypeVar("Found")
ALIAS_IP = "10.254.254.254"
LABEL = f"local.host-alias.{ALIAS_IP}"


def retry(attempt: Callable[[], Found], seconds: float = 30) -> Found:
    """Return what `attempt` returns once it raises nothing; raise what it raised last when `seconds` are over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def has_alias() -> bool:
    """Tell whether a process of this machine can listen on the alias IP."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind((ALIAS_IP, 0))
        return True
    return False


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether nothing listens on `port` of `address`."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        return True
    return False


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers every request with what arrived, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with path and headers."""
        body = json.dumps({"service": self.server.service, "path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


class EchoServer(http.server.ThreadingHTTPServer):
    """An Echo that binds without looking up names: offline, the look-up of the alias IP takes seconds."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection and remember it."""
        connection, address = super().get_request()
        self.__dict__.setdefault("connections", []).append(connection)
        return connection, address

    def hang_up(self) -> None:
        """End all connections, as the end of a process does: an idle one would still be answered by its thread."""
        for connection in self.__dict__.get("connections", []):
            with contextlib.suppress(OSError):  # the client may have ended it already
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Bind as any TCP server does."""
        http.server.socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]


@contextlib.contextmanager
def service(
    name: str, port: int, address: str = ALIAS_IP, handler: type[http.server.BaseHTTPRequestHandler] = Echo
) -> Iterator[EchoServer]:
    """Run a service of this machine that listens on `address` only; unless told otherwise it answers with what it got."""
    with EchoServer((address, port), handler) as server:
        server.service = name
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()


def curl(url: str, *options: str) -> tuple[int, str]:
    """Return status and body of `url`, fetched as a developer would; names below .localhost need no DNS for curl."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}", *options, url],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConnectionError(done.stderr)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body

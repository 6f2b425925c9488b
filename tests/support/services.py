"""HTTP/1 on plain sockets, for both sides of the proxy: clients that say, and services that see, every byte themselves."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from websockets.sync.server import ServerConnection, serve

from host import ALIAS_IP

MEGABYTE = 1 << 20


@dataclass
class Head:
    """The head of a request or of an answer: its first line, and its fields in their order."""

    line: str
    fields: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return the values of every field called `name`."""
        return [value for its_name, value in self.fields if its_name.lower() == name.lower()]

    def get(self, name: str) -> str:
        """Return the value of the field called `name`, '' when there is none; two of them are a mistake."""
        (value,) = self.all(name) or [""]
        return value

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """What a request asks for, as it was sent."""
        return self.line.removeprefix(self.method + " ").rpartition(" ")[0]

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.line.split(" ")[1])


class Connection:
    """One end of a connection that speaks HTTP/1. Text becomes bytes and bytes become text without losing any."""

    def __init__(self, end: socket.socket) -> None:
        """Speak on socket `end`."""
        self.socket = end
        self.file = end.makefile("rb", buffering=1 << 16)

    def __enter__(self) -> "Connection":
        """Close it at the end of a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it for both directions, so that the other end notices now."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.file.close()
        self.socket.close()

    def send(self, *parts: str | bytes) -> None:
        """Send `parts` at once."""
        self.socket.sendall(b"".join(to_bytes(part) for part in parts))

    def send_chunk(self, part: str | bytes) -> None:
        """Send `part` as one chunk of a body; an empty one ends it."""
        self.send(f"{len(to_bytes(part)):x}\r\n", part, "\r\n")

    def line(self) -> str:
        """Return the next line without its end; no line at all is an error."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the other end closed after {line!r}")
        return line[:-2].decode(errors="surrogateescape")

    def head(self) -> Head:
        """Return the next head."""
        first, fields = self.line(), []
        while line := self.line():
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" ")))
        return Head(first, fields)

    def chunks(self, head: Head) -> Iterator[bytes]:
        """Yield the body that follows `head`, each part as it arrives."""
        if head.get("Transfer-Encoding") == "chunked":
            while size := int(self.line(), 16):
                yield self.file.read(size)
                self.line()
            while self.line():
                pass
            return
        # Without a length an answer lasts until the connection ends, and a request has no body.
        left = int(head.get("Content-Length") or (1 << 62 if head.line.startswith("HTTP/") else 0))
        while left and (part := self.file.read1(min(left, MEGABYTE))):
            left -= len(part)
            yield part
        if left and head.get("Content-Length"):
            raise ConnectionError(f"{left} bytes of the body are missing")

    def body(self, head: Head) -> bytes:
        """Return all of the body that follows `head`."""
        return b"".join(self.chunks(head))

    def ended(self) -> bool:
        """Wait until something arrives; tell whether it is the end."""
        return not self.file.read(1)


def to_bytes(text: str | bytes) -> bytes:
    """Return `text` as it goes over the wire."""
    return text.encode(errors="surrogateescape") if isinstance(text, str) else text


def message(line: str, *fields: str, body: str | bytes | None = None) -> bytes:
    """Return a request or an answer whose first line is `line`; a body brings its length along."""
    if body is not None:
        fields = (*fields, f"Content-Length: {len(to_bytes(body))}")
    return to_bytes("\r\n".join((line, *fields, "", ""))) + to_bytes(body or b"")


Answer = Callable[[Connection, Head], None]


def answer_ok(connection: Connection, head: Head) -> None:
    """Answer with what came as the body."""
    connection.send(message("HTTP/1.1 200 OK", body=connection.body(head)))


@dataclass
class Service:
    """A service that is running, and what it has seen."""

    answer: Answer = answer_ok
    heads: list[Head] = field(default_factory=list)
    connections: int = 0
    errors: list[Exception] = field(default_factory=list)

    @property
    def seen(self) -> Head:
        """The head of the newest request."""
        return self.heads[-1]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024


@contextlib.contextmanager
def serving(port: int, answer: Answer = answer_ok, *, idle: float = 3600, closing: float = 0) -> Iterator[Service]:
    """Run a service on `port` of the alias only. Each connection serves requests until it was idle for `idle` seconds.

    Between giving up on a connection and closing it pass `closing` seconds, in which a request is not seen any more.
    """
    service = Service(answer)

    def serve_connection(end: socket.socket, *_: object) -> None:
        service.connections += 1
        with Connection(end) as connection:
            while True:
                end.settimeout(idle)
                try:
                    if not connection.file.peek(1):
                        return
                except TimeoutError:
                    time.sleep(closing)
                    return
                except ConnectionError:
                    return
                end.settimeout(120)
                try:
                    head = connection.head()
                    service.heads.append(head)
                    service.answer(connection, head)
                except Exception as error:
                    service.errors.append(error)
                    return
                if connection.file.closed or head.get("Connection") == "close":
                    return

    with _Server((ALIAS_IP, port), serve_connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving_websockets(port: int, **options: object) -> Iterator[list[ServerConnection]]:
    """Run a service on `port` of the alias only that echoes each WebSocket frame; yields its connections, newest last.

    It sends no pings of its own: an idle connection is silent.
    """
    connections: list[ServerConnection] = []

    def echo(connection: ServerConnection) -> None:
        connections.append(connection)
        for frame in connection:
            connection.send(frame)

    with serve(echo, ALIAS_IP, port, ping_interval=None, max_size=None, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield connections
        finally:
            server.shutdown()
            thread.join()

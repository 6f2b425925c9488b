"""A WSGI application."""

from collections.abc import Callable, Iterable


def app(environ: dict, start_response: Callable) -> Iterable[bytes]:
    """Answer."""
    start_response("200 OK", [])
    return [b"gunicorn"]

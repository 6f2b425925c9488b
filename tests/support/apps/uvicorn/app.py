"""An ASGI application."""


async def app(scope: dict, receive: object, send: object) -> None:
    """Answer."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"uvicorn"})

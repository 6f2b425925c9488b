"""A Flask application."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Answer."""
    return "flask"

"""The questions of copier.yml, and what answers become, without writing a file."""

import functools
import plistlib
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from copier._main import Worker

from conftest import PROJECT

QUESTIONS: dict[str, dict[str, Any]] = {
    name: question
    for name, question in yaml.safe_load((PROJECT / "copier.yml").read_text()).items()
    if not name.startswith("_") and question.get("when") is not False
}


class Copier:
    """Copier's own questionnaire and templates, in this process: what an answer becomes without writing a file."""

    def __init__(self, folder: Path) -> None:
        """Copy what Copier reads into `folder`."""
        source = folder / "source"
        for name in ("template", "containers"):
            shutil.copytree(PROJECT / name, source / name)
        shutil.copy(PROJECT / "copier.yml", source)
        self.worker = Worker(str(source), folder / "my app", defaults=True, quiet=True, unsafe=True)
        env = self.worker.jinja_env
        # Compiling the validators anew for each answer would take most of the time.
        env.from_string = functools.cache(env.from_string)
        self.names = [path.relative_to(source).as_posix() for path in sorted((source / "template").rglob("*.jinja"))]

    def ask(self, **answers: Any) -> dict[str, Any]:
        """Return all answers when `answers` are given as data; raises what Copier raises for a bad one."""
        self.worker.data = answers
        self.worker.subproject.__dict__["last_answers"] = {}
        self.worker._ask()
        return {name: self.worker.answers.combined[name] for name in QUESTIONS}

    def files(self) -> dict[str, Any]:
        """Return what parsers see in the files that the last answers give."""
        context = self.worker._render_context()
        env = self.worker.jinja_env
        return {name: seen_in(name, env.get_template(name).render(context)) for name in self.names}


def seen_in(name: str, text: str) -> Any:
    """Return what the parser of the file `name` sees in `text`."""
    text.encode()
    name = name.removesuffix(".jinja")
    if name.endswith(".plist"):
        return plistlib.loads(text.encode())
    if name.endswith((".yaml", ".yml")) or "answers_file" in name:
        return yaml.load(text, yaml.CSafeLoader)
    if name.endswith(".service"):
        return unit(text)
    if name.endswith((".conf", "/routes")):
        return [line for line in text.split("\n") if line and not line.startswith("#")]
    assert name.endswith(".md"), f"{name} has no parser here"
    return text.split("\n")


def unit(text: str) -> dict[str, list[list[str]]]:
    """Return the words of each setting of a unit, as systemd splits them; what it would fill in is no longer literal."""
    found: dict[str, list[list[str]]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        key, _, value = line.partition("=")
        value = re.sub(r"(?<!%)%([^%])", r"<specifier \1>", value)
        if key.startswith("Exec"):
            value = re.sub(r"(?<![$])[$]([{\w])", r"<variable \1>", value)
        found.setdefault(key, []).append(shlex.split(value))
    assert [key for key in found if key.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    return found

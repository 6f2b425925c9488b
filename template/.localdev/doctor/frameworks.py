# SPDX-License-Identifier: MIT
"""Which framework a process is, and the exact change that lets it listen on the alias."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Framework:
    """`name` for people; `program` finds it in a command line, and the command begins there; how to say where to listen.

    `options` are the option's spellings, the first is the one we write. `prefix` starts the command as people do.
    """

    name: str
    program: str
    options: tuple[str, ...] = ()
    prefix: str = ""
    change: str = ""


# In the order in which they are tried: a Rails server is a puma, Nuxt and Angular are vites inside.
FRAMEWORKS = (
    Framework("Nuxt", r"(?:^|/)(?:nuxi|nuxt)(?:\.m?js)?$", ("--host",), "npx"),
    Framework("Angular", r"(?:^|/)ng(?:\.js)?$", ("--host",), "npx"),
    Framework("Next", r"(?:^|/)next(?:\.js)?$", ("-H", "--hostname"), "npx"),
    Framework("Vite", r"(?:^|/)vite(?:\.js)?$", ("--host",), "npx"),
    Framework("webpack-dev-server", r"(?:^|/)(?:webpack|webpack-cli|webpack-dev-server)(?:\.js)?$", ("--host",), "npx"),
    Framework("Django", r"(?:^|/)(?:manage\.py|django-admin)$"),
    Framework("Flask", r"(?:^|/)flask$", ("--host", "-h")),
    Framework("FastAPI", r"(?:^|/)fastapi$", ("--host",)),
    Framework("uvicorn", r"(?:^|/)uvicorn$", ("--host",)),
    Framework("gunicorn", r"(?:^|/)gunicorn$", ("-b", "--bind")),
    Framework("http.server", r"^http\.server$", ("--bind", "-b"), "python3 -m"),
    Framework("Rails", r"(?:^|/)(?:bin/)?rails$", ("-b", "--binding")),
    Framework("Puma", r"(?:^|/)puma:?$", ("-b", "--bind")),
    Framework("Laravel", r"(?:^|/)artisan$", ("--host",), "php"),
    Framework(
        "Phoenix",
        r"(?:^|/)beam\.smp$",
        change="in config/dev.exs: http: [ip: {tuple}, port: {port}]",
    ),
    Framework(
        "Spring Boot",
        r"^(?:org\.springframework\.boot\..*|spring-boot:run|bootRun|.*spring-boot.*\.jar)$",
        change="SERVER_ADDRESS={ip} (in the environment), or server.address={ip} in application.properties",
    ),
)
GO = Framework("Go", "", change='in the code: http.ListenAndServe(net.JoinHostPort("{ip}", "{port}"), nil)')
GENERIC = Framework("", "", change="let it listen on {ip}, port {port}; its manual calls that host, bind or address")
MODULE = {
    "flask": "flask",
    "uvicorn": "uvicorn",
    "gunicorn": "gunicorn",
    "fastapi": "fastapi",
    "django": "django-admin",
}


@dataclass(frozen=True)
class Match:
    """A framework that was found, and the words of its command line from its program on."""

    framework: Framework
    words: list[str]


def find(commands: list[list[str]]) -> Match | None:
    """Return which framework one of `commands` is, the nearest to the socket first; None when none is known."""
    bare = None
    for words in commands:
        words = without_module(words)
        if words and words[0].startswith("next-server"):
            return Match(next(f for f in FRAMEWORKS if f.name == "Next"), ["next", "dev"])
        if words[:1] == ["puma:"] or (words[:1] == ["puma"] and any(w.startswith(("(tcp", "(ssl")) for w in words)):
            return Match(next(f for f in FRAMEWORKS if f.name == "Puma"), [])
        for framework in FRAMEWORKS:
            for i, word in enumerate(words[:12]):
                # After the first words come the program's own arguments.
                if not re.search(framework.program, word):
                    continue
                # It names its process `webpack` and no more; how it was started, npx above it may still say.
                if words == ["webpack"]:
                    bare = bare or Match(framework, ["webpack", "serve"])
                else:
                    return Match(framework, [re.sub(r"\.m?js$", "", os.path.basename(word)), *words[i + 1 :]])
    return bare


def without_module(words: list[str]) -> list[str]:
    """Return `words` with `python -m flask` written as `flask`."""
    for i, word in enumerate(words[:-1]):
        if word == "-m" and i and os.path.basename(words[0]).lower().startswith("python"):
            return [MODULE.get(words[i + 1], words[i + 1]), *words[i + 2 :]]
    return words


def fix(match: Match | None, program: str, ip: str, port: int, is_rails: bool = False) -> str:
    """Return the command, or the change, after which what `match` found listens on `ip`."""
    if match is None:
        framework = GO if program.startswith("__debug_bin") or program == "main" else GENERIC
        return framework.change.format(ip=ip, port=port)
    framework, words = match.framework, match.words
    if framework.change:
        return framework.change.format(ip=ip, port=port, tuple="{" + ip.replace(".", ", ") + "}")
    if framework.name == "Django":
        return shlex.join([*django(words, ip, port)])
    if framework.name == "Puma" and not words:
        # Its process says only where it listens, not how it was started.
        return f"bin/rails server -b {ip} -p {port}" if is_rails else f"bundle exec puma -b tcp://{ip}:{port}"
    if framework.name in ("Puma", "gunicorn"):
        place = f"{ip}:{port}" if framework.name == "gunicorn" else f"tcp://{ip}:{port}"
        words = with_option(words, framework.options, place)
    else:
        words = with_option(words, framework.options, ip)
    if framework.name == "Rails":
        words = ["bin/rails", *(words[1:] if words[1:2] and not words[1].startswith("-") else ["server", *words[1:]])]
    if match.words == ["webpack", "serve"]:
        words += ["--port", str(port)]
    if framework.name == "Next" and words[1:3] == ["dev", "-H"] and "-p" not in words and "--port" not in words:
        words += ["-p", str(port)]
    return shlex.join([*framework.prefix.split(), *words])


def with_option(words: list[str], spellings: tuple[str, ...], value: str) -> list[str]:
    """Return `words` with the option set to `value`: in its old place, or at the end; before a lone `--`."""
    result, done, i = [], False, 0
    while i < len(words):
        word = words[i]
        name, equals, _ = word.partition("=")
        if name in spellings and i:
            if not done:
                result += [f"{name}={value}"] if equals else [name, value]
            done = True
            # Without `=` the old value is the next word; vite's --host may have none.
            i += 1 if equals or i + 1 >= len(words) or words[i + 1].startswith("-") else 2
            continue
        short = next((s for s in spellings if len(s) == 2 and word.startswith(s) and len(word) > 2), "")
        if short and i and not word.startswith("--"):
            if not done:
                result += [short, value]
            done = True
            i += 1
            continue
        result.append(word)
        i += 1
    return result if done else [*result, spellings[0], value]


def django(words: list[str], ip: str, port: int) -> list[str]:
    """Return Django's runserver with the address in front of the port."""
    start = ["django-admin"] if words[0] == "django-admin" else ["python3", words[0]]
    place = f"{ip}:{port}"
    if "runserver" not in words:
        return [*start, "runserver", place]
    rest = [word for word in words[1:] if not re.match(r"(\[[0-9a-f:]*\]:|[0-9.]+:|[a-z0-9.-]+:)?[0-9]+$", word)]
    at = rest.index("runserver") + 1
    return [*start, *rest[:at], place, *rest[at:]]

# SPDX-License-Identifier: MIT
"""python3 -I -B .localdev/stack VERB: what make's targets need Python for. Runs in the repo's root, like Compose itself.

    before up|reload|tls COMPOSE... [-- ARGUMENT...]    may the verb run?
    down COMPOSE... [-- ARGUMENT...]                    stop the stack; --yes among the arguments: do not ask

Both refuse where the verb would harm containers or data that are not this checkout's, one line for each reason. `before` prints
the project's name. `down` asks before it deletes volumes. Exit code 0: yes, or done; 1: no; 2: usage; 3: unknown, as Compose or the engine does not answer;
4: nobody could be asked; 5: Compose failed, and said why.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import compose
import owners
import settings


def say(text: str) -> None:
    """Print `text` as one line on stderr; what a terminal would take for a command to it becomes a question mark."""
    print("localdev: " + "".join(mark if mark.isprintable() else "?" for mark in text), file=sys.stderr)


def deletes_volumes(arguments: list[str]) -> bool:
    """Tell whether `docker compose down` would delete volumes: --volumes, --volumes=true, -v, also in -tv or -vt3."""
    return any(re.match(r"--volumes(=|\Z)|-[a-z]*v", word) for word in arguments)


def data_in(config: dict, found: list[compose.Container], volumes: frozenset[str]) -> list[str]:
    """Return what `docker compose down --volumes` deletes: declared volumes, and unnamed ones by their container."""
    declared = {volume["name"] for volume in (config.get("volumes") or {}).values() if not volume.get("external")}
    unnamed = {
        f"the unnamed volume of {container.name}"
        for container in found
        if container.project == config["name"] and any(re.fullmatch("[0-9a-f]{64}", name) for name in container.mounts)
    }
    return sorted(declared & volumes) + sorted(unnamed)


def may_delete(names: list[str], is_agreed: bool) -> int:
    """Name what would be deleted, and ask unless somebody agreed already; return an exit code."""
    if not names:
        return 0
    say(f"this deletes all data in {', '.join(names)}")
    if is_agreed:
        return 0
    try:
        if os.environ.get("CI"):
            raise OSError
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        say("nobody can be asked here, so nothing was deleted. To delete it: make dev-down ARGS='--volumes --yes'")
        return 4
    with open(terminal, "r+b", buffering=0) as tty:
        tty.write(b"Delete it for good? [y/N] ")
        reply = tty.readline().decode(errors="replace").strip().lower()
    if reply in ("y", "yes"):
        return 0
    say("nothing was stopped, nothing was deleted")
    return 1


def before(verb: str, words: list[str], arguments: list[str]) -> int:
    """Tell whether `verb` may run, see the top; `words` is the command for Compose. Raises compose.UnknownError."""
    here = os.getcwd()
    config = compose.config(words)
    starts = verb in ("up", "tls")
    refusals = []
    if starts:
        refusals += [*owners.missing(config, here, settings.services(owners.FOLDER)), *owners.conflicts(config)]
    if not refusals:
        found = compose.containers(words)
        refusals += owners.elsewhere(config, found, here, compose.files_are_named(words), words)
        if starts:
            names = compose.names_in_networks(words, owners.in_our_networks(config, found))
            refusals += owners.strangers(config, found, names)
    for line in refusals:
        say(str(line))
    if refusals:
        return 1
    if verb == "down" and deletes_volumes(arguments):
        return may_delete(data_in(config, found, compose.volumes(words)), "--yes" in arguments)
    if verb != "down":
        print(config["name"])
    return 0


def down(words: list[str], arguments: list[str]) -> int:
    """Stop the stack, with the data only where it is known whose it is and somebody agreed; return an exit code."""
    stop = [*words, "down", *(word for word in arguments if word != "--yes")]
    try:
        code = before("down", words, arguments)
    except compose.UnknownError as error:
        if deletes_volumes(arguments):
            say(
                f"nothing was deleted: whose data it is cannot be known, as `{error}` fails. Without a check: {' '.join(stop)}"
            )
            return 1
        code = 0
    if code:
        return code
    try:
        return 5 if subprocess.run(stop, check=False).returncode else 0
    except OSError:
        return 5


def main() -> int:
    """Run the verb on the command line; return its exit code."""
    verb, *words = sys.argv[1:] or [""]
    moment = words.pop(0) if verb == "before" and words else ""
    if verb not in ("before", "down") or (verb == "before" and moment not in ("up", "reload", "tls")):
        say("say before up, before reload, before tls or down")
        return 2
    end = words.index("--") if "--" in words else len(words)
    command, arguments = words[:end], words[end + 1 :]
    if verb == "down":
        return down(command, arguments)
    try:
        return before(moment, command, arguments)
    except compose.UnknownError:
        return 3


if __name__ == "__main__":
    sys.exit(main())

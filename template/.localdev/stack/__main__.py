# SPDX-License-Identifier: MIT
"""python3 -I -B .localdev/stack VERB [COMMAND...] [-- ARGUMENT...]: what is behind make's targets, in the repo's root.

    up, down, status, reload, tls, urls, hosts, env, doctor, update

COMMAND is Compose, docker compose where there is none; of update, Copier. Each failure is one line that says what to do.
Exit code 0: done; 1: failed or refused; 2: usage or bad configuration; 4: nobody could be asked.
"""

from __future__ import annotations

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("localdev: python3 3.9 or later is needed. Install it: xcode-select --install (Debian: apt install python3)")

import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import certificate
import compose
import environment
import owners
import ports
import proxy
import routes
import settings
import start
import urls

FOLDER = owners.FOLDER
NO_PROXY = 'this stack has no proxy. Add one: make dev-update ARGS="-d web_proxy=nginx"'


class Stop(Exception):  # noqa: N818 (a refusal is no error of ours)
    """Nothing more is done: `lines` say why, `code` is the exit code."""

    def __init__(self, *lines: object, code: int = 1) -> None:
        """Keep them."""
        super().__init__(*lines)
        self.lines, self.code = [str(line) for line in lines], code


def say(text: str) -> None:
    """Print `text` as one line on stderr; what a terminal would take for a command to it becomes a question mark."""
    print("localdev: " + "".join(mark if mark.isprintable() else "?" for mark in text), file=sys.stderr, flush=True)


class Stack:
    """This checkout: its files, and what Compose says of it. Each is read once, when it is asked for."""

    def __init__(self, words: list[str]) -> None:
        """`words` is the command for Compose."""
        self.words = words
        self.settings = settings.read(f"{FOLDER}/host-alias.conf")
        self.routes = routes.read(f"{FOLDER}/routes", self.settings.domain)
        self._config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The project as Compose sees it. Raises Stop."""
        if self._config is None:
            try:
                self._config = compose.config(self.words)
            except compose.UnknownError as error:
                raise Stop(start.failure(self.words, f"`{error}` fails. Look at what it says")) from error
        return self._config

    def site(self) -> urls.Site:
        """Return all that is served. Raises Stop and settings.SettingsError."""
        # A stack without containers publishes nothing.
        config = self.config if self.settings.services else {}
        has_https = self.settings.has_proxy and os.path.exists(certificate.place(os.curdir))
        return urls.Site(self.settings, self.routes, settings.published(self.settings, config), has_https)

    def need_proxy(self) -> None:
        """Raise Stop where this stack has no proxy."""
        if not self.settings.has_proxy:
            raise Stop(NO_PROXY)

    def may_start(self, services: list[str]) -> bool:
        """Refuse where a start would harm what is not this checkout's, or cannot work. Tell whether all is known."""
        refusals = [*owners.missing(self.config, os.getcwd(), self.settings.services), *owners.conflicts(self.config)]
        found = None
        if not refusals:
            try:
                found = compose.containers(self.words)
                refusals += self.elsewhere(found)
                names = compose.names_in_networks(self.words, owners.in_our_networks(self.config, found))
                refusals += owners.strangers(self.config, found, names)
            except compose.UnknownError:
                pass
        refusals += ports.busy(self.config, services, found)
        if refusals:
            raise Stop(*refusals)
        return found is not None

    def elsewhere(self, found: list[compose.Container]) -> list[owners.Refusal]:
        """Return why a command would harm the containers of another folder."""
        named = compose.files_are_named(self.words)
        return list(owners.elsewhere(self.config, found, os.getcwd(), named, self.words))

    def configuration(self) -> proxy.Configuration:
        """Return the proxy's configuration; name the hosts that its certificate does not have."""
        site = self.site()
        stored = certificate.read(os.curdir)
        for host in certificate.uncertified(site.hosts, stored) if stored else []:
            say(f"the certificate does not have {host}. Run: make dev-tls")
        return proxy.Configuration(site, FOLDER, stored)


def up(stack: Stack, arguments: list[str]) -> int:
    """Give the machine the alias, start the stack, wait until it answers, print the URLs."""
    has_containers = bool(stack.settings.services or stack.config.get("services"))
    site, is_known = stack.site(), True
    made = stack.configuration() if stack.settings.has_proxy else None
    # Whatever refuses does so before anybody is asked for a password.
    if has_containers:
        is_known = stack.may_start(services_in(arguments))
    # Not a prerequisite in make: `.IGNORE:` or -i in somebody's Makefile would go on without the address.
    code = subprocess.run(["/bin/sh", f"{FOLDER}/host-alias", "up"], check=False).returncode
    if code:
        return code
    if not has_containers:
        say("this stack has no containers; the alias is all there is.")
    else:
        start.up(stack.words, arguments)
        if made and "proxy" in start.of_project(stack.words, stack.config):
            start.configure(stack.words, stack.config, made, site.ports.http or 0)
            start.introduce(stack.words, stack.config, site.hosts)
        start.wait(stack.words, stack.config)
    if not is_known:
        command = " ".join(stack.words)
        say(f"whether other containers use this stack's volumes and names is unknown: {command} does not say")
    sys.stdout.write(urls.table(site))
    return 0


def services_in(arguments: list[str]) -> list[str]:
    """Return the services that the arguments of `docker compose up` name, none for all."""
    with_value = re.compile("--(attach|no-attach|exit-code-from|pull|scale|timeout|wait-timeout)|-t")
    found, is_value = [], False
    for word in arguments:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and bool(with_value.fullmatch(word))
    return found


def reload(stack: Stack, arguments: list[str]) -> int:
    """Have the proxy use an edited routes, or an edited snippet in proxy/custom."""
    stack.need_proxy()
    made, site = stack.configuration(), stack.site()
    refuse_elsewhere(stack)
    try:
        start.configure(stack.words, stack.config, made, site.ports.http or 0)
    except (proxy.GoneError, compose.UnknownError) as error:
        raise Stop(start.failure(stack.words, "the proxy does not run. Start it: make dev-up")) from error
    sys.stdout.write(urls.table(site))
    return 0


def refuse_elsewhere(stack: Stack) -> None:
    """Raise Stop where the containers of this project belong to another folder; nobody knows without an engine."""
    try:
        refusals = stack.elsewhere(compose.containers(stack.words))
    except compose.UnknownError:
        return
    if refusals:
        raise Stop(*refusals)


def tls(stack: Stack, arguments: list[str]) -> int:
    """Make a certificate for the hosts in routes and have the proxy use it; --off switches HTTPS off."""
    stack.need_proxy()
    if arguments == ["--off"]:
        if not certificate.remove(os.curdir):
            say("HTTPS is off already")
    elif arguments:
        raise Stop(f"make dev-tls knows no {' '.join(arguments)}, only ARGS=--off", code=2)
    else:
        refuse_elsewhere(stack)
        if not certificate.make(os.curdir, routes.hosts(stack.routes, stack.settings.domain)):
            say(certificate.TRUST)
    site = stack.site()
    try:
        start.configure(stack.words, stack.config, stack.configuration(), site.ports.http or 0)
    except (proxy.GoneError, compose.UnknownError):
        say(f"HTTPS is {'off' if arguments else 'on'} with the next: make dev-up")
    sys.stdout.write(urls.table(site))
    return 0


def show_urls(stack: Stack, arguments: list[str]) -> int:
    """Print which URL leads to which service."""
    sys.stdout.write(urls.table(stack.site()))
    return 0


def show_hosts(stack: Stack, arguments: list[str]) -> int:
    """Print every host that leads to the proxy, one a line."""
    sys.stdout.write("".join(f"{host}\n" for host in routes.hosts(stack.routes, stack.settings.domain)))
    return 0


def env(stack: Stack, arguments: list[str]) -> int:
    """Print the environment for native services."""
    sys.stdout.write(environment.lines(stack.site()))
    return 0


def status(stack: Stack, arguments: list[str]) -> int:
    """Print how the alias and the containers are; the exit code is host-alias's."""
    code = subprocess.run(["/bin/sh", f"{FOLDER}/host-alias", "status"], check=False).returncode
    if subprocess.run([*stack.words, "ps", *arguments], check=False).returncode:
        raise Stop(start.failure(stack.words, "Compose could not list the containers (the message is above)"))
    return code


def deletes_volumes(arguments: list[str]) -> bool:
    """Tell whether `docker compose down` would delete volumes: --volumes, --volumes=true, -v, also in -tv or -vt3."""
    return any(re.match(r"--volumes(=|\Z)|-[a-z]*v", word) for word in arguments)


def data_in(config: dict[str, Any], found: list[compose.Container], volumes: frozenset[str]) -> list[str]:
    """Return what `docker compose down --volumes` deletes: declared volumes, and unnamed ones by their container."""
    declared = {volume["name"] for volume in (config.get("volumes") or {}).values() if not volume.get("external")}
    unnamed = {
        f"the unnamed volume of {container.name}"
        for container in found
        if container.project == config["name"] and any(re.fullmatch("[0-9a-f]{64}", name) for name in container.mounts)
    }
    # The proxy's is no data: make dev-up fills it again.
    return sorted((declared & volumes) - {f"{config['name']}_localdev-proxy"}) + sorted(unnamed)


def ask_to_delete(names: list[str]) -> None:
    """Ask on the terminal. Raises Stop where the answer is no, or nobody can be asked."""
    try:
        if os.environ.get("CI"):
            raise OSError
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        text = "nobody can be asked here, so nothing was deleted. To delete it: make dev-down ARGS='--volumes --yes'"
        raise Stop(text, code=4) from None
    with open(terminal, "r+b", buffering=0) as tty:
        tty.write(b"Delete it for good? [y/N] ")
        reply = tty.readline().decode(errors="replace").strip().lower()
    if reply not in ("y", "yes"):
        raise Stop("nothing was stopped, nothing was deleted")


def down(words: list[str], arguments: list[str]) -> int:
    """Stop the stack, with the data only where it is known whose it is, and somebody agreed."""
    stop = [*words, "down", *(word for word in arguments if word != "--yes")]
    try:
        config, found = compose.config(words), compose.containers(words)
        refusals = list(owners.elsewhere(config, found, os.getcwd(), compose.files_are_named(words), words))
        if refusals:
            raise Stop(*refusals)
        names = data_in(config, found, compose.volumes(words)) if deletes_volumes(arguments) else []
    except compose.UnknownError as error:
        if deletes_volumes(arguments):
            text = f"nothing was deleted: whose data it is cannot be known, as `{error}` fails. Without a check:"
            raise Stop(f"{text} {' '.join(stop)}") from error
        names = []
    if names:
        say(f"this deletes all data in {', '.join(names)}")
        if "--yes" not in arguments:
            ask_to_delete(names)
    try:
        code = subprocess.run(stop, check=False).returncode
    except OSError:
        code = 1
    if code:
        raise Stop(start.failure(words, "the stack did not stop (the message is above)"))
    return 0


def doctor(words: list[str], arguments: list[str]) -> int:
    """Become the doctor."""
    os.environ["LOCALDEV_COMPOSE"] = " ".join(words)
    os.execv(sys.executable, [sys.executable, "-I", "-B", f"{FOLDER}/doctor", *arguments])


def update(words: list[str], arguments: list[str]) -> int:
    """Become Copier: `words`, or the one that is installed, or uv's."""
    command = words or (["copier"] if shutil.which("copier") else ["uvx", "copier"])
    try:
        os.execvp(command[0], [*command, "update", "--trust", "-a", ".copier-answers.localdev.yml", *arguments])
    except OSError as error:
        raise Stop(f"{command[0]} cannot be run ({error.strerror}). Install Copier: pipx install copier") from error


# What works without a look at the files, so that a broken one is no obstacle.
PLAIN: dict[str, Callable[[list[str], list[str]], int]] = {"down": down, "doctor": doctor, "update": update}
VERBS: dict[str, Callable[[Stack, list[str]], int]] = {
    "up": up, "reload": reload, "tls": tls, "urls": show_urls, "hosts": show_hosts, "env": env, "status": status,
}  # fmt: skip


def main() -> int:
    """Run the verb on the command line; return its exit code."""
    verb, *rest = sys.argv[1:] or [""]
    if verb not in {*PLAIN, *VERBS}:
        say(f"say {', '.join([*VERBS, *PLAIN])}")
        return 2
    end = rest.index("--") if "--" in rest else len(rest)
    words, arguments = rest[:end] or (["docker", "compose"] if verb != "update" else []), rest[end + 1 :]
    try:
        return PLAIN[verb](words, arguments) if verb in PLAIN else VERBS[verb](Stack(words), arguments)
    except Stop as stop:
        lines, code = stop.lines, stop.code
    except (settings.SettingsError, routes.RoutesError) as error:
        print(error, file=sys.stderr)
        return 1
    except (certificate.CertificateError, proxy.RefusedError, start.FailedError) as error:
        lines, code = [str(error)], 1
    except (proxy.GoneError, compose.UnknownError) as error:
        lines, code = [start.failure(words, f"the containers cannot be looked at ({error}). Run it again: make dev-up")], 1
    except OSError as error:
        lines, code = [f"{error.filename or 'a file'}: {error.strerror}. Restore it from git, or correct its owner"], 2
    for line in lines:
        say(line)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

# SPDX-License-Identifier: MIT
"""The verbs: each is what one of make's targets does, and returns its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import certificate
import compose
import environment
import hosts
import proxy
import routes
import start
import urls
from checkout import FOLDER, Checkout
from messages import FileStop, Stop, say
from remove import down
from tools import Later


def up(stack: Checkout, arguments: list[str]) -> int:
    """Give the machine the alias, start the stack, wait until it answers, print the URLs."""
    has_containers = bool(stack.settings.services or stack.config.get("services"))
    site, is_known = stack.site(), True
    made = stack.configuration() if stack.settings.has_proxy else None
    # Whatever refuses does so before anybody is asked for a password.
    if has_containers:
        is_known = stack.may_start(compose.services_in(arguments))
    # Not a prerequisite in make: `.IGNORE:` or -i in somebody's Makefile would go on without the address.
    # Compose also reads LOCALDEV_HOST from .env; host-alias reads the environment only.
    env = {"LOCALDEV_HOST": "host-gateway", **os.environ} if site.ports.has_gateway else None
    code = subprocess.run(["/bin/sh", f"{FOLDER}/host-alias", "up"], env=env, check=False).returncode
    if code:
        return code
    if not has_containers:
        say("this stack has no containers; the alias is all there is.")
    else:
        start.up(stack.words, arguments)
        found = start.of_project(stack.words, stack.config)
        if made and "proxy" in found:
            engine = compose.engine_of(stack.words)
            try:
                start.configure(engine, found["proxy"], made, site.ports.http or 0)
            except proxy.GoneError as error:
                raise start.FailedError(start.ended_text(engine, found["proxy"])) from error
            start.introduce(stack.words, stack.config, found["proxy"], site.hosts)
        start.wait(stack.words, stack.config, found, compose.services_in(arguments))
    if not is_known:
        command = " ".join(stack.words)
        say(f"whether other containers use this stack's volumes and names is unknown: {command} does not say")
    sys.stdout.write(urls.table(site))
    return 0


def reload(stack: Checkout, arguments: list[str]) -> int:
    """Have the proxy use an edited routes, or an edited snippet in proxy/custom."""
    stack.need_proxy()
    made, site = stack.configuration(), stack.site()
    stack.refuse_elsewhere()
    if not stack.use(made, site.ports.http or 0):
        raise Stop(start.failure(stack.words, "the proxy does not run. Start it: make dev-up"))
    sys.stdout.write(urls.table(site))
    return 0


def tls(stack: Checkout, arguments: list[str]) -> int:
    """Make a certificate for the hosts in routes and have the proxy use it; --off switches HTTPS off."""
    stack.need_proxy()
    if arguments == ["--off"]:
        if not certificate.remove(os.curdir):
            say("HTTPS is off already")
    elif arguments:
        raise Stop(f"make dev-tls knows no {' '.join(arguments)}, only ARGS=--off", code=2)
    else:
        stack.refuse_elsewhere()
        if not certificate.make(os.curdir, routes.hosts(stack.routes, stack.settings.domain)):
            say(certificate.TRUST)
    site = stack.site()
    if not stack.use(stack.configuration(), site.ports.http or 0):
        say(f"HTTPS is {'off' if arguments else 'on'} with the next: make dev-up")
    sys.stdout.write(urls.table(site))
    return 0


def show_urls(stack: Checkout, arguments: list[str]) -> int:
    """Print which URL leads to which service."""
    sys.stdout.write(urls.table(stack.site()))
    return 0


def change_hosts(stack: Checkout, arguments: list[str]) -> int:
    """Put the hosts in routes into /etc/hosts (add), or take them out again (remove); asks, but for --yes."""
    is_agreed = "--yes" in arguments or "-y" in arguments
    verb = [word for word in arguments if word not in ("--yes", "-y")]
    if verb not in (["add"], ["remove"]):
        raise Stop("unknown argument. Use add or remove, and --yes", code=2)
    domain = stack.settings.domain
    if verb == ["remove"]:
        hosts.remove(domain, is_agreed)
    else:
        stack.need_proxy()
        hosts.add(routes.hosts(stack.routes, domain), domain, is_agreed)
    return 0


def env(stack: Checkout, arguments: list[str]) -> int:
    """Print the environment for native services."""
    sys.stdout.write(environment.lines(stack.site()))
    return 0


def status(stack: Checkout, arguments: list[str]) -> int:
    """Print how the alias and the containers are; the exit code is host-alias's."""
    code = subprocess.run(["/bin/sh", f"{FOLDER}/host-alias", "status"], check=False).returncode
    if subprocess.run([*stack.words, "ps", *arguments], check=False).returncode:
        raise Stop(start.failure(stack.words, "Compose could not list the containers (the message is above)"))
    return code


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
VERBS: dict[str, Callable[[Checkout, list[str]], int]] = {
    "up": up, "reload": reload, "tls": tls, "urls": show_urls, "hosts": change_hosts, "env": env, "status": status,
}  # fmt: skip


def run(verb: str, words: list[str], arguments: list[str], config: Later, containers: Later) -> int:
    """Run `verb`; `words` is the command, `config` and `containers` are what Compose and the engine say. Return an exit code."""
    try:
        if verb in PLAIN:
            return PLAIN[verb](words, arguments)
        return VERBS[verb](Checkout(words, config, containers), arguments)
    except FileStop as stop:
        print(stop, file=sys.stderr)
        return stop.code
    except Stop as stop:
        lines, code = stop.lines, stop.code
    except (proxy.GoneError, compose.UnknownError) as error:
        otherwise = f"the containers cannot be looked at ({error}). Run it again: make dev-up"
        lines, code = [start.failure(words, otherwise)], 1
    except OSError as error:
        lines, code = [f"{error.filename or 'a file'}: {error.strerror}. Restore it from git, or correct its owner"], 2
    for line in lines:
        say(line)
    return code

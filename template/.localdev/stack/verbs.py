# SPDX-License-Identifier: MIT
"""The verbs: each is what one of make's targets does, and returns its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import certificate
import compose
import environment
import hosts
import owners
import proxy
import root
import routes
import start
import state
import urls
from checkout import FOLDER, Checkout
from messages import FileStop, Stop, named, say, show
from tools import Later
from update import update

HOST_ALIAS = ["/bin/sh", f"{FOLDER}/host-alias"]


def up(stack: Checkout, arguments: list[str]) -> int:
    """Give the machine the alias, start the stack, wait until it answers, print the URLs."""
    has_containers = bool(stack.settings.services or stack.config.get("services"))
    site, is_known = stack.site(), True
    made = stack.configuration(site) if stack.settings.has_proxy else None
    # Whatever refuses does so before anybody is asked for a password.
    if has_containers:
        is_known = stack.may_start(compose.services_in(arguments))
        if (
            not is_known
            and subprocess.run([*stack.words, "ps", "--quiet"], capture_output=True, check=False).returncode
        ):
            raise Stop(compose.failure(stack.words, "Compose does not list containers. Try: docker compose ps"))
    # Not a prerequisite in make: `.IGNORE:` or -i in somebody's Makefile would go on without the address.
    # Compose knows every form of .env, host-alias one.
    env = {"LOCALDEV_HOST": "host-gateway", **os.environ} if site.ports.has_gateway else None
    code = subprocess.run([*HOST_ALIAS, "up"], env=env, check=False).returncode
    if code:
        return code
    if has_containers:
        start.start(stack, arguments, site, made)
    else:
        say("this stack has no containers; the alias is all there is.")
    if not is_known:
        command = " ".join(stack.words)
        say(f"whether other containers use this stack's volumes and names is unknown: {command} does not say")
    show(urls.table(site))
    return 0


def down(words: list[str], arguments: list[str]) -> int:
    """Stop the stack, with the data only where it is known whose it is, and somebody agreed."""
    stop = [*words, "down", *(word for word in arguments if word != "--yes")]
    # --volumes, --volumes=true, -v, also in -tv or -vt3.
    deletes = any(re.match(r"--volumes(=|\Z)|-[a-z]*v", word) for word in arguments)
    data = []
    try:
        config, found = compose.config(words), compose.containers(words)
        refusals = list(owners.elsewhere(config, found, os.getcwd(), compose.files_are_named(words), words))
        if refusals:
            raise Stop(*refusals)
        data = owners.data_in(config, found, compose.volumes(words)) if deletes else []
    except compose.UnknownError as error:
        if deletes:
            text = f"nothing was deleted: whose data it is cannot be known, as `{error}` fails. Without a check:"
            raise Stop(f"{text} {' '.join(stop)}") from error
    if data:
        say(f"this deletes all data in {', '.join(data)}")
        if "--yes" not in arguments:
            if not root.can_ask():
                text = "nobody can be asked here, so nothing was deleted. To delete it:"
                raise Stop(f"{text} make dev-down ARGS='--volumes --yes'", code=4)
            if not root.ask("Delete it for good?"):
                raise Stop("nothing was stopped, nothing was deleted")
    with contextlib.suppress(OSError):
        state.remove(os.curdir, "up")
    try:
        code = subprocess.run(stop, check=False).returncode
    except OSError:
        code = 1
    if code:
        raise Stop(compose.failure(words, "the stack did not stop (the message is above)"))
    return 0


def reload(stack: Checkout, arguments: list[str]) -> int:
    """Have the proxy use an edited routes, or an edited snippet in proxy/custom."""
    stack.need_proxy()
    site = stack.site()
    made = stack.configuration(site)
    stack.refuse_elsewhere()
    if not start.reload(stack, made, site):
        raise Stop(compose.failure(stack.words, "the proxy does not run. Start it: make dev-up"))
    show(urls.table(site))
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
    if not start.reload(stack, stack.configuration(site), site):
        say(f"HTTPS is {'off' if arguments else 'on'} with the next: make dev-up")
    show(urls.table(site))
    return 0


def show_urls(stack: Checkout, arguments: list[str]) -> int:
    """Print which URL leads to which service; with --json for programs."""
    site = stack.site()
    show(in_json(urls.listed(site)) if wants_json("urls", arguments) else urls.table(site))
    return 0


def env(stack: Checkout, arguments: list[str]) -> int:
    """Print the environment for native services; with --json for programs."""
    found = environment.variables(stack.site())
    pairs = {name: value for _, name, value in found}
    show(in_json(pairs) if wants_json("env", arguments) else environment.lines(found))
    return 0


def status(stack: Checkout, arguments: list[str]) -> int:
    """Print how the alias and the containers are; the exit code is host-alias's."""
    is_json = arguments == ["--json"]
    done = subprocess.run([*HOST_ALIAS, "status"], stdout=subprocess.PIPE if is_json else None, check=False)
    if not is_json:
        if subprocess.run([*stack.words, "ps", *arguments], check=False).returncode:
            raise Stop(compose.failure(stack.words, "Compose could not list the containers (the message is above)"))
        return done.returncode
    rows = [re.split(r"\s{2,}", line, maxsplit=2) for line in done.stdout.decode(errors="replace").splitlines()]
    alias = [dict(zip(("part", "subject", "state"), row)) for row in rows if row[0] != "next"]
    containers = [{"service": one.service, "name": one.name, "state": one.state} for one in stack.containers_now()]
    show(in_json({"has_alias": done.returncode == 0, "alias": alias, "containers": containers}))
    return done.returncode


def wants_json(verb: str, arguments: list[str]) -> bool:
    """Tell whether --json was asked for. Raises Stop for anything else."""
    if arguments and arguments != ["--json"]:
        raise Stop(f"make dev-{verb} knows no {' '.join(arguments)}, only ARGS=--json", code=2)
    return bool(arguments)


def in_json(found: Any) -> str:
    """Return `found` for programs."""
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def change_hosts(stack: Checkout, arguments: list[str]) -> int:
    """Put the hosts in routes into /etc/hosts (add), or take them out again (remove); asks, but for --yes."""
    is_agreed = "--yes" in arguments or "-y" in arguments
    verb = [word for word in arguments if word not in ("--yes", "-y")]
    if verb not in (["add"], ["remove"]):
        raise Stop("unknown argument. Use add or remove, and --yes", code=2)
    domain = stack.settings.domain
    if verb == ["add"]:
        stack.need_proxy()
    with hosts.locked():
        if verb == ["remove"]:
            hosts.remove(domain, is_agreed)
        else:
            hosts.add(routes.hosts(stack.routes, domain), domain, is_agreed)
    return 0


def examine(words: list[str], arguments: list[str]) -> int:
    """Say what works, what does not, and what to do; with --json for programs."""
    is_json = wants_json("doctor", arguments)
    # Python takes 30 ms to import it.
    import doctor

    return doctor.main(words, is_json)


def show_help(words: list[str], arguments: list[str]) -> int:
    """Print make's targets, which localdev.mk says in comments."""
    with open(f"{FOLDER}/localdev.mk", encoding="utf-8") as file:
        found = re.findall(r"^## (dev-[a-z-]+): (.*)", file.read(), re.MULTILINE)
    targets = [(named(f"make {name}"), text) for name, text in found]
    width = max(len(name) for name, _ in targets)
    show("".join(f"{name:{width}} {text}\n" for name, text in targets))
    return 0


# What works without a look at the files, so that a broken one is no obstacle.
PLAIN: dict[str, Callable[[list[str], list[str]], int]] = {
    "help": show_help, "down": down, "doctor": examine, "update": update,
}  # fmt: skip
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
        print(named(str(stop)), file=sys.stderr)
        return stop.code
    except Stop as stop:
        lines, code = stop.lines, stop.code
    except (proxy.GoneError, compose.UnknownError) as error:
        otherwise = f"the containers cannot be looked at ({error}). Run it again: make dev-up"
        lines, code = [compose.failure(words, otherwise)], 1
    except BrokenPipeError:
        # Who reads has seen enough, like head. Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        lines, code = [f"{error.filename or 'a file'}: {error.strerror}. Restore it from git, or correct its owner"], 2
    for line in lines:
        say(line)
    return code

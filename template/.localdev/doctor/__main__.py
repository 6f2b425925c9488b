# SPDX-License-Identifier: MIT
"""doctor: what of this stack works, what does not, and the command that fixes it. Changes nothing.

python3 .localdev/doctor [--json]    exit code 0: everything works, 1: something does not, 2: usage
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys

# This folder belongs to a repo: nothing may appear in it, and Python has written down this file before it runs it.
sys.dont_write_bytecode = True
with contextlib.suppress(OSError):
    written = importlib.util.cache_from_source(__file__)
    os.remove(written)
    os.rmdir(os.path.dirname(written))

import argparse
import shlex
from collections.abc import Iterable
from typing import NoReturn

# Until the doctor is a part of it.
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "stack"))

import alias
import engine as engines
import names
import probes
import report
import services
import stack
from finding import FAIL, Finding, fail
from project import Project, load
from routes import RoutesError
from settings import SettingsError
from tools import Later


class Parser(argparse.ArgumentParser):
    """An argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong, and leave with 2."""
        self.exit(2, f"doctor: {message}. See --help\n")


def examine(project: Project) -> list[Finding]:
    """Run all checks at the same time and return what they found, the causes before the effects."""
    engine = engines.Engine(project)
    try:
        table = project.routes()
        errors = []
    except RoutesError as error:
        table = []
        errors = [
            fail("routes.invalid", "routes", line, "correct it, then: make dev-reload")
            for line in str(error).splitlines()
        ]
    listening = Later(lambda: list(services.check(project, table)))

    def probe() -> Iterable[Finding]:
        fine = {finding.subject: finding.level != FAIL for finding in listening.result()}
        return probes.check(engine, table, fine)

    tasks = [
        Later(lambda: list(engines.check(engine))),
        Later(lambda: list(alias.check(project, engine))),
        Later(lambda: list(errors)),
        Later(lambda: list(stack.check_owners(engine))),
        Later(lambda: list(stack.check(engine))),
        listening,
        Later(lambda: list(probe())),
        Later(lambda: list(names.check(table) if project.has_proxy else [])),
    ]
    return [finding for task in tasks for finding in task.result()]


def main() -> int:
    """Read the command line, examine, report."""
    parser = Parser(prog="python3 .localdev/doctor", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for tools: the report as schema.json describes it")
    options = parser.parse_args()
    folder = os.path.relpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))
    # Compose, git and make's targets work in the repo's root.
    os.chdir(os.path.join(folder, os.pardir))
    folder = ".localdev" if os.path.isdir(".localdev") else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        compose = shlex.split(os.environ.get("LOCALDEV_COMPOSE", "")) or ["docker", "compose"]
    except ValueError as error:
        print(
            f"doctor: LOCALDEV_COMPOSE cannot be used ({error}). Correct it, e.g. LOCALDEV_COMPOSE='podman compose'",
            file=sys.stderr,
        )
        return 2
    try:
        project = load(folder, compose)
    except (OSError, SettingsError) as error:
        print(f"doctor: {folder}/host-alias.conf cannot be used ({error}). Restore it from git", file=sys.stderr)
        return 2
    findings = examine(project)
    # A name may have letters that the terminal's encoding does not.
    sys.stdout.reconfigure(errors="replace")
    try:
        sys.stdout.write(
            report.to_json(findings) if options.json else report.to_text(findings, report.has_colours(sys.stdout))
        )
        sys.stdout.flush()
    except OSError as error:
        print(f"doctor: the report cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    return 1 if any(finding.level == FAIL for finding in findings) else 0


if __name__ == "__main__":
    # A name server that does not answer keeps its thread: nobody waits for that one.
    code = main()
    os._exit(code)

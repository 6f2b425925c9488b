# SPDX-License-Identifier: MIT
"""The doctor: what of this stack works, what does not, and the command that fixes it. Changes nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable

from doctor import containers, engine, host, services
from doctor.engine import FAIL, OK, WARN, Facts, Finding
from messages import Stop, printable, show
from tools import Later

# Of each level the word and the terminal's colour.
LEVELS = {OK: ("ok  ", "32"), WARN: ("warn", "33"), FAIL: ("FAIL", "1;31")}


def main(words: list[str], is_json: bool) -> int:
    """Examine and report; `words` is the command for Compose. Return 1 where something does not work, otherwise 0.

    Raises Stop, and OSError.
    """
    findings = [clean(finding) for finding in examine(Facts(words))]
    has_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    # A name may have letters that the terminal's encoding does not.
    sys.stdout.reconfigure(errors="replace")
    try:
        show(to_json(findings) if is_json else to_text(findings, has_colours))
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try once more at its end, and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Stop(f"the report cannot be written: {error.strerror}", code=2) from error
    return 1 if first_fix(findings) else 0


def examine(facts: Facts) -> list[Finding]:
    """Run all checks at the same time and return what they found, the causes before the effects."""
    listening = Later(lambda: list(services.check(facts)))
    checks: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
        *(engine.check_runtime, engine.check_compose, host.check_alias, lambda facts: facts.errors),
        *(containers.check_owners, containers.check_stack, lambda facts: listening.result()),
        *(lambda facts: containers.check_routes(facts, listening.result()), host.check_names),
    )
    tasks = [Later(lambda check=check: list(check(facts))) for check in checks]
    return [finding for task in tasks for finding in task.result()]


def clean(finding: Finding) -> Finding:
    """Return `finding` in lines without what could move a terminal's cursor: some of it comes from other programs."""
    return Finding(*(value and printable(" ".join(value.split())) for value in vars(finding).values()))


def first_fix(findings: list[Finding]) -> str | None:
    """Return what to run first: the fix of the first failure, as later ones may come from it."""
    return next((finding.fix for finding in findings if finding.level == FAIL), None)


def to_text(findings: list[Finding], has_colours: bool) -> str:
    """Return the report for people."""
    width = max((len(finding.subject) for finding in findings), default=0)
    lines = []
    for finding in findings:
        word, colour = LEVELS[finding.level]
        word = f"\033[{colour}m{word}\033[0m" if has_colours else word
        lines.append(f"{word}  {finding.subject:<{width}}  {finding.text}")
        lines += [f"{'':<4}  {'fix':<{width}}  {finding.fix}"] if finding.fix else []
    levels = [finding.level for finding in findings]
    counts = [
        f"{levels.count(level)} {noun}{'' if levels.count(level) == 1 else 's'}"
        for level, noun in ((FAIL, "failure"), (WARN, "warning"))
        if level in levels
    ]
    if FAIL in levels:
        summary = f"{', '.join(counts)}. Run first: {first_fix(findings)}"
    else:
        summary = f"{'; '.join(['Everything works', *counts])}."
    return "\n".join([*lines, "", summary, ""])


def to_json(findings: list[Finding]) -> str:
    """Return the report for programs: docs/doctor.schema.json of the template describes it."""
    levels = [finding.level for finding in findings]
    failures, warnings, rows = levels.count(FAIL), levels.count(WARN), [vars(finding) for finding in findings]
    report = {"version": 1, "ok": not failures, "failures": failures, "warnings": warnings}
    return json.dumps({**report, "first": first_fix(findings), "findings": rows}, indent=2) + "\n"

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
    # A name may have letters that the terminal's encoding does not.
    sys.stdout.reconfigure(errors="replace")
    try:
        show(to_json(findings) if is_json else to_text(findings, has_colours()))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Stop(f"the report cannot be written: {error.strerror}", code=2) from error
    return 1 if first_fix(findings) else 0


def examine(facts: Facts) -> list[Finding]:
    """Run all checks at the same time and return what they found, the causes before the effects."""

    def begin(check: Callable[[], Iterable[Finding]]) -> Later:
        return Later(lambda: list(check()))

    listening = begin(lambda: services.check(facts))
    tasks = [
        begin(lambda: engine.check_runtime(facts)),
        begin(lambda: engine.check_compose(facts)),
        begin(lambda: host.check_alias(facts)),
        begin(lambda: facts.errors),
        begin(lambda: containers.check_owners(facts)),
        begin(lambda: containers.check_stack(facts)),
        listening,
        begin(lambda: containers.check_routes(facts, listening.result())),
        begin(lambda: host.check_names(facts)),
    ]
    return [finding for task in tasks for finding in task.result()]


def clean(finding: Finding) -> Finding:
    """Return `finding` in lines without what could move a terminal's cursor: some of it comes from other programs."""
    texts = {name: value and printable(" ".join(value.split())) for name, value in vars(finding).items()}
    return Finding(**texts)


def has_colours() -> bool:
    """Tell whether the report is for a terminal that shall have colours."""
    term = os.environ.get("TERM", "dumb")
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and term != "dumb"


def first_fix(findings: list[Finding]) -> str | None:
    """Return what to run first: the fix of the first failure, as later ones may come from it."""
    return next((finding.fix for finding in findings if finding.level == FAIL), None)


def count(findings: list[Finding], level: str, noun: str) -> str:
    """Return how many of `findings` are of `level`, in words; '' for none."""
    number = sum(finding.level == level for finding in findings)
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def to_text(findings: list[Finding], colours: bool) -> str:
    """Return the report for people."""
    width = max((len(finding.subject) for finding in findings), default=0)
    lines = []
    for finding in findings:
        word, colour = LEVELS[finding.level]
        word = f"\033[{colour}m{word}\033[0m" if colours else word
        lines.append(f"{word}  {finding.subject:<{width}}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':<4}  {'fix':<{width}}  {finding.fix}")
    failures, warnings = count(findings, FAIL, "failure"), count(findings, WARN, "warning")
    summary = f"Everything works{warnings and f'; {warnings}'}."
    if failures:
        summary = f"{failures}{warnings and f', {warnings}'}. Run first: {first_fix(findings)}"
    return "\n".join([*lines, "", summary, ""])


def to_json(findings: list[Finding]) -> str:
    """Return the report for programs: docs/doctor.schema.json of the template describes it."""
    levels = [finding.level for finding in findings]
    report = {
        "version": 1,
        "ok": FAIL not in levels,
        "failures": levels.count(FAIL),
        "warnings": levels.count(WARN),
        "first": first_fix(findings),
        "findings": [vars(finding) for finding in findings],
    }
    return json.dumps(report, indent=2) + "\n"

# SPDX-License-Identifier: MIT
"""The findings, for people and for tools."""

from __future__ import annotations

import json
import os
from typing import TextIO

from finding import FAIL, OK, WARN, Finding

WORDS = {OK: "ok", WARN: "warn", FAIL: "FAIL"}
COLOURS = {OK: "32", WARN: "33", FAIL: "1;31"}


def printable(text: str) -> str:
    """Return `text` as one line without what could move a terminal's cursor: some of it comes from other programs."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def has_colours(stream: TextIO) -> bool:
    """Tell whether `stream` is a terminal that shall have colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def count(number: int, noun: str) -> str:
    """Return `number` with `noun` in the right form."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_fix(findings: list[Finding]) -> str | None:
    """Return what to run first: the fix of the first failure, as later ones may come from it."""
    return next((printable(finding.fix) for finding in findings if finding.level == FAIL and finding.fix), None)


def to_text(findings: list[Finding], colours: bool) -> str:
    """Return the report for people."""
    width = max((len(finding.subject) for finding in findings), default=0)
    lines = []
    for finding in findings:
        word = f"{WORDS[finding.level]:<4}"
        if colours:
            word = f"\033[{COLOURS[finding.level]}m{word}\033[0m"
        lines.append(f"{word}  {printable(finding.subject):<{width}}  {printable(finding.text)}")
        if finding.fix:
            lines.append(f"{'':<4}  {'fix':<{width}}  {printable(finding.fix)}")
    failures = sum(finding.level == FAIL for finding in findings)
    warnings = sum(finding.level == WARN for finding in findings)
    noted = count(warnings, "warning") if warnings else ""
    if failures:
        summary = f"{count(failures, 'failure')}{f', {noted}' if noted else ''}. Run first: {first_fix(findings)}"
    else:
        summary = f"Everything works{f'; {noted}' if noted else ''}."
    return "\n".join([*lines, "", summary, ""])


def to_json(findings: list[Finding]) -> str:
    """Return the report for tools, as schema.json describes it."""
    rows = [{key: printable(value) if value else None for key, value in vars(finding).items()} for finding in findings]
    failures = sum(finding.level == FAIL for finding in findings)
    report = {
        "version": 1,
        "ok": failures == 0,
        "failures": failures,
        "warnings": sum(finding.level == WARN for finding in findings),
        "first": first_fix(findings),
        "findings": rows,
    }
    return json.dumps(report, indent=2) + "\n"

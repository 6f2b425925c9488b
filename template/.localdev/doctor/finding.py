# SPDX-License-Identifier: MIT
"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` is the command, or the change, that makes it go away."""

    level: str
    id: str
    subject: str
    text: str
    fix: str | None = None


def ok(id: str, subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(OK, id, subject, text)


def warn(id: str, subject: str, text: str, fix: str | None = None) -> Finding:
    """Return a finding that does not keep anything from working."""
    return Finding(WARN, id, subject, text, fix)


def fail(id: str, subject: str, text: str, fix: str) -> Finding:
    """Return a finding that keeps something from working; it always says what to do."""
    return Finding(FAIL, id, subject, text, fix)

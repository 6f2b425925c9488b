# SPDX-License-Identifier: MIT
"""To run a command, and to do things at the same time."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# What answers at all answers by then; Docker Desktop can hang for ever.
PATIENCE = 8.0


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code (None when it did not start, or not end in time) and what it said."""

    code: int | None
    out: str = ""
    err: str = ""


def run(*command: str, env: dict[str, str] | None = None, cwd: str | None = None) -> Done:
    """Run `command` without a terminal and in plain English; never raises."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Done(None, "", str(error))
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def together(function: Callable[[Any], Any], items: Iterable[Any], seconds: float) -> list[Any]:
    """Return what `function` returns for each of `items`, all called at the same time; None for the late ones.

    The threads are daemons, because a name server that does not answer cannot be interrupted.
    """
    items = list(items)
    results: list[Any] = [None] * len(items)
    finished: queue.Queue[None] = queue.Queue()

    def work(number: int, item: Any) -> None:
        try:
            results[number] = function(item)
        finally:
            finished.put(None)

    for number, item in enumerate(items):
        threading.Thread(target=work, args=(number, item), daemon=True).start()
    deadline = time.monotonic() + seconds
    for _ in items:
        try:
            finished.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
    return list(results)


def lines_of(command: list[str], seconds: float) -> Iterator[str]:
    """Yield each line that `command` prints when it prints it, for at most `seconds`."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout
        yield from process.stdout
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


class Later:
    """A function that runs in a thread of its own; `result` waits for it."""

    def __init__(self, function: Callable[[], Any], starts_now: bool = True) -> None:
        """Start it now, or when somebody asks for its result."""
        self.value: Any = None
        self.error: BaseException | None = None
        self.function = function
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.has_started = starts_now
        if starts_now:
            self.thread.start()

    def run(self) -> None:
        """Run the function; an error is for the one who waits."""
        try:
            self.value = self.function()
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        """Return what the function returned, and raise what it raised."""
        if not self.has_started:
            self.has_started = True
            self.thread.start()
        self.thread.join()
        if self.error:
            raise self.error
        return self.value

"""How much the tests try: a part by day, everything by night."""

import os

NIGHTLY = bool(os.environ.get("NIGHTLY"))


def examples(number: int) -> int:
    """Return how many of `number` generated examples a test tries: a tenth, or all of them where NIGHTLY is set."""
    return number if NIGHTLY else max(number // 10, 1)

"""How much the tests try: a part by day, everything by night."""

import os


def examples(number: int) -> int:
    """Return how many of `number` generated examples a test tries: a tenth, or all of them where NIGHTLY is set."""
    return number if os.environ.get("NIGHTLY") else number // 10

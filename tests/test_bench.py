"""`make bench` still measures everything, and a figure that is missed fails it."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import PROJECT, Run

pytestmark = pytest.mark.changes("bench", "tests/test_bench.py")


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_quick_run_measures_everything_and_draws_it(run: Run, tmp_path: Path) -> None:
    arguments = f"ARGS=--quick --no-skips --results {tmp_path}"
    done = run("make", "bench", arguments, cwd=PROJECT)
    assert done.returncode == 0, done.stdout[-3000:]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| ([0-9.]+) \|", (tmp_path / "RESULTS.md").read_text(), re.M)
    # The same ones as in the results that are kept here, with the numbers that a quick run has less of left out.
    kept = re.findall(r"^\| (.*?) \| (.*?) \| ([0-9.]+) \|", (PROJECT / "bench/RESULTS.md").read_text(), re.M)
    names, kept_names = ({re.sub(r"\d+", "N", " ".join(row[:2])) for row in found} for found in (rows, kept))
    assert names == kept_names
    assert all(float(ratio) > 0 for _, _, ratio in rows)
    for theme in ("light", "dark"):
        texts = [element.text for element in ElementTree.parse(tmp_path / f"requests-{theme}.svg").iter()]
        assert {"this proxy", "tutorials' nginx", "no proxy", "256 connections"} <= set(texts)


def test_a_ratio_is_held_to_what_it_has_to_be(run: Run) -> None:
    verdicts = {
        "at_most=2": "yes",
        "at_least=2": "yes",
        "at_most=1.9": "within the margin",
        "at_least=2.2": "within the margin",
        "at_most=1": "**no**",
        "at_least=3": "**no**",
        "at_most=1, kept=1.9": "no; 1.9 is kept",
        "at_most=1, kept=1.5": "no; 1.5 is **not** kept",
        "at_least=3, kept=2.1": "no; 2.1 is kept",
        "at_least=3, kept=2.5": "no; 2.5 is **not** kept",
    }
    rows = "".join(f"Row('a', 'b', 2.0, '', {limits})," for limits in verdicts)
    program = f"from figures import Row\nfor row in [{rows}]: print(row.verdict, row.is_kept(), sep=': ')"
    out = run(sys.executable, "-c", program, cwd=PROJECT / "bench", check=True).stdout.splitlines()
    assert out == [f"{verdict}: {'**' not in verdict}" for verdict in verdicts.values()]


def test_a_missed_figure_fails_the_benchmark(run: Run, tmp_path: Path) -> None:
    (tmp_path / "missed.py").write_text(
        "def test_slow(figures):\n    figures.add('slow', 'fast', 2, at_most=1)\ndef test_nothing(figures):\n    pass\n"
    )
    words = ("-m", "pytest", "-p", "figures", "-p", "no:cacheprovider", "--results", tmp_path, "missed.py")
    done = run(sys.executable, *words, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT / "bench")})
    assert done.returncode == 1
    assert "slow: 2.00 of fast, at most 1 wanted" in done.stdout
    assert "this benchmark has measured nothing" in done.stdout

"""How `make bench` keeps its figures: each row is a ratio of two things measured in the same run, held to what it has to
reach. At the end they are written to RESULTS.md and drawn as plots.
"""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

HERE = Path(__file__).parent
# By how much a shared machine may miss a reach before the row fails: figures of one run differ by that much.
MARGIN = 0.10
# The plots' colours for a light page and for a dark one.
THEMES = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#f0f6fc", "#3d444d")}
OURS, OTHERS = "#0969da", ("#8c959f", "#bf8700", "#6e7781")


@dataclass(frozen=True)
class Row:
    """One figure: `ratio` is what to `against`, and has to be between `at_least` and `at_most`."""

    what: str
    against: str
    ratio: float
    detail: str
    at_most: float = math.inf
    at_least: float = 0
    # Where that is out of reach, README.md says why, and this is the ratio that is kept.
    kept: float | None = None

    @property
    def reach(self) -> str:
        """What the ratio has to be, in words."""
        words = [f"at least {self.at_least:g}"] if self.at_least else []
        return ", ".join(words + [f"at most {self.at_most:g}"] * (self.at_most < math.inf))

    @property
    def verdict(self) -> str:
        """Whether the ratio is what it has to be, in words."""
        if self.at_least <= self.ratio <= self.at_most:
            return "yes"
        if self.kept is None:
            return "within the margin" if self.is_kept() else "**no**"
        return f"no; {self.kept:g} is {'kept' if self.is_kept() else '**not** kept'}"

    def is_kept(self) -> bool:
        """Tell whether the ratio misses what it has to be, or what is kept, by no more than MARGIN."""
        at_least = self.at_least if self.kept is None else min(self.at_least, self.kept)
        at_most = self.at_most if self.kept is None else max(self.at_most, self.kept)
        return at_least * (1 - MARGIN) <= self.ratio <= at_most * (1 + MARGIN)


@dataclass
class Figures:
    """All rows of this run, and for how long each of them is measured."""

    quick: bool
    rows: list[Row] = field(default_factory=list)
    # What the plot of requests shows: the number of connections -> name -> requests per second.
    requests: dict[int, dict[str, float]] = field(default_factory=dict)

    def runs(self, number: int) -> int:
        """Return how often to measure something: `number` times, or once when this is only to see that all works."""
        return 1 if self.quick else number

    def seconds(self, number: float) -> float:
        """Return for how long to put load on something."""
        return 1 if self.quick else number

    def add(self, what: str, against: str, ratio: float, detail: str = "", **limits: float) -> None:
        """Keep a row; `limits` are those of Row."""
        self.rows.append(Row(what, against, ratio, detail, **limits))


@pytest.fixture(autouse=True)
def held(figures: Figures) -> Iterator[None]:
    """Fail a benchmark after all of its rows are known. A quick run cannot: it measures next to nothing."""
    before = len(figures.rows)
    yield
    added = figures.rows[before:]
    assert added, "this benchmark has measured nothing"
    missed = [f"{row.what}: {row.ratio:.2f} of {row.against}, {row.reach} wanted" for row in added if not row.is_kept()]
    assert figures.quick or not missed, "\n".join(missed)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a benchmark."""
    parser.addoption("--quick", action="store_true", help="a moment for each figure: does the benchmark still work?")
    parser.addoption("--results", type=Path, default=HERE, metavar="DIR", help="where RESULTS.md and the plots go")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """The figures of this run; written when it ends, unless only some of them were asked for."""
    made = Figures(request.config.getoption("quick"))
    yield made
    folder = request.config.getoption("results")
    whole = not (request.config.getoption("keyword") or request.config.getoption("deselect"))
    if whole or folder != HERE:
        write(made, folder)


def medians(exported: str) -> list[float]:
    """Return the median seconds of each command in what hyperfine exported."""
    return [result["median"] for result in json.loads(exported)["results"]]


def median_of(measure: list[Callable[[], float]], rounds: int) -> list[float]:
    """Measure each of these in turn, `rounds` times, so that all of them see the same machine; return their medians."""
    seen: list[list[float]] = [[] for _ in measure]
    for _ in range(rounds):
        for values, one in zip(seen, measure, strict=True):
            values.append(one())
    return [statistics.median(values) for values in seen]


# --- what is written --------------------------------------------------------------------------------------------------


def first_line(*command: str) -> str:
    """Return the first line that a command prints, or that it is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "missing"
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def machine() -> list[str]:
    """Return what this machine is and which versions ran, a line each."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [
            line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        ]
        cpu = models[0] if models else cpu
    versions = (
        first_line("docker", "version", "--format", "Docker {{.Server.Version}}"),
        "Compose " + first_line("docker", "compose", "version", "--short"),
        first_line("docker", "run", "--rm", "--entrypoint", "nginx", "nginx:1.30-alpine", "-v"),
        f"Copier {importlib.metadata.version('copier')}",
        first_line("hyperfine", "--version"),
    )
    return [
        f"{datetime.date.today()}, {platform.system()} {platform.release()}, {os.cpu_count()} processors ({cpu})",
        ", ".join(versions),
    ]


def write(figures: Figures, folder: Path) -> None:
    """Write RESULTS.md and the plots to `folder`."""
    lines = [
        "# Results",
        "",
        "Made by `make bench`; [README.md](README.md) says how. Each ratio is of two things measured in the same run: the",
        "absolute figures beside it tell of this machine only.",
        "",
        *(f"- {line}" for line in machine()),
        "",
        "| what | against | ratio | has to be | is it? | |",
        "| --- | --- | ---: | --- | --- | --- |",
    ]
    for row in figures.rows:
        lines.append(f"| {row.what} | {row.against} | {row.ratio:.2f} | {row.reach} | {row.verdict} | {row.detail} |")
    (folder / "RESULTS.md").write_text("\n".join(lines) + "\n")
    for theme in THEMES if figures.requests else ():
        draw_requests(figures, folder / f"requests-{theme}.svg", theme)


def draw_requests(figures: Figures, file: Path, theme: str) -> None:
    """Draw requests per second by connections: a bar for each way to reach the service."""
    text, grid = THEMES[theme]
    # Letters stay letters, and two drawings of the same figures are the same file.
    style = {"svg.fonttype": "none", "svg.hashsalt": "bench", "text.color": text, "axes.labelcolor": text}
    style |= {"xtick.color": text, "ytick.color": text, "axes.edgecolor": grid, "font.size": 11}
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        names = list(next(iter(figures.requests.values()), {}))
        for number, name in enumerate(names):
            places = [place + number * 0.8 / len(names) for place in range(len(figures.requests))]
            heights = [by_name[name] / 1000 for by_name in figures.requests.values()]
            bars = axes.bar(places, heights, 0.8 / len(names), label=name, color=colour(name, number), align="edge")
            axes.bar_label(bars, fmt="%.1f", color=text, fontsize=9)
        axes.set_xticks(
            [place + 0.4 for place in range(len(figures.requests))],
            [f"{connections} connection{'s' if connections > 1 else ''}" for connections in figures.requests],
        )
        axes.set_ylabel("thousand requests per second")
        axes.grid(axis="y", color=grid)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
        figure.savefig(file, transparent=True, metadata={"Date": None})


def colour(name: str, number: int) -> str:
    """Return the colour of a bar: ours stands out."""
    return OURS if name == "this proxy" else OTHERS[number % len(OTHERS)]

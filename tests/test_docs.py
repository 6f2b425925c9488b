"""What the pages quote is so: links lead somewhere, commands and their options exist, messages are in the sources, and files
are there. Plain words in backticks are not checked."""

import itertools
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import copier as installed_copier
import pytest
import yaml
from markdown_it import MarkdownIt

from conftest import PROJECT, Render, Run

PAGES = [
    *sorted(path.name for path in PROJECT.glob("*.md")),
    *sorted(f"docs/{path.name}" for path in PROJECT.glob("docs/*.md")),
    *("bench/README.md", "examples/README.md", "examples/shop/README.md"),
]
# The README that lands in a user's repo differs by the answers.
ANSWERS = {
    "defaults": {},
    "everything": {"databases": "[postgres,mysql,redis,mongodb]", "web_domain": "shop.test", "github_workflow": "true"},
    "no proxy": {"web_proxy": "none"},
}
MAKEFILES = ("Makefile", "template/.localdev/localdev.mk", "template/Makefile", "examples/shop/Makefile")
# Where a program's messages come from, by how they begin; the doctor's report has other words.
MESSAGES = {
    r"host-alias: ": ("template/.localdev/host-alias", "template/.localdev/alias/*", "hooks/*"),
    r"localdev: ": ("template/.localdev/**/*",),
    r"release: ": (".ci/release",),
    r"(?:ok|warn|FAIL) +(?:boot job|[\w-]+) +": ("template/.localdev/stack/doctor/*.py",),
}
# What differs from one message to the next: numbers, paths, names with dots, examples. A message is compared between them.
CHANGES = re.compile(r"\S*[\d/]\S*|[\w-]+(?:[.][\w-]+)+|\b(?:web|api|lo|node)\b|[.,;:()]+(?=\s|$)|[(]")
# A program of ours, and its words up to the end of the command.
CALL = re.compile(
    r"(?:^|(?<=[\s`'(/\"]))(make|copier|host-alias)((?: +(?:[\w.@/~:=$<>*-]|\[[^]]*\]|\"[^\"]*\"|'[^']*')+)+)"
)
# Whose options a target's ARGS are; those of another target stand in the scripts.
TAKES = {"dev-update": "copier update", "new": "copier copy", "dev-alias-down": "host-alias"}
TAKES |= dict.fromkeys(("test", "test-engine", "bench", "recording"), "pytest")
COPIER = ("copy", "update", "recopy")
FOLDERS = r"(?:[.]localdev|[.]ci|[.]github|bench|containers|docs|examples|hooks|template|tests)/"


MARKDOWN = MarkdownIt("commonmark").enable("table")


class Quote(NamedTuple):
    """Something in code style, or a link; `place` is `code`, `message` (first column of a table of messages) or `link`."""

    line: int
    text: str
    place: str


def quotes(text: str) -> Iterator[Quote]:
    """Yield what the page `text` quotes: spans, lines of blocks, and its links."""
    header, cell, row = "", -1, 0
    for token in MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else row
        if token.type in ("fence", "code_block") and token.info != "mermaid":
            lines = enumerate(token.content.splitlines(), line + 1)
            yield from (Quote(number, code.strip(), "code") for number, code in lines if code.strip())
        elif token.type == "html_block":
            yield from in_html(line, token.content)
        elif token.type in ("table_open", "table_close"):
            header, cell = "", -1
        elif token.type == "tr_open":
            cell, row = -1, line
        elif token.type in ("th_open", "td_open"):
            cell += 1
        elif token.type == "inline":
            header = header or (token.content if cell == 0 else "")
            place = "message" if header == "message" and cell == 0 else "code"
            for child in token.children or []:
                if child.type == "code_inline":
                    yield Quote(line, " ".join(child.content.split()), place)
                elif child.type in ("link_open", "image"):
                    yield Quote(line, str(child.attrs.get("href") or child.attrs["src"]), "link")
                elif child.type == "html_inline":
                    yield from in_html(line, child.content)


def in_html(line: int, text: str) -> Iterator[Quote]:
    """Yield what the HTML `text` links to."""
    return (Quote(line, address, "link") for address in re.findall(r'(?:src|srcset|href)="([^"]*)"', text))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of `text`."""
    found: dict[str, int] = {}
    for heading, inline in itertools.pairwise(MARKDOWN.parse(text)):
        if heading.type == "heading_open":
            words = "".join(child.content for child in inline.children or [])
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found[name] = found.get(name, -1) + 1
            if found[name]:
                found[f"{name}-{found[name]}"] = 0
    return set(found)


@cache
def text(*patterns: str) -> str:
    """Return what the project's files that match `patterns` say, on one line; Python may continue a text on the next one."""
    paths = {path for pattern in patterns for path in PROJECT.glob(pattern) if path.is_file() and path.suffix != ".pyc"}
    joined = " ".join(path.read_text() for path in sorted(paths) if path.suffix not in (".md", ".svg"))
    return re.sub(r'"\s*\n\s*f?"', "", joined).replace("\n", " ")


def sources() -> str:
    """Return what all sources say that users run or read."""
    return text("template/**/*", "containers/*", "hooks/*", ".ci/*", "copier.yml", "Makefile")


def rules(target: str) -> list[str]:
    """Return the rules that make has for `target`, and those of the targets that it needs."""
    found = [
        rule
        for name in MAKEFILES
        for rule in re.findall(
            rf"^{target}:(?!=).*\n(?:\t.*\n|#.*\n)*",
            (PROJECT / name).read_text().replace("$(LOCALDEV_PREFIX)", "dev-"),
            re.M,
        )
    ]
    needed = [name for rule in found for name in re.findall(r"(?<= )[a-z-]+(?= )", rule.split(":")[1].split("##")[0])]
    return [*found, *(rule for name in needed for rule in rules(name))]


def without(words: str, known: str) -> list[str]:
    """Return the options in `words` that are not in `known`."""
    options = re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", words)
    return [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", known)]


class Checker:
    """Says what is wrong with a quote."""

    def __init__(self, run: Run, rendered: Render) -> None:
        self.repos = {name: rendered(**answers) for name, answers in ANSWERS.items()}
        self.help = cache(
            lambda *command: run(*command, cwd=PROJECT, env={"PYTHONPATH": "tests:tests/support:bench"}).stdout
        )

    def manual(self, program: str, verb: str = "copy") -> str:
        """Return what `program` says about itself, for the scripts behind a target all that they say."""
        command = {
            "copier": (sys.executable, "-m", "copier", verb, "--help-all"),
            "host-alias": ("sh", "template/.localdev/host-alias", "--help"),
            "pytest": (sys.executable, "-m", "pytest", "-p", "conftest", "-p", "figures", "bench", "--help"),
        }
        return self.help(*command[program]).replace("[no-]", "") if program in command else text("template/**/*")

    def problems(self, page: Path, quote: Quote) -> Iterator[str]:
        """Yield what is wrong with `quote` of `page`."""
        if quote.place == "link":
            yield from self.link(page, quote.text)
            return
        yield from self.message(quote)
        for name, words in CALL.findall(quote.text):
            yield from self.call(name, words)
        if re.match("--?[a-z]|ARGS=", quote.text):
            helps = (self.manual("copier", verb) for verb in COPIER)
            known = " ".join((sources(), *helps))
            yield from (f"no option {name}" for name in without(quote.text.removeprefix("ARGS="), known))
        for name in re.findall(r"\bLOCALDEV_[A-Z_]+", quote.text):
            if not re.search(rf"\b{name}\b", sources()):
                yield f"no source reads {name}"
        for name in re.findall(rf"(?:^|(?<=[\s\"'(\[]))({FOLDERS}[\w./-]+)", quote.text):
            places = (PROJECT, PROJECT / "template", *self.repos.values())
            if (
                "NAME" not in name
                and not name.startswith("examples/rendered")
                and not any((place / name).exists() for place in places)
                and name not in sources()
            ):
                yield f"{name} is not there"

    def link(self, page: Path, address: str) -> Iterator[str]:
        """Check that a relative link leads to a file, and to a heading of it."""
        name, _, anchor = address.partition("#")
        target = page.parent / name if name else page
        if not re.match("[a-z]+:", address):
            if not target.exists():
                yield "nothing is there"
            elif anchor and anchor not in anchors(target.read_text()):
                yield f"no heading there is #{anchor}"

    def message(self, quote: Quote) -> Iterator[str]:
        """Check that the sources of a program say a message; in a table of messages, others are a part of ours, or Copier's."""
        begin, patterns = next(((b, p) for b, p in MESSAGES.items() if re.match(b, quote.text)), ("", ()))
        if patterns:
            said = re.sub(r"\$\(target ([a-z-]+)\)", r"make dev-\1", text(*patterns))
        elif quote.place == "message":
            copiers = (path.read_text() for path in Path(installed_copier.__file__).parent.glob("*.py"))
            said = " ".join([text("template/**/*"), *copiers])
        else:
            return
        for part in CHANGES.split(re.sub(f"^(?:{begin})", "", quote.text)):
            if not re.search(rf"(?<![\w-]){re.escape(part.strip())}(?![\w-])", said):
                yield f"no source says: {part.strip()}"

    def make(self, words: str) -> Iterator[str]:
        """Check that make has a target, and that its recipe reads each variable."""
        target = next((word for word in words.split() if re.fullmatch("[a-z][a-z-]*", word)), "")
        recipes = rules(target)
        if target and not recipes:
            yield f"make has no target {target}"
        for variable, value in re.findall(r"([A-Z_]+)=(\"[^\"]*\"|'[^']*'|\S*)", words) if target else []:
            if not any(re.search(rf"{variable}\b", recipe) for recipe in recipes):
                yield f"make {target} does not read {variable}"
            if variable == "ARGS":
                program, _, verb = TAKES.get(target, "scripts").partition(" ")
                yield from self.call(program, verb + " " + value.strip("\"'"))

    def call(self, program: str, words: str) -> Iterator[str]:
        """Check that `program` has the verb and the options, and this template the question that an option answers."""
        if program == "make":
            yield from self.make(words)
            return
        verbs = [word for word in words.split() if re.fullmatch("[a-z-]*[a-z]", word) and word[0] != "-"]
        known = verbs
        if program == "host-alias":
            known = ["format", *re.findall(r"^  host-alias ([a-z]+)", self.manual(program), re.M)]
        elif program == "copier":
            verbs, known = verbs[:1], COPIER
            questions = yaml.safe_load((PROJECT / "copier.yml").read_text())
            yield from (f"no question {name}" for name in re.findall(r"-d (\w+)=", words) if name not in questions)
        yield from (f"{program} has no {verb}" for verb in verbs if verb not in known)
        yield from (f"{program} has no {name}" for name in without(words, self.manual(program, *verbs[:1])))


@pytest.fixture(scope="session")
def checker(run: Run, rendered: Render) -> Checker:
    """What the pages are checked by."""
    return Checker(run, rendered)


def wrong(checker: Checker, page: Path, content: str) -> list[str]:
    """Return what is wrong with the page `content`, a line for each. What a released version said stays as it was."""
    if page.name == "CHANGELOG.md":
        content = re.sub(r"(?ms)^## (?!Unreleased\n).*", "", content)
    return [
        f"{page.name}:{quote.line}: {quote.text}: {problem}"
        for quote in quotes(content)
        for problem in checker.problems(page, quote)
    ]


def test_what_the_pages_quote_is_so(checker: Checker) -> None:
    pages = [*(PROJECT / name for name in PAGES), *(repo / ".localdev/README.md" for repo in checker.repos.values())]
    told = [line for page in pages for line in wrong(checker, page, page.read_text())]
    assert not told, "\n".join(told)


def test_a_mistake_is_refused(checker: Checker) -> None:
    for mistake in (
        "[a](CONTRIBUTING.md#rulez)", '<img src="docs/pictures.svg">', "`make dev-upp`", "```sh\n[ -f x ] || make -s dev-emv\n```",
        "`make test NO_SKIP=1`", '`make dev-update ARGS="-d web_prt=8081"`', "`make dev-down ARGS=--volume`", "`ARGS=--yess`",
        "`sh .localdev/host-alias plans`", "`copier update --trusted`", "`localdev: web does answer at 10.254.254.254:3000.`",
        "| message |\n| --- |\n| `Updating is supported in git-tracked templates` |", "`.localdev/stack/route.py`", "`LOCALDEV_PORT`",
        "```\nok    alias    10.254.254.254/32 stays on lo\n```",
    ):  # fmt: skip
        assert len(wrong(checker, PROJECT / "README.md", mistake)) == 1, mistake

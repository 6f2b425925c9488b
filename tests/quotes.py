"""What the pages quote, and what the sources say: for test_docs.py."""

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from conftest import PROJECT

MARKDOWN = MarkdownIt("commonmark").enable("table")
# A block that begins with a comment, and has a service and its port on each line, is an example of `.localdev/routes`.
ROUTES = re.compile(r"# service\b.*\n(?:[a-z][a-z0-9-]* +(?:[\w.-]+:)?\d+(?: +\S+)*\n|#.*\n|\n)*")


@dataclass(frozen=True)
class Quote:
    """Something in code style, or a link; `place` is `code`, `message` (of a table of messages), `link`, `html`, or the
    language of a block, where `text` stands for none; with `block` it is the whole block."""

    line: int
    text: str
    place: str
    page: Path
    block: bool = False


def quotes(text: str, page: Path) -> Iterator[Quote]:
    """Yield all that `text`, of the file `page`, quotes, and its links."""
    header, row, cell, row_line = "", -1, -1, 0
    for token in MARKDOWN.parse(text):
        first = token.map[0] + 1 if token.map else 0
        if token.type in ("fence", "code_block"):
            language = token.info.strip() or ("routes" if ROUTES.fullmatch(token.content) else "text")
            yield Quote(first, token.content, language, page, block=True)
            for number, line in enumerate(token.content.splitlines(), first + 1):
                if line.strip():
                    yield Quote(number, line.strip(), language, page)
        elif token.type == "html_block":
            yield from in_html(first, token.content, page)
        elif token.type == "table_open":
            row = -1
        elif token.type == "tr_open":
            row, cell, row_line = row + 1, -1, first
        elif token.type in ("th_open", "td_open"):
            cell += 1
        elif token.type == "table_close":
            row_line = 0
        elif token.type == "inline":
            header = token.content if (row, cell) == (0, 0) else header
            place = "message" if row_line and header == "message" and cell == 0 else "code"
            # Cells know no line of their own.
            yield from in_line(row_line or first, token.children or [], place, page)


def in_line(line: int, tokens: Iterable, place: str, page: Path) -> Iterator[Quote]:
    """Yield what the inline `tokens` have, which begin on `line`."""
    for token in tokens:
        if token.type == "code_inline":
            # A newline in a span is a blank in its text: then the line is the first one of the paragraph's rest.
            yield Quote(line, " ".join(token.content.split()) or token.content, place, page)
        elif token.type == "link_open":
            yield Quote(line, str(token.attrs["href"]), "link", page)
        elif token.type == "image":
            yield Quote(line, str(token.attrs["src"]), "link", page)
        elif token.type == "html_inline":
            yield from in_html(line, token.content, page)
        line += token.type in ("softbreak", "hardbreak")


def in_html(line: int, text: str, page: Path) -> Iterator[Quote]:
    """Yield what the HTML `text` links to, and its code, which nobody would check."""
    for address in re.findall(r'(?:src|srcset|href)="([^"]*)"', text):
        yield Quote(line, address, "link", page)
    if found := re.search(r"<(?:code|pre|kbd|samp)\b", text):
        yield Quote(line, found[0], "html", page)


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """Return the code blocks of `language` that the text of a page has, or only its section of that heading, in order."""
    if section:
        page = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of `text`."""
    found: dict[str, int] = {}
    tokens = MARKDOWN.parse(text)
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            words = "".join(child.content for child in inline.children or [])
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found[name] = found.get(name, -1) + 1
            if found[name]:
                found[f"{name}-{found[name]}"] = 0
    return set(found)


# --- messages ---------------------------------------------------------------------------------------------------------

# Where a message of the sources has something of the moment: of a shell, printf, Python, a page, Jinja.
HOLE = re.compile(
    r"[$][{][^}]*[}]|[$][(][^()]*[)]|[$][A-Za-z_]\w*|[$][0-9]|%[-+0-9.*]*[sd]|@[\w.]+@|[{][{].*?[}][}]|[{][^{}\s]*[}]"
)
PREFIX = re.compile(r"(?:host-alias|localdev|release|doctor): |^Exec\w+=-?")
# Words that say nothing by themselves: a literal of these only is no piece of a message.
GLUE = frozenset(
    [
        "a",
        "an",
        "and",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "not",
        "no",
        "nothing",
        "of",
        "off",
        "on",
        "or",
        "that",
        "the",
        "to",
        "with",
        "yes",
    ]
)
# Examples in messages, besides what has a digit, a dot or a slash in it.
EXAMPLE = re.compile(r"(?:web|api|admin|lo|node|LABEL)(?![\w-])")
TOKEN = re.compile(r"(?<!\w)[^\s,;()\"']*[\w/>\]*]")
Literal = tuple[str, ...]


def literals(path: Path) -> Iterator[Literal]:
    """Yield the strings that the source `path` has, each as the fixed parts around its holes, and the lines of its texts."""
    text = path.read_text()
    strings: list[str] = []
    if text.startswith("#!/usr/bin/env python3") or path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings += node.value.splitlines()
            elif isinstance(node, ast.JoinedStr):
                strings.append("".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values))
    else:
        for line in text.splitlines():
            if not re.match(r"\s*#(?!>| <|!)", line):
                found = re.findall(r'"((?:\\.|[^"\\])*)"|\'([^\']*)\'', line)
                strings += [line, *(a.replace('\\"', '"') or b for a, b in found)]
    # Of commands that are to be run together, a page may quote one.
    for string in (part for text in strings for part in {text, *re.split(r" && |; (?=sudo )", text)}):
        parts = tuple(HOLE.split(PREFIX.sub("", string.replace("\\n", "").strip("\t\n"))))
        words = re.findall(r"\w+", " ".join(parts))
        if (words or len(parts) > 1) and (not words or len(words) > 2 or not GLUE.issuperset(words)):
            yield parts


def cut(parts: Literal) -> Iterator[Literal]:
    """Yield what a page may quote of a message: up to where something of the moment follows, or a sentence ends."""
    yield (*parts[:-1], parts[-1] + "\0")
    for number, part in enumerate(parts):
        ends = [found.start() for found in re.finditer(r"[.;:]?(?= [(])|(?=[.;:] |[.]$)|(?<=[.;:])(?= )", part)]
        for end in [*ends, *([len(part.rstrip())] if number < len(parts) - 1 else [])]:
            said = (*parts[:number], part[:end])
            if len(re.findall(r"[A-Za-z]{2,}", " ".join(said))) > 2:
                yield (*said[:-1], said[-1] + "\0")


def says(sources: Iterable[Literal], message: str) -> bool:
    """Tell whether `message` is made of whole literals of `sources`, their parts in order, with examples or other literals
    in their holes; no message is made of examples alone. What is written next to each other by several commands may stand next to each other here."""
    if all(EXAMPLE.fullmatch(word) for word in re.findall(r"(?<!\S)[A-Za-z]+(?![\w./:=@-])", message)):
        return False
    message += "\0"
    usable = [parts for parts in sources if all(part in message for part in parts)]

    @cache
    def unit(start: int, depth: int) -> frozenset[int]:
        """Return where one example or literal that begins at `start` ends; `depth` literals may be inside one another."""
        ends = set()
        if (value := TOKEN.match(message, start)) and re.search(r"\d|/|\w[.]\w|^[$<]", value[0]):
            ends.add(value.end())
        if value := EXAMPLE.match(message, start):
            ends.add(value.end())
        for parts in usable if depth else [parts for parts in usable if len(parts) == 1]:
            places = {start}
            for number, part in enumerate(parts):
                if number:
                    places |= {end for place in places for end in several(place, depth - 1)}
                places = {place + len(part) for place in places if message.startswith(part, place)}
            ends |= places - {start}
        return frozenset(ends)

    @cache
    def several(start: int, depth: int) -> frozenset[int]:
        """Return where examples and literals next to each other, the first of which begins at `start`, can end."""
        found: set[int] = set()
        todo = {start}
        while todo:
            place = todo.pop()
            new = unit(place, depth) - found
            # Examples are told apart by blanks.
            new |= {end + 1 for end in new if message[end : end + 1] == " "} - found
            found |= new
            todo |= new
        return frozenset(found)

    return len(message) in several(0, 3)


@cache
def sources(*patterns: str) -> frozenset[Literal]:
    """Return the literals of the project's files that match `patterns`, whole and cut."""
    paths = [path for pattern in patterns for path in PROJECT.glob(pattern) if path.is_file() and path.suffix != ".pyc"]
    assert paths
    whole = {parts for path in paths if "README" not in path.name for parts in literals(path)}
    return frozenset(whole | {short for parts in whole for short in cut(parts)})

"""What a Markdown page quotes: code, messages and links."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt

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


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """Return the code blocks of `language` that the text of a page has, or only its section of that heading, in order."""
    if section:
        page = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


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

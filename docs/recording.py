"""`make recording`: the README's commands, typed on a machine that has nothing of ours yet, as an animated picture.

What it shows is what a terminal got in a real run: in the tests' lab, with its own engine, without the alias, by a user who
has to give sudo a password. Only the time is made up: people type evenly here, and no pause is long.
"""

import math
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pexpect
import pyte
import pytest
import yaml

from conftest import PROJECT, Render, Run
from lab import IMAGE, Lab
from machine import ALIAS_IP, retry
from needs import need_command

ADDRESS = "https://github.com/copier-host-alias/copier-host-alias.git"
COPY = f"uvx copier copy --trust {ADDRESS} my-app"
# The README has another terminal for the service, and the whole page.
SERVE = f"python3 -m http.server 3000 --bind {ALIAS_IP} &>/dev/null &"
LOOK = "curl -s http://my-app.localhost:8080/ | grep title"
SHOWN = (
    "A terminal: uvx copier copy puts the stack into my-app and asks a few questions, PostgreSQL is ticked; make dev-up "
    "shows what root will run, sudo asks for a password, and the containers start; a service is started on the alias IP, "
    "and curl gets its page through the proxy."
)

# As wide as the longest command.
ROWS, COLUMNS = 24, 92
# Seconds: between two keys, before an answer is sent, before something new is typed, the longest pause, the last screen.
KEY, THINK, READ, PAUSE, END = 0.025, 0.4, 0.8, 1.0, 5.0
PROMPT = r"\n\$ \Z"


# --- the terminal -----------------------------------------------------------------------------------------------------


class Letters(NamedTuple):
    """A part of a line in one style."""

    column: int
    text: str
    colour: str
    bold: bool
    reverse: bool


Line = tuple[Letters, ...]


class Look(NamedTuple):
    """What a terminal shows; lines count from the first one ever, and a hidden cursor is None."""

    at: float
    top: int
    cursor: tuple[int, int] | None
    lines: tuple[Line, ...]


def split(cells: Any) -> Line:
    """Return a line of the terminal in parts of one style; what is not ASCII may be of any width, so it is a part alone."""
    parts: list[Letters] = []
    for column in range(COLUMNS):
        cell = cells[column]
        look = (cell.fg, cell.bold, cell.reverse)
        blank = cell.data == " " and not cell.reverse
        if parts and parts[-1].text.isascii() and (parts[-1][2:] == look or (blank and not parts[-1].reverse)):
            parts[-1] = parts[-1]._replace(text=parts[-1].text + cell.data)
        elif not blank and cell.data:
            parts.append(Letters(column, cell.data, *look))
    return tuple(part if part.reverse else part._replace(text=part.text.rstrip()) for part in parts)


class Terminal(pyte.Screen):
    """A person at a terminal: types, waits for what has to come, and remembers each screen and how long it stood."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        """Start `command` at a terminal."""
        super().__init__(COLUMNS, ROWS)
        self.stream = pyte.Stream(self)
        self.gone: list[Line] = []
        self.looks: list[Look] = []
        self.stood = self.unseen = 0.0
        self.last = time.monotonic()
        self.child = pexpect.spawn(
            *(command[0], command[1:]), env=env, encoding="utf-8", timeout=120, dimensions=(ROWS, COLUMNS)
        )
        # What pexpect reads goes to `write`.
        self.child.logfile_read = self

    def index(self) -> None:
        """Keep the line that scrolls out of the screen; pyte calls this."""
        if self.cursor.y == ROWS - 1:
            self.gone.append(split(self.buffer[0]))
        super().index()

    def write_process_input(self, data: str) -> None:
        """Answer a program that asks where the cursor is; pyte calls this."""
        self.child.send(data)

    def write(self, text: str) -> None:
        """Show `text`; pexpect calls this. What stands for less than a tenth of a second nobody sees."""
        now = time.monotonic()
        self.unseen += now - self.last
        self.last = now
        if self.unseen >= 0.1:
            # So roughly that the next recording has the same.
            self.remember(0.1 if self.unseen < 0.4 else 0.5 if self.unseen < 1 else PAUSE)
        self.stream.feed(text)

    def flush(self) -> None:
        """Do nothing; pexpect calls this."""

    def remember(self, seconds: float) -> None:
        """Say that the screen, as it is, stood for so long; with what it stood already it is a PAUSE at most."""
        top = len(self.gone)
        cursor = None if self.cursor.hidden else (top + self.cursor.y, self.cursor.x)
        lines = tuple(split(self.buffer[row]) for row in range(ROWS))
        if not self.looks or self.looks[-1][1:] != (top, cursor, lines):
            self.looks.append(Look(self.looks[-1].at + self.stood if self.looks else 0, top, cursor, lines))
            self.stood = 0
        self.stood = min(self.stood + seconds, PAUSE)
        self.unseen, self.last = 0, time.monotonic()

    def wait(self, pattern: str) -> None:
        """Wait until `pattern` comes, and what comes together with it."""
        self.child.expect(pattern)
        self.child.expect(pexpect.TIMEOUT, timeout=0.1)

    def press(self, key: str, then: str) -> None:
        """Think, press `key`, and wait until `then` comes."""
        self.remember(THINK)
        self.child.send(key)
        self.wait(then)

    def run(self, command: str, then: str = PROMPT) -> None:
        """Type `command`, beginning at a half or whole second, and wait until `then` comes."""
        self.remember(READ)
        self.stood += -round(self.looks[-1].at + self.stood, 3) % 0.5
        for letter in command:
            self.child.send(letter)
            self.child.expect_exact(letter)
            self.remember(KEY)
        self.press("\r", then)


# --- the picture ------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, SIZE = 8.4, 18, 14
LEFT, ABOVE = 16, 40
# Of light and of dark: the background, the letters, and the names that a terminal has for colours.
COLOURS = {
    "background": ("#ffffff", "#0d1117"),
    "default": ("#1f2328", "#e6edf3"),
    "red": ("#cf222e", "#ff7b72"),
    "green": ("#116329", "#3fb950"),
    "brown": ("#9a6700", "#d29922"),
    "blue": ("#0969da", "#58a6ff"),
    "magenta": ("#8250df", "#bc8cff"),
    "cyan": ("#1b7c83", "#39c5cf"),
    "white": ("#59636e", "#b1bac4"),
}


def brightness(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG defines it."""
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, background: str, letters: str) -> str:
    """Return #rrggbb, mixed with the colour of letters until it can be read on the background."""
    for share in range(0, 101, 5):
        pairs = ((int(colour[start : start + 2], 16), int(letters[start : start + 2], 16)) for start in (1, 3, 5))
        mixed = "#" + "".join(f"{(own * (100 - share) + more * share) // 100:02x}" for own, more in pairs)
        if contrast(mixed, background) >= 4.5:
            return mixed
    return letters


def style(colours: set[str], theme: int) -> str:
    """Return the rules of CSS for the colours; theme 0 is light, 1 is dark."""
    background, letters = COLOURS["background"][theme], COLOURS["default"][theme]
    rules = [
        f".window{{fill:{background};stroke:{('#d1d9e0', '#3d444d')[theme]}}}",
        f".button{{fill:{('#d1d9e0', '#3d444d')[theme]}}}",
        f"text,#cursor,.bar{{fill:{letters}}}",
        f".reverse{{fill:{background}}}",
    ]
    for colour in sorted(colours - {"default"}):
        shade = COLOURS[colour][theme] if colour in COLOURS else readable(f"#{colour}", background, letters)
        rules.append(f".c-{colour}{{fill:{shade}}}")
    return "".join(rules)


def drawn(line: Line, row: int) -> str:
    """Return a line of the terminal as SVG. Each part has its length: fonts are not equally wide."""
    y, out = row * HEIGHT, []
    for part in line:
        text = part.text
        if part.reverse:
            out.append(
                f'<rect class="bar" x="{part.column * WIDTH:g}" y="{y}" width="{len(text) * WIDTH:g}" height="{HEIGHT}"/>'
            )
        names = [
            f"c-{part.colour}" if part.colour != "default" and not part.reverse else "",
            "bold" if part.bold else "",
            "reverse" if part.reverse else "",
        ]
        classes = " ".join(filter(None, names))
        out.append(
            f'<text x="{part.column * WIDTH:g}" y="{y + 13}"'
            + (f' class="{classes}"' if classes else "")
            + (f' textLength="{len(text) * WIDTH:g}"' if len(text) > 1 else "")
            + f">{escape(text)}</text>"
        )
    return "".join(out)


def versions(looks: list[Look], gone: list[Line]) -> dict[int, list[tuple[float, Line]]]:
    """Return what each line of the terminal has been, and since when."""
    history: dict[int, list[tuple[float, Line]]] = {}
    top = 0
    for look in looks:
        rows = [*enumerate(gone[top : look.top], top), *enumerate(look.lines, look.top)]
        top = look.top
        for row, line in rows:
            before = history.setdefault(row, [])
            if line != (before[-1][1] if before else ()):
                before.append((look.at, line))
    return history


def draw(looks: list[Look], gone: list[Line]) -> str:
    """Return the picture: every line at its place on one long page, for its time, and the page moves. Without animations it
    is the last screen.
    """
    # As the percents follow from it, it is seldom another one.
    total = 5 * math.ceil((looks[-1].at + END) / 5)
    moments: dict[str, list[str]] = {}
    lines: list[str] = []
    colours: set[str] = set()

    def percent(at: float) -> str:
        return f"{100 * at / total:.2f}".rstrip("0").rstrip(".") + "%"

    def steps(values: list[tuple[float, str]]) -> str:
        """Return keyframes: each value from its time on, where it is another one."""
        fresh = [value for place, value in enumerate(values) if not place or values[place - 1][1] != value[1]]
        return "".join(f"{percent(at)}{{{value}}}" for at, value in dict(fresh).items())

    for row, history in sorted(versions(looks, gone).items()):
        for number, ((begin, line), (end, _)) in enumerate(zip(history, [*history[1:], (None, ())], strict=False)):
            if not line:
                continue
            colours |= {part.colour for part in line}
            # Named after what it is, not when: a new recording of the same has other times.
            shown = [(0, "visibility:hidden"), (begin, "visibility:visible")]
            name, kind = f"l{row}", ""
            if end is not None:
                shown.append((end, "visibility:hidden"))
                name, kind = f"{name}-{number}", " past"
            moments.setdefault(steps(shown), []).append(name)
            lines.append(f'<g class="{name}{kind}">{drawn(line, row)}</g>')
    rules = [
        f"@keyframes {names[0]}{{{frames}}}{','.join(f'.{name}' for name in names)}{{animation-name:{names[0]}}}"
        for frames, names in moments.items()
    ]
    moves = [(look.at, f"transform:translateY({-look.top * HEIGHT}px)") for look in looks]
    places = [
        (
            look.at,
            f"transform:translate({look.cursor[1] * WIDTH:g}px,{look.cursor[0] * HEIGHT}px)"
            if look.cursor
            else "visibility:hidden",
        )
        for look in looks
    ]
    rules += [f"@keyframes page{{{steps(moves)}}}", f"@keyframes cursor{{{steps(places)}}}"]
    width, height = COLUMNS * WIDTH, ROWS * HEIGHT
    frame_width, frame_height = width + 2 * LEFT, height + ABOVE + LEFT
    newline = "\n"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {frame_width:g} {frame_height:g}" role="img" aria-label={quoteattr(SHOWN)}>
<style>
text{{font:{SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre}}
.bold{{font-weight:700}}#cursor{{opacity:.6}}.past{{visibility:hidden}}
#page{{{moves[-1][1]}}}#cursor{{{places[-1][1]}}}
{style(colours, 0)}
@media (prefers-color-scheme:dark){{{style(colours, 1)}}}
@media (prefers-reduced-motion:no-preference){{
g,#cursor{{animation:{total}s step-end infinite}}#page{{animation-name:page}}#cursor{{animation-name:cursor}}
{newline.join(rules)}
}}
</style>
<rect class="window" x=".5" y=".5" width="{frame_width - 1:g}" height="{frame_height - 1:g}" rx="8"/>
<circle class="button" cx="20" cy="20" r="6"/><circle class="button" cx="40" cy="20" r="6"/><circle class="button" cx="60" cy="20" r="6"/>
<svg x="{LEFT}" y="{ABOVE}" width="{width:g}" height="{height}" xml:space="preserve"><g id="page">
<rect id="cursor" width="{WIDTH}" height="{HEIGHT}"/>
{newline.join(lines)}
</g></svg>
</svg>
"""


def transcript(picture: str) -> list[str]:
    """Return the lines of a picture as they were in the end, without those of Compose and sudo, and without what no two
    runs have in common.
    """
    lines = []
    for group in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}g"):
        if group.get("id") or "past" in group.get("class", ""):
            continue
        line = ""
        for text in group.iter("{http://www.w3.org/2000/svg}text"):
            line = line.ljust(round(float(text.get("x", 0)) / WIDTH)) + (text.text or "")
        line = re.sub(r"(?<=clone\.)\w+|(?<=archive-v0/)[\w-]+|(?<=^\[1\] )\d+|\d+(?= packages)|\d+m?s$", "*", line)
        if not re.match(r"\[\+\]| ✔|\[sudo", line):
            lines.append(line)
    return lines


# --- the run ----------------------------------------------------------------------------------------------------------

# A home that nobody has, below /home; sudo wants to know its host by name.
SETTLE = f"""mkdir /mnt/homes /mnt/homes.work /mnt/template
mount -t overlay none -o lowerdir=/home,upperdir=/mnt/homes,workdir=/mnt/homes.work /home
useradd --create-home --shell /bin/bash me; echo me:secret | chpasswd
printf 'Defaults lecture=never\\nme ALL=(ALL) ALL\\n' >/etc/sudoers.d/me; chmod 440 /etc/sudoers.d/me
echo 127.0.1.1 laptop >>/etc/hosts
printf '[safe]\\ndirectory = *\\n[url "/mnt/template"]\\ninsteadOf = {ADDRESS}\\n' >/home/me/.gitconfig
echo 'set enable-bracketed-paste off' >/home/me/.inputrc
mkdir /home/me/.cache
"""
SHELL = "hostname laptop; exec setpriv --reuid=me --regid=me --init-groups bash --norc --noprofile -i"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says where the picture is written."""
    parser.addoption("--out", type=Path, default=PROJECT / "docs/recording.svg", help="where the recording is written")


def settle(lab: Lab, template: Path, run: Run) -> dict[str, str]:
    """Give the lab a user with a password, uvx with what it would download, and the template at its address."""
    need_command("sudo")
    cache, tools = lab.folder / "uv", Path(sys.executable).parent
    # For the Python that is in the lab, not for the tests' own.
    env = {"UV_CACHE_DIR": str(cache), "PATH": lab.env["PATH"]}
    run(tools / "uvx", "copier", "--version", cwd=lab.folder, env=env, check=True)
    # A newcomer's copier is not installed yet.
    for made in cache.glob("environments-*"):
        shutil.rmtree(made)
    lines = [SETTLE, f"cp -r {shlex.quote(str(cache))} /home/me/.cache/uv", "chown -R me: /home/me"]
    for source, target in ((template, "/mnt/template"), (tools / "uv", "/mnt/bin/uv"), (tools / "uvx", "/mnt/bin/uvx")):
        lines += [
            f"[ -e {target} ] || touch {target}",
            f"mount --bind {shlex.quote(str(source))} {target}",
        ]
    lab.root("\n".join(lines))
    keep = {name: lab.env[name] for name in ("PATH", "DOCKER_HOST")}
    return keep | {"HOME": "/home/me", "UV_OFFLINE": "1", "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ "}


def play(person: Terminal, lab: Lab) -> None:
    """Do what the README says."""
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    asked = [name for name, question in config.items() if name[0] != "_" and question.get("when") is not False]
    first = [re.escape(config[name]["help"].splitlines()[0]) for name in asked]
    person.wait(r"\$ \Z")
    person.run(COPY, first[0])
    for name, after in zip(asked, [*first[1:], PROMPT], strict=True):
        if name == "databases":
            person.press(" ", "●")
        person.press("\r", after)
    person.run("cd my-app")
    person.run("make dev-up", r"\[sudo.*: \Z")
    person.remember(READ)
    person.child.send("secret")
    person.press("\r", PROMPT)
    person.run(SERVE)
    retry(lambda: lab.reaches(3000))
    person.run(LOOK)


def test_record(
    template: Path,
    rendered: Render,
    run: Run,
    clean_env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> None:
    """Make the recording."""
    images = (IMAGE, "postgres:17-alpine")
    lab = Lab(tmp_path_factory.mktemp("lab"), clean_env, rendered, images)
    try:
        env = settle(lab, template, run)
        person = Terminal(lab.enter("unshare", "--uts", "sh", "-c", SHELL, cwd="/home/me"), env)
        play(person, lab)
        person.remember(END)
        pytestconfig.getoption("--out").write_text(draw(person.looks, person.gone))
    finally:
        lab.close()

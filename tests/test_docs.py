"""Nothing that a page quotes in code style goes unchecked: each span, and each line of a block, is of one of the kinds below,
and each kind looks whether it is so. What no kind knows is refused; say then what it is, with a kind or in OUTSIDE."""

import contextlib
import itertools
import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import copier
import pytest
import yaml

from conftest import PROJECT, Render, Run
from quotes import EXAMPLE, Quote, anchors, literals, quotes, says, sources

# Of the world outside, where nothing can be asked: what it is. What no page says any more, or a kind knows, may not stay.
OUTSIDE = {
    "## 1.2.3 -": "a heading of a changelog, which .ci/release asks for",
    "RENOVATE_ALLOW_SCRIPTS=true": "Renovate's own configuration",
    "automerge": "a setting of Renovate",
    "com.apple.servicemanagement": "a payload of macOS's profiles",
    "host.docker.internal:host-gateway": "a line of extra_hosts, by Docker",
    "~/.config/copier/settings.yml": "Copier's own file",
    "~/Library/Application Support/copier/settings.yml": "Copier's own file",
}
# A page that lands in users' repos is read as each of these makes it.
ANSWERS = {
    "defaults": {},
    "everything": {
        "databases": "[postgres,mysql,redis,mongodb]",
        "web_domain": "shop.test",
        "github_workflow": "true",
    },
    "no proxy": {"web_proxy": "none"},
}
PAGES = [
    *(path.name for path in sorted(PROJECT.glob("*.md"))),
    *(f"docs/{path.name}" for path in sorted(PROJECT.glob("docs/*.md"))),
    "bench/README.md",
    *("examples/README.md", "examples/shop/README.md"),
    *(f".localdev/README.md ({name})" for name in ANSWERS),
]
MESSAGES = {
    "host-alias": ("template/.localdev/host-alias", "template/.localdev/sh/*", "hooks/*"),
    "localdev": ("template/.localdev/**/*",),
    "doctor": ("template/.localdev/doctor/*",),
    "release": (".ci/release",),
}
QUESTIONS = yaml.safe_load((PROJECT / "copier.yml").read_text())
HOST = r"(?:[\w*<>-]*[.])*(?:localhost|test)"
LITERALS = ("template/**/*", "containers/*", "hooks/*", ".ci/*", "copier.yml", "Makefile", "tests/apps/*.py")


@dataclass
class World:
    """What the pages are held against: this project, and repos that it makes."""

    run: Run
    rendered: Render

    @cached_property
    def repos(self) -> list[Path]:
        """Return a repo for each of ANSWERS."""
        return [self.rendered(**answers) for answers in ANSWERS.values()]

    @cached_property
    def own(self) -> list[str]:
        """Return the names of this project's files."""
        names = self.run("git", "ls-files", "-co", "--exclude-standard", cwd=PROJECT, check=True).stdout.splitlines()
        return [name for name in names if (PROJECT / name).is_file()]

    @cached_property
    def files(self) -> list[str]:
        """Return every file of this project and of the repos, each with a slash before."""
        made = (path.relative_to(repo) for repo in self.repos for path in repo.rglob("*") if path.is_file())
        return [f"/{name}" for name in {*self.own, *map(str, made)}]

    @cached_property
    def words(self) -> str:
        """Return all that the sources say, on one line; a page vouches for no page, and this file for nothing."""
        texts = [
            (PROJECT / name).read_text()
            for name in self.own
            if not re.search(r"README|[.](md|svg)$|^examples/|test_docs|quotes|-lock[.]json|requirements", name)
        ]
        return " ".join(" ".join(texts).split())

    def quotes(self, page: str) -> list[Quote]:
        """Return what `page`, one of PAGES, quotes."""
        found = re.fullmatch(r"(.*) [(](.*)[)]", page)
        path = self.rendered(**ANSWERS[found[2]]) / found[1] if found else PROJECT / page
        text = path.read_text()
        if page == "CHANGELOG.md":
            text = re.sub(r"^## (?!Unreleased\n).*", "", text, flags=re.M | re.S)
        return list(quotes(text, path))

    def reads(self, name: str) -> bool:
        """Tell whether a source has the variable `name`."""
        texts = (
            (PROJECT / own).read_text()
            for own in self.own
            if re.match(r"template/|containers/|hooks/|[.]|Makefile|tests/\w+[.]py", own) and "test_docs" not in own
        )
        return any(re.search(rf"\b{name}\b", text) for text in texts)

    def says_word(self, text: str) -> bool:
        """Tell whether the sources say `text`, no part of a longer word."""
        before, after = (r"(?<![\w-])" if text[:1].isalnum() else "", r"(?![\w-])" if text[-1:].isalnum() else "")
        return bool(re.search(before + re.escape(text) + after, self.words))

    def says(self, text: str) -> bool:
        """Tell whether the sources say `text`: as it stands, with its examples as variables, or as a framework's command."""
        return self.says_word(text) or says(sources(*LITERALS), text) or self.starts_a_framework(text)

    def starts_a_framework(self, text: str) -> bool:
        """Tell whether the doctor knows the framework that the command `text` starts, and the sources its options."""
        program = "import frameworks, sys; sys.exit(frameworks.find([sys.argv[1:]]) is None)"
        with contextlib.suppress(ValueError):
            words = shlex.split(text)
            known = self.run(sys.executable, "-Bc", program, *words, cwd=PROJECT / "template/.localdev/doctor")
            return known.returncode == 0 and all(self.says_word(word) for word in words if word[0] == "-")
        return False

    @cached_property
    def helped(self) -> dict[tuple[str, ...], str]:
        """Return what was asked for its help already."""
        return {}

    def help(self, *command: str) -> str:
        """Return what `command` says of itself."""
        if command not in self.helped:
            done = self.run(*command, cwd=PROJECT, env={"PYTHONPATH": "tests:bench"})
            self.helped[command] = (done.stdout + done.stderr).replace("[no-]", "")
        return self.helped[command]

    @cached_property
    def targets(self) -> set[str]:
        """Return the targets of make, of this project and of a repo."""
        listed = self.help("make", "help") + self.help("make", "-C", str(self.repos[0]), "dev-help")
        return set(re.findall(r"^make ([a-z-]+)", listed, re.M)) | {"clean", *self.shops}

    @cached_property
    def shops(self) -> set[str]:
        """Return the targets that examples/shop has of its own."""
        return set(re.findall(r"^make ([a-z]+)", self.help("make", "-C", "examples/shop", "help"), re.M))


KINDS: list[tuple[Callable[[Quote], object], Callable[[World, Quote], str]]] = []


def kind(looks: Callable[[Quote], object]) -> Callable[[Callable], Callable]:
    """Add a kind: what `looks` so is of it, and its function says what is wrong with it, '' for nothing."""

    def add(check: Callable[[World, Quote], str]) -> Callable:
        KINDS.append((looks, check))
        return check

    return add


def like(pattern: str, *places: str) -> Callable[[Quote], object]:
    """Return what tells whether a quote is whole of `pattern`, in one of `places`."""
    return lambda quote: not quote.block and (not places or quote.place in places) and re.fullmatch(pattern, quote.text)


def kinds_of(quote: Quote) -> Iterator[Callable[[World, Quote], str]]:
    """Yield the kinds that `quote` looks like; the first decides."""
    return (check for looks, check in KINDS if looks(quote))


def problem(world: World, quote: Quote) -> str:
    """Return what is wrong with `quote`, '' for nothing."""
    if quote.text in OUTSIDE:
        return ""
    return next((check(world, quote) for check in kinds_of(quote)), "no kind knows it")


# --- the kinds: the first that knows a quote decides ------------------------------------------------------------------


@kind(lambda quote: quote.place == "html")
def code_in_html(world: World, quote: Quote) -> str:
    """Code that this file does not see."""
    return "write it in backticks"


@kind(lambda quote: quote.place == "link")
def link(world: World, quote: Quote) -> str:
    """A link: what it leads to is there, and has that anchor."""
    address, _, anchor = quote.text.partition("#")
    if re.match(r"[a-z]+:", address):
        return ""
    target = quote.page.parent / address if address else quote.page
    if not target.exists():
        return "nothing is there"
    return "" if not anchor or anchor in anchors(target.read_text()) else f"no heading there is #{anchor}"


@kind(lambda quote: quote.block and quote.place in PARSERS)
def block(world: World, quote: Quote) -> str:
    """A whole block: its language can be read."""
    try:
        return PARSERS[quote.place](world, quote.text) or ""
    except (ValueError, yaml.YAMLError, ElementTree.ParseError) as error:
        return f"it cannot be read: {error}"


@kind(lambda quote: quote.place in PARSERS and quote.place not in ("text", *SHELLS))
def line_of_a_parsed_block(world: World, quote: Quote) -> str:
    """A line of YAML and the like: commands and files of ours in it are right."""
    found = re.findall(r"\bmake dev-[\w-]+|[.]localdev/[\w./-]+", quote.text)
    value = re.sub(r"^- |^[\w.]+: ", "", quote.text)
    if quote.place == "yaml" and program(value.split()) in PROGRAMS:
        found.append(value)
    return first(problem(world, replace(quote, text=text, place="code")) for text in found)


@kind(lambda quote: quote.place == "message" or re.match("|".join(f"{name}: " for name in MESSAGES), quote.text))
def message(world: World, quote: Quote) -> str:
    """A message: of ours, or, in a table of messages, of Copier."""
    name, colon, text = quote.text.partition(": ")
    if colon and name in MESSAGES:
        return "" if says(sources(*MESSAGES[name]), text) else f"no source of {name} says that"
    files = Path(copier.__file__).parent.rglob("*.py")
    begins = any(parts[0].startswith(quote.text) for file in files for parts in literals(file))
    return "" if begins and " " in quote.text else "neither we nor Copier say that"


@kind(like(r"(?:ok|warn|FAIL) +[\w.-]+ +.*|fix +.*|[0-9]+ failures?.*|Everything works.*", "text"))
def line_of_a_report(world: World, quote: Quote) -> str:
    """A line of the doctor's report: what it finds, or a fix."""
    text = re.sub(r"^(?:ok|warn|FAIL) +[\w.-]+ +", "", quote.text)
    if found := re.fullmatch(r"fix +(.*)", text) or re.fullmatch(r"[0-9]+ failure.* Run first: (.*)", text):
        if wrong := command(world, replace(quote, text=found[1], place="code")):
            return wrong
        text = text.replace(found[1], "0") if text[0].isdigit() else ""
    said = not text or says(sources("template/.localdev/doctor/*.py", "template/.localdev/routes.awk"), text)
    return "" if said else "the doctor does not say that"


@kind(like(r"[a-z_]+(?:: |=)\S.*", "code"))
def answer(world: World, quote: Quote) -> str:
    """An answer: Copier takes it."""
    name, value = re.split(": |=", quote.text, maxsplit=1)
    if name not in QUESTIONS:
        return "" if world.says(quote.text) else f"there is no question {name}"
    try:
        world.rendered(**{name: value})
    except AssertionError as error:
        return str(error)[-300:]
    return ""


@kind(like(r"[A-Z][A-Z0-9_]+=.*|[A-Z][A-Z0-9]*_[A-Z0-9_]+", "code"))
def variable(world: World, quote: Quote) -> str:
    """A variable: of make, where a target takes the value, or one that a source reads."""
    name, _, value = quote.text.partition("=")
    if name == "ARGS":
        taken = any(make(world, [target, quote.text]) == "" for target in sorted(world.targets))
        return "" if taken else "no target of make takes it"
    known = world.reads(name) and (not value or value.isdigit() or world.says_word(value))
    return "" if known else "no source reads it"


@kind(like(r"[a-z]+://\S+"))
def url(world: World, quote: Quote) -> str:
    """A URL: of a name that leads to this machine, of a database, or one that a source has."""
    host = re.sub(r"^[a-z]+://|[:/].*", "", quote.text)
    if re.search(r"(^|[.])(localhost|test|example[.]com)$|^host-alias$", host):
        return ""
    # host-alias.conf has them as the machine sees them; a container has the service's name in the place of the address.
    conf = re.sub(r"[$][{]\w+:-(\d+)[}]", r"\1", (world.repos[1] / ".localdev/host-alias.conf").read_text())
    (databases,) = re.findall("^databases=(.*)", conf, re.M)
    pairs = [pair.split("=", 1) for pair in databases.split()]
    known = [form for name, own in pairs for form in (own, own.replace("127.0.0.1", name))]
    return "" if quote.text in known or world.says_word(quote.text) else "no source has this URL"


@kind(like(rf"{HOST}|127[.]0[.]0[.]1(?: {HOST})+", "code", "text"))
def host(world: World, quote: Quote) -> str:
    """A host below a domain that is nobody's, or a line of hosts."""
    return ""


@kind(like(r"\w+ [{] [}]", "code"))
def braces(world: World, quote: Quote) -> str:
    """A section of the proxy's configuration."""
    return "" if world.says_word(quote.text[:-2]) else "no configuration has it"


@kind(like(r"-\S.*", "code"))
def option(world: World, quote: Quote) -> str:
    """Options without their program: Copier's, or of one that a source runs."""
    words = shlex.split(quote.text)
    return "" if world.says_word(words[0]) and len(words) == 1 else call(world, ["copier", "update", *words])


@kind(like(r"(?:~|[.]{0,2})/?[\w.*@<>-]*(?:/[\w.*@<>-]*)+|[\w*-]*[.][\w.-]*[a-z][\w-]*", "code", "text"))
def file(world: World, quote: Quote) -> str:
    """A file or a folder: of this project, of a repo that it makes, or where a source says that a user has one."""
    text = quote.text.removeprefix("../")
    name = text.strip("/")
    ignored = [
        f"{folder}/{line.strip('/')}"
        for folder, file in (("", ".gitignore"), ("/.localdev", "template/.localdev/.gitignore"))
        for line in (PROJECT / file).read_text().splitlines()
    ]
    if any(known.endswith(f"/{text}") or f"/{name}/" in known for known in [*world.files, *ignored]):
        return ""
    # A new one beside those that are there.
    kin = re.escape(text).replace("NAME", "[a-z]+")
    if "NAME" in text and any(re.search(f"/{kin}", known) for known in world.files):
        return ""
    for pattern in re.findall(r"/([.]localdev/proxy/custom/[\w/]*[*][.]\w+)", world.words):
        folder = pattern.rpartition("/")[0]
        if (
            pattern.endswith(f"/{text}")
            or f"/{folder}".endswith(f"/{name}")
            or Path(".localdev", name.removeprefix(".localdev/")).match(pattern)
        ):
            return ""
    folder, _, name = text.rpartition("/")
    if re.fullmatch(r"(?:LABEL|<label>|local[.]host-alias[.][\d.]+)[.](?:plist|service)", name):
        return "" if world.says_word(folder) else "no source has this folder"
    ours = re.match(r"([.]localdev|template|tests|docs|bench|hooks|examples|[.]ci|[.]github)/", text)
    return "" if not ours and world.says_word(quote.text) else "there is no such file"


@kind(like(r"[.]{3} (.*)", "text"))
def told(world: World, quote: Quote) -> str:
    """The rest of a list, in words: the sources have its files, and each of its words."""
    return first(problem(world, replace(quote, text=text)) for text in re.findall(r"[^\s,]+", quote.text)[1:])


@kind(lambda quote: not quote.block and (quote.place in SHELLS or " " in quote.text))
def command(world: World, quote: Quote) -> str:
    """A command, or anything else of several words: its program takes it, or a source says it."""
    try:
        called = list(commands(quote.text.removeprefix("$ ")))
    except ValueError:
        called = []
    paths = re.findall(r"(?<![\w.])/(?:etc|Library|sbin|bin|usr)/[\w./-]+", quote.text)
    if wrong := first(file(world, replace(quote, text=name)) for name in paths):
        return wrong
    if quote.place in SHELLS or any(program(words) in PROGRAMS for words in called):
        return first(call(world, words) for words in called)
    return "" if world.says(quote.text) else "no source says that"


@kind(like(r".+"))
def word(world: World, quote: Quote) -> str:
    """Any other word: it stands in the sources."""
    said = all(world.says_word(part) for part in re.split(r"<\w+>", quote.text))
    return "" if said else "it is not in the sources"


# --- commands ---------------------------------------------------------------------------------------------------------


def code(text: str) -> Quote:
    """Return `text` as a page would quote it."""
    return Quote(0, text, "code", PROJECT)


def first(problems: Iterable[str]) -> str:
    """Return the first problem, '' when there is none."""
    return next(filter(None, problems), "")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command in `text`, a line of shell; those in `$( )` come first."""
    text = re.sub(r"[$][(][(].*?[)][)]", "0", text)
    while inner := re.search(r"[$][(]([^()]*)[)]", text):
        yield from commands(inner[1])
        text = text.replace(inner[0], "SAID")
    lexer = shlex.shlex(re.sub(r"\d?>&?\d?", ">", text), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not re.fullmatch(r"[();<>|&]+", word):
            words.append(word)
        elif "<" not in word and ">" not in word:
            while words and (words[0] in KEYWORDS or re.match(r"[a-z_]+=", words[0])):
                del words[0]
            if words:
                yield words[1:] if words[0] == "sudo" and program(words[1:]) in PROGRAMS else words
            words = []


def program(words: list[str]) -> str:
    """Return the name of the program that `words` call, '' for none."""
    return words[0].rpartition("/")[2] if words else ""


def call(world: World, words: list[str]) -> str:
    """Return what is wrong with the simple command `words`."""
    for word in words:
        ours = re.search(r"(?:^|/)([.]localdev/[\w./-]*|[.]copier-answers[\w.-]+)$", word)
        looked_at = url if re.match(r"https?://", word) else file if ours and "$" not in word else None
        if looked_at and (wrong := looked_at(world, code(ours[1] if ours else word))):
            return f"{word}: {wrong}"
    while re.match(r"[A-Z_]+=", words[0]):
        if wrong := variable(world, code(words.pop(0))):
            return wrong
    if program(words) in PROGRAMS:
        return PROGRAMS[program(words)](world, words[1:])
    text = shlex.join(words)
    return "" if world.says(" ".join(words)) or world.says(text) else f"no source says: {text}"


def options(program: str, help: str, words: list[str]) -> str:
    """Return which options among `words` do not stand in `help`, what `program` says of itself."""
    given = [word.split("=")[0] for word in words if re.match(r"-+[A-Za-z]", word)]
    # Where there is no -sf, it is -s and -f.
    short = [[word] if f" {word}" in help or word[1] == "-" else [f"-{c}" for c in word[1:]] for word in given]
    unknown = [word for word in itertools.chain(*short) if not re.search(rf"(?<![\w-]){word}(?![\w-])", help)]
    return f"{program} has no {' '.join(unknown)}" if unknown else ""


def make(world: World, words: list[str]) -> str:
    """make: there is the target, its recipe reads each variable, and the commands that come of it are right."""
    named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    variables = [word for word in words if "=" in word]
    if unknown := set(named) - world.targets:
        return f"make has no target {' '.join(unknown)}"
    if wrong := options("make", world.help("make", "--help"), words):
        return wrong
    folder = world.repos[0] if any(name.startswith("dev-") for name in named) else PROJECT
    folder = PROJECT / "examples/shop" if world.shops.intersection(named) else folder
    plain = world.help("make", "-C", str(folder), "-n", *named)
    for variable in variables:
        recipe = world.help("make", "-C", str(folder), "-n", *named, variable)
        if recipe == plain and f"${variable.split('=')[0]}" not in recipe.replace("$$", "$"):
            return f"make {' '.join(named)} does not read {variable}"
        for line in set(recipe.splitlines()) - set(plain.splitlines()):
            if wrong := first(call(world, called) for called in commands(line)):
                return wrong
    return ""


def shell(world: World, words: list[str]) -> str:
    """sh: there is the script, and it knows the words behind it."""
    script = words[0]
    if script.endswith(".localdev/host-alias"):
        return host_alias(world, words[1:])
    if script.endswith(".localdev/sh/stack.sh"):
        if words[1] == "copier":
            return copier_(world, words[2:])
        behind = words[words.index("--") + 1 :] if "--" in words else []
        into = {"up": docker, "status": docker, "doctor": python}.get(words[1], docker)
        before = {
            "up": ["compose", "up"],
            "down": ["compose", "down"],
            "status": ["compose", "ps"],
            "doctor": [".localdev/doctor"],
        }
        return into(world, [*before.get(words[1], []), *behind]) if behind else ""
    found = next(
        (PROJECT / folder / script for folder in ("", "template") if (PROJECT / folder / script).is_file()), None
    )
    return options(script, found.read_text(), words[1:]) if found else f"there is no script {script}"


def host_alias(world: World, words: list[str]) -> str:
    """host-alias: its manual has the verb and the options."""
    manual = world.help("sh", "template/.localdev/host-alias", "--help")
    verbs = re.findall(r"^  host-alias ([a-z]+)", manual, re.M)
    unknown = [word for word in words if word[0] != "-" and word not in [*verbs, "format"]]
    return f"host-alias has no {unknown[0]}" if unknown else options("host-alias", manual, words)


def copier_(world: World, words: list[str]) -> str:
    """copier: it has the command and its options, and takes the answers."""
    manual = world.help(sys.executable, "-m", "copier", words[0], "--help-all")
    if f" {words[0]} 9" not in manual:
        return f"copier has no {words[0]}"
    given = [after for word, after in itertools.pairwise(words) if word in ("-d", "--data")]
    return options("copier", manual, words) or first(answer(world, code(text)) for text in given)


def python(world: World, words: list[str]) -> str:
    """python3: the module or the doctor has the options; a framework's script is known."""
    if words[0] == "-m":
        return options(words[1], world.help("python3", *words[:2], "--help"), words[2:])
    if words[0].endswith(".localdev/doctor"):
        return options("the doctor", world.help("python3", "-B", "template/.localdev/doctor", "--help"), words[1:])
    return "" if world.says(shlex.join(["python3", *words])) else "no source says that"


def pytest_(world: World, words: list[str]) -> str:
    """pytest: it, and the plugins that are named, have the options."""
    plugins = [word for pair in itertools.pairwise(words) if pair[0] == "-p" for word in pair]
    files = [word for word in words if word.endswith(".py")]
    return options("pytest", world.help(sys.executable, "-m", "pytest", *plugins, *files, "--help"), words)


def asking(program: str, *how: str) -> Callable[[World, list[str]], str]:
    """Return what asks `program`, where it is on this machine, for the help of its command, by the option `how`."""

    def ask(world: World, words: list[str]) -> str:
        while words[:1] == ["-C"]:
            words = words[2:]
        named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)][: 2 if words[:1] == ["compose"] else 1]
        if not shutil.which(program):
            return ""
        manual = world.help(program, *([] if program == "curl" else named), *how)
        missing = (
            named and program != "curl" and not re.search(rf"usage: +{' '.join([program, *named])}\b", manual, re.I)
        )
        return f"{program} has no {' '.join(named)}" if missing else options(program, manual, words)

    return ask


docker = asking("docker", "--help")


KEYWORDS = frozenset(["if", "then", "else", "elif", "do", "while", "until", "!", "exec"])
SHELLS = ("sh", "console")
# What every shell has: `sh -n` looked at the block.
BUILTINS = "cd test [ echo printf pwd eval continue for fi done mktemp tail grep source"
PROGRAMS = {
    "make": make,
    "sh": shell,
    "host-alias": host_alias,
    "copier": copier_,
    "uvx": call,
    "pipx": lambda world, words: call(world, words[1:]),
    "python3": python,
    "pytest": pytest_,
    "git": asking("git", "-h"),
    "docker": docker,
    "curl": asking("curl", "--help", "all"),
    "mkcert": asking("mkcert", "-help"),
    # A source reads the variable.
    "export": lambda world, words: first(variable(world, code(word)) for word in words),
    **dict.fromkeys(BUILTINS.split(), lambda world, words: ""),
}


def in_a_repo(*command: str) -> Callable[[World, str], str]:
    """Return what has `command` read a block, from its standard input, in a repo."""

    def read(world: World, text: str) -> str:
        done = world.run(*command, cwd=world.repos[0], input=text)
        return "" if done.returncode == 0 else done.stderr

    return read


def routes(world: World, text: str) -> str:
    """Return what routes.awk does not like in the example `text`, and that it is no example when there is no route."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "routes").write_text(text)
        here = world.repos[0] / ".localdev"
        program = ("awk", "-v", "want=urls", "-f", here / "routes.awk", here / "host-alias.conf", "routes")
        return world.run(*program, cwd=Path(folder)).stderr


PARSERS = {
    "sh": in_a_repo("sh", "-n"),
    "console": lambda world, text: "",
    "text": lambda world, text: "",
    "routes": routes,
    "make": in_a_repo("make", "-nf", "-", "dev-help"),
    "yaml": lambda world, text: yaml.safe_load(text) and "",
    "json": lambda world, text: json.loads(text) and "",
    "xml": lambda world, text: ElementTree.fromstring(f"<all>{text}</all>") and "",
    "mermaid": lambda world, text: "",
}

# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def world(run: Run, rendered: Render) -> World:
    """What the pages are held against."""
    return World(run, rendered)


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_quotes_is_so(page: str, world: World) -> None:
    wrong = {quote: problem(world, quote) for quote in world.quotes(page)}
    if told := [f"{page}:{quote.line}: `{quote.text}`: {what}" for quote, what in wrong.items() if what]:
        pytest.fail("\n".join([*told, "Correct it, or say in tests/test_docs.py what it is"]), pytrace=False)


def test_what_is_of_the_world_outside_is_still_quoted_and_of_no_kind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [quote for page in PAGES for quote in world.quotes(page) if quote.text in OUTSIDE]
    assert set(OUTSIDE) - {quote.text for quote in found} == set()
    monkeypatch.setattr(sys.modules[__name__], "OUTSIDE", {})
    assert [quote.text for quote in found if not problem(world, quote)] == []


@pytest.mark.parametrize(
    ("fine", "wrong"),
    [
        ("`make dev-up`", "`make dev-upp`"),
        ("`make test NO_SKIPS=1`", "`make test NO_SKIP=1`"),
        ('`make dev-update ARGS="-d web_port=8081"`', '`make dev-update ARGS="-d web_prt=8081"`'),
        ('`make dev-update ARGS="-d web_port=8081"`', '`make dev-update ARGS="-d web_port=80810"`'),
        ("`make dev-doctor ARGS=--json`", "`make dev-doctor ARGS=--jsn`"),
        ("`make dev-down ARGS=--volumes`", "`make dev-down ARGS=--volume`"),
        ("`ARGS=--yes`", "`ARGS=--yess`"),
        ("`sh .localdev/host-alias plan`", "`sh .localdev/host-alias plans`"),
        ("`/bin/sh /opt/x/.localdev/host-alias down --yes`", "`/bin/sh /opt/x/.localdev/host-alias down --no`"),
        ("`copier update --trust`", "`copier update --trusted`"),
        ("`uvx copier copy`", "`uvx copier paste`"),
        ("`git push --atomic origin main`", "`git push --atom origin main`"),
        ("`curl -sf http://web.shop.test/`", "`curl -sfW http://web.shop.test/`"),
        ("`docker compose up --wait`", "`docker compose up --waits`"),
        ("`python3 -m http.server 3000 --bind 10.254.254.254`", "`python3 -m http.server 3000 --bid 10.254.254.254`"),
        ("`npx vite --port 3000 --host 10.254.254.254`", "`npx vita --port 3000 --host 10.254.254.254`"),
        ("`export LOCALDEV_HOST=host-gateway`", "`export LOCALDEV_HOST=host-gate`"),
        ("`localdev: no route leads here`", "`localdev: no route leads there`"),
        (
            "`host-alias: 10.254.254.254 is not on lo0 and nothing adds it at boot. Run: make dev-alias`",
            "`host-alias: 10.254.254.254 is not on lo0 and nothing adds it at start. Run: make dev-alias`",
        ),
        ("`localdev: web does not answer at 10.254.254.254:3000.`", "`localdev: web does answer at 10.254.254.254:3000.`"),
        ("`release: the work tree changed during the tests. Run this again`", "`release: the tree changed during the tests. Run this again`"),
        ("| message |\n| --- |\n| `Updating is only supported in git-tracked templates` |", "| message |\n| --- |\n| `web` |"),
        ("```\nok    alias    10.254.254.254/32 is on lo\n```", "```\nok    alias    10.254.254.254/32 is at lo\n```"),
        ("```\n# service\nweb 3000 /\n```", "```\n# service\nweb 3000 /x//y\n```"),
        ("```\n# service\nweb 3000 /\n```", "```\n# service\nweb three /\n```"),
        ("```sh\nmake dev-up\n```", "```sh\nif make dev-up\n```"),
        ("```sh\n[ -f x ] || make -s dev-env\n```", "```sh\n[ -f x ] || make -s dev-emv\n```"),
        ("```yaml\ninclude: [.localdev/compose.yaml]\n```", "```yaml\ninclude: [.localdev/compose.yaml\n```"),
        ("```yaml\ninclude: [.localdev/compose.yaml]\n```", "```yaml\ninclude: [.localdev/composed.yaml]\n```"),
        ("```yaml\n- git clone --depth 1 x\n```", "```yaml\n- git clone --deep 1 x\n```"),
        ("```make\ninclude .localdev/localdev.mk\n```", "```make\nincludes .localdev/localdev.mk\n```"),
        ("```json\n{}\n```", "```toml\na = 1\n```"),
        ("`.localdev/routes.awk`", "`.localdev/route.awk`"),
        ("`tests/mac/confirm`", "`tests/mac/confirms`"),
        ("`containers/NAME.jinja`", "`containers/NAME.yaml`"),
        ("`make web`", "`make webb`"),
        ("`LABEL.plist`", "`LABLE.plist`"),
        ("`web_proxy`", "`web_proxi`"),
        ("`web_proxy: none`", "`web_proxy: caddy`"),
        ("`LOCALDEV_HTTP_PORT`", "`LOCALDEV_PORT`"),
        ("`redis://:dev@redis:6379/0`", "`redis://:dev@redis:6380/0`"),
        ("`http://web.my-app.localhost:8080/`", "`http://web.my-app.com:8080/`"),
        ("[a](CONTRIBUTING.md#rules)", "[a](CONTRIBUTING.md#rulez)"),
        ("[a](docs/macos.md)", "[a](docs/windows.md)"),
        ("![a](docs/picture.svg)", "![a](docs/pictures.svg)"),
        ("`make dev-up`", "<code>make dev-up</code>"),
        ("text", "`some words that nobody said before`"),
        ("`sudo rm /etc/systemd/system/LABEL.service`", "`sudo rm /etc/systemd/systems/LABEL.service`"),
        ("text", "`nobody's-word`"),
    ],
)  # fmt: skip
def test_one_mistake_is_refused(world: World, fine: str, wrong: str) -> None:
    page = PROJECT / "README.md"
    told = {text: [problem(world, quote) for quote in quotes(text, page)] for text in (fine, wrong)}
    assert set(told[fine]) <= {""}, told
    assert set(told[wrong]) - {""}, told


def test_a_changed_word_in_any_message_of_the_pages_is_refused(world: World) -> None:
    passed = []
    said = [quote for page in PAGES for quote in world.quotes(page) if next(kinds_of(quote), None) is message]
    assert len(said) > 5
    for quote in said:
        words = quote.text.split(" ")
        for number in range(1, len(words)):
            changed = replace(quote, text=" ".join([*words[:number], "other", *words[number + 1 :]]))
            if re.fullmatch("[A-Za-z]+[.,:;]?", words[number]) and not problem(world, changed):
                passed.append((quote.text, words[number]))
    # A name in a message may be another one.
    assert [(text, name) for text, name in passed if not EXAMPLE.match(name)] == []

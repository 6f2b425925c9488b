"""Fixtures for all tests: a tagged clone of the working tree, and repos generated from it. Nothing reads the user's own
settings, and nothing is written outside of pytest's temporary folders."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Copier's git reads nothing of the user's, either: it takes the environment when it is imported.
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
# A user of Debian does not have these in PATH, and nor has root after a plain `su`. nginx and nft are there.
os.environ["PATH"] += ":/usr/sbin:/sbin"

import pytest
from copier import Settings, run_copy

import fast_copier
from apps import Apps
from box import Box, need_box
from host import ALIAS_IP, has_alias
from needs import NIGHTLY, need, need_command, need_engine, need_node

PROJECT = Path(__file__).parents[1]
LOCALDEV = PROJECT / "template/.localdev"
# What Copier reads of the project.
PARTS = ("copier.yml", "containers", "hooks", "template")
# The commands that requirements-test.txt brings.
TOOLS = Path(sys.executable).parent

# Answers to the questions of copier.yml that are all accepted.
GOOD = {
    "project_slug": ["a", "my-app", "a1", "9lives", "a" * 40],
    "alias_ip": [
        *("10.254.254.254", "169.254.254.254", "10.0.0.1", "10.1.2.3", "192.0.2.2", "198.51.100.254", "203.0.113.113"),
        *("10.254.254.25", "169.254.1.3"),
    ],
    "alias_label": [
        *("local.host-alias.10.254.254.254", "co.cozy.add-lo0-alias-for-docker", "Com.Example.HostAlias", "a.b"),
        "x." + "y" * 98,
    ],
    "native_services": ["web:3000", "web:1 api:65535", "", "a-b:80  c1:443 ", "w" * 31 + ":1"],
    "web_domain": ["my-app.localhost", "shop.test", "a.b-c.example.com", "9.io", "x." + "y" * 63, "1.e5", "a.0xyz"],
    "web_port": ["1", "80", "8080", "65535"],
    "databases": ["[]", "[postgres]", "[postgres, mysql, redis, mongodb]"],
    "web_proxy": ["nginx", "none"],
}

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C; some tests type it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure (CI)")


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("engine"):
        item.fixturenames.insert(0, "alias")


@cache
def has_changed(*paths: str) -> bool:
    """Tell whether one of `paths` changed in the last 30 commits, or since; where git cannot tell, it did."""
    status = ["git", "status", "--porcelain", "--", *paths]
    history = ["git", "log", "--oneline", "HEAD~30..HEAD", "--", *paths]
    done = [subprocess.run(words, cwd=PROJECT, capture_output=True, check=False) for words in (status, history)]
    return any(one.returncode != 0 or one.stdout for one in done)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests whose files have not changed, see the mark; at night, and where their file is named, they run."""
    marks = {item: item.get_closest_marker("changes") for item in items}
    named = {item for item in items if any(item.path.name in argument for argument in config.args)}
    left = [
        item
        for item, mark in marks.items()
        if mark and not NIGHTLY and item not in named and not has_changed(*mark.args)
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """End with what was skipped, a line for each reason."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section(f"{reasons.total()} skipped")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips is set: {report.longrepr[2] if report.longrepr else ''}"
    return report


@pytest.fixture(scope="session")
def clean_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without the user's settings of git and Copier, and without what changes our scripts' behaviour."""
    home = tmp_path_factory.mktemp("home")
    (home / "copier.yml").write_text("{}\n")
    (home / "gitconfig").write_text(
        "[user]\nname = A Tester\nemail = tester@example.com\n[init]\ndefaultBranch = main\n[safe]\ndirectory = *\n"
        "[maintenance]\nauto = false\n"
    )
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOCALDEV_", "COMPOSE", "XDG_", "GIT_"))
    }
    for name in ("CI", "NO_COLOR", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS", "DEST", "NO_SKIPS"):
        keep.pop(name, None)
    return keep | {
        "HOME": str(home),
        # Compose is a plugin of the user's own Docker configuration.
        "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker")),
        "COPIER_SETTINGS_PATH": str(home / "copier.yml"),
        "COPIER_CACHE_DIR": str(home / "cache"),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONWARNINGS": "error::DeprecationWarning:jinja2",
    }


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run(clean_env: dict[str, str]) -> Run:
    """Runs a command without a terminal and returns its result; `env` adds to the clean environment."""

    def run(
        *command: str | Path, cwd: Path, env: dict[str, str] | None = None, check: bool = False, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=clean_env | (env or {}),
            stdin=more.pop("stdin", subprocess.DEVNULL if "input" not in more else None),
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
            **more,
        )
        if check:
            assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def copy_files(folder: Path, run: Run, *names: str) -> None:
    """Copy what is in `names` of the working tree into `folder`, uncommitted changes included, and what git ignores not."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", "--", *names, cwd=PROJECT, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def made_release(folder: Path, run: Run, *names: str) -> Path:
    """Return `folder` after `names` of the working tree became release v1.0.0 in it."""
    copy_files(folder, run, *names)
    run("git", "init", "-q", cwd=folder, check=True)
    run("git", "add", "-A", cwd=folder, check=True)
    run("git", "commit", "-qm", "all", cwd=folder, check=True)
    run("git", "tag", "v1.0.0", cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A clone of the whole working tree as release v1.0.0."""
    return made_release(tmp_path_factory.mktemp("project") / "copier-host-alias", run, ".")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """What Copier reads of `project`: an update clones the template five times."""
    return made_release(tmp_path_factory.mktemp("clone") / "copier-host-alias", run, *PARTS)


@pytest.fixture
def own_template(template: Path, tmp_path: Path) -> Path:
    """A template of the test's own, to make releases of."""
    return Path(shutil.copytree(template, tmp_path / "template"))


@pytest.fixture(scope="session")
def plain_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a plain folder, which Copier takes as it is: without a clone a copy costs a third."""
    folder = tmp_path_factory.mktemp("plain") / "copier-host-alias"
    return Path(shutil.copytree(template, folder, ignore=shutil.ignore_patterns(".git")))


@pytest.fixture(scope="session")
def copier(run: Run) -> Run:
    """Runs Copier's command line, as users do."""

    def copier(*arguments: str | Path, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(*fast_copier.COMMAND, *arguments, cwd=cwd, **more)

    return copier


def as_data(answers: dict[str, Any]) -> list[str]:
    """Return `answers` as Copier's -d options."""
    return [f"-d{name}={value}" for name, value in answers.items()]


Render = Callable[..., Path]


@pytest.fixture(scope="session")
def rendered(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Returns a repo generated with the given answers, made once per session: read it, don't write to it.

    Not by Copier's command line, which costs a second more each; `copier` is for what that does.
    """
    made: dict[str, Path] = {}

    def rendered(**answers: Any) -> Path:
        key = repr(sorted(answers.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("rendered") / "my app's repo"
            run_copy(
                str(template), made[key], data=answers, defaults=True, unsafe=True, quiet=True, skip_tasks=True,
                settings=Settings(),
            )  # fmt: skip
        return made[key]

    return rendered


@pytest.fixture
def repo(rendered: Render, tmp_path: Path) -> Render:
    """Returns a repo of the test's own, generated with the given answers; its path has a space and a quote."""

    def repo(**answers: Any) -> Path:
        return Path(shutil.copytree(rendered(**answers), tmp_path / "my app's repo"))

    return repo


@pytest.fixture
def box(repo: Render, tmp_path: Path, clean_env: dict[str, str]) -> Iterator[Box]:
    """A box with a repo generated from the defaults, which the user of the box reaches through /mnt only."""
    need_box(firewall=True)
    made = Box(repo(), tmp_path, clean_env)
    yield made
    made.close()


@pytest.fixture(scope="session")
def apps(clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Apps:
    """Applications of common frameworks, ready to be started."""
    need_node(20, 19)
    need_command("rails", "ruby-railties puma")
    return Apps(tmp_path_factory.mktemp("frameworks"), clean_env)


@pytest.fixture(scope="session")
def alias(run: Run) -> Iterator[None]:
    """The alias IP on this machine for the tests of the engine; one that was there before stays.

    The address alone: the guard that host-alias adds is a change of the firewall, so its tests are in namespaces.
    """
    need_engine()
    need_command("curl")
    if has_alias():
        yield
        return
    root = sys.platform == "linux" and os.geteuid() == 0
    need(root, f"the alias {ALIAS_IP}", "make dev-alias in a generated repo, or sudo make test")
    address = (f"{ALIAS_IP}/32", "dev", "lo", "scope", "host")
    run("ip", "address", "add", *address, cwd=PROJECT, check=True)
    yield
    run("ip", "address", "delete", *address[:3], cwd=PROJECT, check=True)
    assert not has_alias()


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """Return the code blocks of `language` that the text of a page has, or only its section of that heading, in order."""
    if section:
        page = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)

"""The hook around a generation. Copier runs it in the user's repo with its own Python, so Copier and PyYAML are there.

    generation.py after ANSWERS_FILE    once after every copy and update: says how things stand and what to do next
    generation.py before ANSWERS_FILE [WEB_PROXY]
                                        once before an update changes anything: refuses where files would be lost, or an answer
                                        is no longer a choice; WEB_PROXY is what the user answered with -d

Read-only, never root, never a prompt. `after` always exits 0: a task that fails makes Copier delete a new project, and
leaves an updated one half done. `before` exits 1 when an update would lose what git does not have: generated files that git
ignores are deleted without a word. Copier would replace an answer that is no longer a choice by the default, also without a
word. When `before` exits 1, Copier stops, and has changed nothing yet.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).resolve().parents[1]
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
WORKFLOW = ".github/workflows/localdev-update.yml"
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
ROUTES = ".localdev/routes"
OUR_COMPOSE = ".localdev/compose.yaml"
SNIPPETS = ".localdev/proxy/custom/"


def git(root: Path, *arguments: str, stdin: str = "") -> str:
    """Return what git prints for `arguments` in `root`; "" where there is no git, no repository or nothing to print."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, input=stdin.encode(), capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def decoded(file: Path) -> str:
    """Return the text of `file`, whatever bytes are in it."""
    return file.read_bytes().decode(errors="replace")


def mapping(text: str) -> dict[str, Any]:
    """Return the YAML mapping in `text`, {} when it is something else: a user's file may be broken or half merged."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def some(names: Iterable[str]) -> str:
    """Return `names` as part of a line: all when they are few, else the first three and how many more."""
    first, more = sorted(names)[:4], len(set(names)) - 3
    return ", ".join(first) if more <= 1 else f"{', '.join(first[:3])} and {more} more"


def generated(root: Path, answers_file: str) -> list[str]:
    """Return the files of the repo that the template has, too: what an update may write or delete."""
    folder = SOURCE / "template"
    names = (str(path.relative_to(folder)).removesuffix(".jinja") for path in folder.rglob("*"))
    names = (name.replace("{{ _copier_conf.answers_file }}", answers_file) for name in names)
    return sorted(name for name in names if (root / name).is_file())


# --- an answer that is no longer a choice -----------------------------------------------------------------------------


def refused_answer(root: Path, answers_file: str, web_proxy: str) -> list[str]:
    """Return what to answer in a repo with Caddy, which earlier versions had; `web_proxy` is a new answer, "" for none."""
    if (web_proxy or mapping(decoded(root / answers_file)).get("web_proxy")) != "caddy":
        return []
    return [
        "Nothing was updated: web_proxy is caddy, which is no longer a choice. Answer nginx or none: "
        'make dev-update ARGS="-d web_proxy=nginx"'
    ]


# --- files that git ignores -------------------------------------------------------------------------------------------


def ignored(root: Path, names: list[str], prefix: str = "") -> dict[str, set[str]]:
    """Return the untracked ones of `names`, below `prefix`, that git ignores in `root`, by the rule that does it."""
    asked = "\0".join(prefix + name for name in names)
    fields = git(root, "check-ignore", "--verbose", "-z", "--stdin", stdin=asked).split("\0")
    found: dict[str, set[str]] = {}
    for file, line, pattern, name in zip(*(iter(fields),) * 4, strict=False):
        if not pattern.startswith("!"):
            found.setdefault(f"{pattern} in {file}, line {line}", set()).add(name.removeprefix(prefix))
    return found


def ignored_everywhere(root: Path, names: list[str]) -> dict[str, set[str]]:
    """Return those of `names` that git ignores in every repository of this machine, by the rule that does it.

    Copier compares two copies of the template in new repositories of its own, which only such rules reach; that the user's
    repository has the file tracked does not help there.
    """
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "init", "--quiet")
        return ignored(Path(folder), names, git(root, "rev-parse", "--show-prefix").strip("\n"))


def refusals(root: Path, answers_file: str) -> list[str]:
    """Return one line for each rule of git that would have an update lose something of the user's, and what to do."""
    names = generated(root, answers_file)
    lines = [
        f"Nothing was updated: git ignores {some(files)} ({rule}), so an update would delete what it does not change. "
        "Change that rule, and commit the files"
        for rule, files in ignored(root, names).items()
    ]
    return lines or [
        f"Nothing was updated: git on this machine ignores {some(files)} in every repo ({rule}), so an update would drop "
        "your edits. Change that rule"
        for rule, files in ignored_everywhere(root, names).items()
    ]


def warnings(root: Path, answers_file: str) -> list[str]:
    """Return one line for each rule of git that matches generated files."""
    return [
        f"Git ignores {some(files)} ({rule}): no teammate gets that, and updates will stop. Change that rule, and commit"
        for rule, files in ignored(root, generated(root, answers_file)).items()
    ]


# --- what an update could not merge -----------------------------------------------------------------------------------


def conflicts(root: Path, answers_file: str) -> list[str]:
    """Return which files Copier left with conflict markers and how to go on: it exits 0 with them, and says nothing."""
    unmerged = {line.split("\t", 1)[1] for line in git(root, "ls-files", "-uz", "--", ".").split("\0") if line}
    rejected = {str(path.relative_to(root)) for path in (root / ".localdev").rglob("*.rej")}
    rejected |= {f"{name}.rej" for name in generated(root, answers_file) if (root / f"{name}.rej").is_file()}
    lines = []
    if unmerged:
        lines.append(
            f"Conflicts in: {some(unmerged)}. Resolve them (git mergetool, or edit and git add), then: make dev-up"
        )
    if rejected:
        lines.append(
            f"Your edits that did not fit: {some(rejected)}. Put them in by hand, delete the .rej files, then: make dev-up"
        )
    return lines


def lost_edits(root: Path, answers_file: str) -> list[str]:
    """Return which files this update removed although the user had edited them: Copier deletes them without a word."""
    gone = git(root, "diff", "--name-only", "--relative", "--diff-filter=D", "-z", "HEAD", "--", ".").split("\0")
    gone = [name for name in gone if name]
    before = mapping(git(root, "show", f"HEAD:./{answers_file}"))
    if not gone or "_commit" not in before:
        return []
    from copier import run_copy  # takes half a second

    with tempfile.TemporaryDirectory() as folder:
        answers = {name: value for name, value in before.items() if not name.startswith("_")}
        run_copy(
            str(SOURCE), folder, answers, answers_file=answers_file, vcs_ref=before["_commit"], defaults=True,
            unsafe=True, skip_tasks=True, quiet=True,
        )  # fmt: skip
        old = Path(folder)
        edited = [
            name
            for name in gone
            if not (old / name).is_file() or git(root, "show", f"HEAD:./{name}") != decoded(old / name)
        ]
    if not edited:
        return []
    commit = git(root, "rev-parse", "--short", "HEAD").strip()
    return [f"No longer in the template, but edited by you: {some(edited)}. Yours: git show {commit}:./{edited[0]}"]


# --- what stands in the user's own files ------------------------------------------------------------------------------


def first_file(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of `names` that is a file in `root`, compared as written even on a case-insensitive disk."""
    present = {path.name for path in root.iterdir() if path.is_file()}
    return next((root / name for name in names if name in present), None)


def missing_includes(root: Path) -> list[str]:
    """Return one line for each of the user's own files that does not include ours yet: the line to add to it."""
    lines = []
    makefile = first_file(root, MAKEFILES)
    if makefile and not re.search(r"^-?include\s.*[.]localdev/localdev\.mk", decoded(makefile), re.M):
        lines.append(f"Add to {makefile.name}:  include .localdev/localdev.mk")
    compose = first_file(root, COMPOSE_FILES)
    if compose and ".localdev/compose.yaml" not in decoded(compose):
        lines.append(f"Add to {compose.name}:  include: [.localdev/compose.yaml]")
    return lines


def service_clashes(root: Path) -> list[str]:
    """Return one line for each service name that the repo's own Compose file takes from ours: Compose refuses both."""
    compose = first_file(root, COMPOSE_FILES)
    ours = mapping(decoded(root / OUR_COMPOSE)).get("services") or {}
    theirs = mapping(decoded(compose)).get("services") if compose else None
    return [
        f"The service {name} is in {compose.name} and in .localdev/compose.yaml: rename yours in {compose.name}"
        for name in sorted(set(ours) & set(theirs or {}))
        if compose
    ]


def name_clashes() -> list[str]:
    """Return one line for each service of the user's that has a volume or a name of ours, as Compose reads the files here.

    Without Compose, or where a file has an error, nobody knows: `make dev-up` asks again before it starts anything.
    """
    # What `make dev-up` asks as well; of the template itself, as the repo's own copy is the user's.
    sys.dont_write_bytecode = True
    sys.path.append(str(SOURCE / "template/.localdev/stack"))
    import compose
    import owners

    words = shlex.split(os.environ.get("LOCALDEV_COMPOSE", "")) or ["docker", "compose"]
    try:
        config = compose.config(words)
        if not owners.our_services(config):
            ours = compose.config([*words, "-p", config["name"], "-f", f"{owners.FOLDER}/compose.yaml"])
            for part in ("services", "volumes", "networks"):
                config[part] = {**(config.get(part) or {}), **(ours.get(part) or {})}
    except (compose.UnknownError, ValueError):
        return []
    return [str(refusal) for refusal in owners.conflicts(config)]


def still_said(root: Path, value: str) -> list[str]:
    """Return the user's own tracked files in which `value` stands as a whole, no part of another name or number."""
    whole = re.compile(rf"(?<!\w)(?<!\w-){re.escape(value)}(?![\w-]|\.\w)")
    found = set()
    for line in git(root, "grep", "-IzF", "-e", value, "--", ".").splitlines():
        name, _, text = line.partition("\0")
        own = not name.startswith((".localdev/", ".copier-answers.")) or name == ROUTES or name.startswith(SNIPPETS)
        comment = name == ROUTES and text.lstrip().startswith("#")
        if own and not comment and whole.search(text):
            found.add(name)
    return sorted(found)


def project_name(root: Path) -> str:
    """Return the name that Compose has for this repo's containers and volumes, as far as the files say."""
    compose = first_file(root, COMPOSE_FILES)
    said = re.search(r"^name:\s*[\"']?([a-z0-9_-]+)", decoded(compose), re.M) if compose else None
    return said[1] if said else re.sub(r"[^a-z0-9_-]", "", root.name.lower()).lstrip("_-")


# --- what follows from changed answers --------------------------------------------------------------------------------

Answers = dict[str, Any]


def alias_changes(before: Answers, now: Answers) -> list[str]:
    """Return what every machine has to do after label or IP changed."""
    changed = [
        f"{name} {before[name]} -> {now[name]}" for name in ("alias_label", "alias_ip") if before[name] != now[name]
    ]
    if not changed:
        return []
    lines = [f"Changed: {', '.join(changed)}. On every machine: make dev-up; it says how to remove the old boot job"]
    if before["alias_label"] == now["alias_label"]:
        lines.append(
            f"Where the boot job {now['alias_label']} still adds {before['alias_ip']}, that refuses. Give the new address one of "
            f'its own: make dev-update ARGS="-d alias_label={now["alias_label"]}-2"'
        )
    return lines


def name_changes(root: Path, before: Answers, now: Answers) -> list[str]:
    """Return what still has the old name of the project after the slug changed."""
    old, new = before["project_slug"], now["project_slug"]
    if old == new:
        return []
    lines = []
    compose = first_file(root, COMPOSE_FILES)
    if compose and project_name(root) == old:
        lines.append(
            f"{compose.name} still has `name: {old}`: change it to {new} after make dev-down. Until then containers and volumes "
            f"are {old}'s; their data does not move along"
        )
    if now.get("web_domain") == f"{old}.localhost":
        lines.append(
            f'The URLs are still below {old}.localhost. Or: make dev-update ARGS="-d web_domain={new}.localhost"'
        )
    return lines


def service_changes(root: Path, before: Answers, now: Answers) -> list[str]:
    """Return what to do about containers and data of services that came or went."""
    had, has = ({*said["databases"], *(["proxy"] if said["web_proxy"] != "none" else [])} for said in (before, now))
    lines = []
    if had - has:
        # With nothing left, `make dev-up` has nothing for Compose to do.
        command = "make dev-up ARGS=--remove-orphans" if has else "make dev-down ARGS=--remove-orphans"
        lines.append(f"No longer in the stack: {some(had - has)}. On every machine: {command}")
    old, new = git(root, "show", f"HEAD:./{OUR_COMPOSE}"), decoded(root / OUR_COMPOSE)
    # The proxy's volume is no data: `make dev-up` fills it.
    gone = set(mapping(old).get("volumes") or {}) - {*(mapping(new).get("volumes") or {}), "localdev-proxy"}
    if volumes := [f"{project_name(root)}_{name}" for name in sorted(gone)]:
        lines.append(f"The data stays. Where nobody needs it: docker volume rm {' '.join(volumes)}")
    if has - had:
        lines.append(f"New in the stack: {some(has - had)}. On every machine: make dev-up")
    return lines


def proxy_changes(root: Path, before: Answers, now: Answers) -> list[str]:
    """Return what does not follow by itself when the proxy, its domain or the services changed."""
    lines = []
    kind = now["web_proxy"]
    if before["web_proxy"] != kind:
        snippets = [path for path in (root / SNIPPETS).rglob("*.*") if path.is_file()]
        # nginx includes these; a repo that had Caddy has others.
        read = ".conf" if kind == "nginx" else None
        if unread := [str(path.relative_to(root)) for path in snippets if path.suffix != read]:
            lines.append(f"Not read any more, as web_proxy is {kind}: {some(unread)}")
    old, new = before.get("web_domain"), now.get("web_domain")
    if old and new and old != new:
        lines.append(
            f"Where HTTPS is on: make dev-tls. Where /etc/hosts has the block `localdev {old}`: delete it, then make dev-hosts"
        )
    if before["native_services"] != now["native_services"]:
        lines.append(f"native_services seeds {ROUTES} only once: write your services into it, then make dev-reload")
    return lines


def changes(root: Path, answers_file: str) -> list[str]:
    """Return what each machine has to do, and what the user's own files still say, where answers changed."""
    before = mapping(git(root, "show", f"HEAD:./{answers_file}"))
    now = mapping(decoded(root / answers_file))
    names = {"alias_ip", "alias_label", "databases", "native_services", "project_slug", "web_proxy"}
    if not names <= before.keys() & now.keys():
        return []
    lines = [
        *alias_changes(before, now),
        *name_changes(root, before, now),
        *service_changes(root, before, now),
        *proxy_changes(root, before, now),
    ]
    changed = {name for name in before.keys() & now.keys() if before[name] != now[name]}
    outdated = [before[name] for name in ("alias_ip", "web_domain") if name in changed]
    if "web_port" in changed and "web_domain" not in changed:
        outdated.append(f"{now['web_domain']}:{before['web_port']}")
    lines += [
        f"Your own files still say {value}: {some(files)}" for value in outdated if (files := still_said(root, value))
    ]
    return lines


# --- the two moments --------------------------------------------------------------------------------------------------


def verdict(root: Path) -> str:
    """Return in one line whether this machine has the alias, as `host-alias check` says it."""
    done = subprocess.run(
        ["sh", ".localdev/host-alias", "check"], cwd=root, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 0:
        return done.stderr.strip() or "host-alias: this machine is ready"
    return done.stderr.strip() or f"host-alias: the check ended with exit code {done.returncode}"


def report(root: Path, answers_file: str) -> list[str]:
    """Return everything that the user should read, most urgent first; the verdict is last."""
    unmerged = conflicts(root, answers_file)
    lines = [
        *unmerged,
        *lost_edits(root, answers_file),
        *warnings(root, answers_file),
        *missing_includes(root),
        *service_clashes(root),
        *name_clashes(),
        *changes(root, answers_file),
    ]
    # What runs for a verdict may have a conflict in it.
    return lines if unmerged else [*lines, verdict(root)]


def main() -> int:
    """Print to stderr, where Copier's own messages go; exit 1 only to refuse, never for a fault of ours."""
    moment, answers_file, *given = sys.argv[1:]
    refused = False
    try:
        if moment == "before":
            lines = refused_answer(Path.cwd(), answers_file, "".join(given)) or refusals(Path.cwd(), answers_file)
            refused = bool(lines)
        else:
            lines = report(Path.cwd(), answers_file)
    except Exception as error:  # a bug here must not cost the user the new project
        lines = [f"The check {moment} generation failed ({error}). Run: make dev-status"]
    if lines:
        print("", *lines, sep="\n", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())

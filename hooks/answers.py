"""What a changed answer asks of every machine, and which of the user's own files still say the old one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from repository import COMPOSE_FILES, OUR_COMPOSE, ROUTES, SNIPPETS, decoded, first_file, git, mapping, some

Answers = dict[str, Any]


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
            f"Where the boot job {now['alias_label']} still adds {before['alias_ip']}, make dev-up refuses. Give the new address a "
            f'job of its own: make dev-update ARGS="-d alias_label={now["alias_label"]}-2"'
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
    if now["web_proxy"] == "none":
        snippets = [str(path.relative_to(root)) for path in (root / SNIPPETS).rglob("*.*") if path.is_file()]
        if snippets and before["web_proxy"] != "none":
            lines.append(f"Not read any more, as web_proxy is none: {some(snippets)}")
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
    texts = [git(root, "show", f"HEAD:./{answers_file}"), decoded(root / answers_file)]
    # Most updates change the version only. YAML's parser takes as long as the rest of this.
    if not texts[0] or len({re.sub("(?m)^_commit: .*\n", "", text) for text in texts}) == 1:
        return []
    before, now = map(mapping, texts)
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

"""A database is one new file in containers/ and one line of copier.yml."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from conftest import PROJECT, Run
from needs import need_compose
from versions import PARTS, commit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the template, for a change."""
    folder = tmp_path / "template"
    folder.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
        copy(PROJECT / name, folder / name)
    return folder


def add_line(source: Path, after: str, line: str) -> None:
    """Add `line` to copier.yml behind the line `after`."""
    text = (source / "copier.yml").read_text()
    assert text.count(after) == 1
    (source / "copier.yml").write_text(text.replace(after, after + line))


def made(source: Path, copier: Run, run: Run, *arguments: str) -> Path:
    """Return a repo made from `source`."""
    commit(source, run)
    repo = source.parent / "repo"
    copier("copy", "--trust", "--defaults", *arguments, source, repo, cwd=source, check=True)
    return repo


def test_a_database_is_one_file_and_one_line(source: Path, copier: Run, run: Run) -> None:
    text = (source / "containers/redis.jinja").read_text()
    (source / "containers/valkey.jinja").write_text(
        text.replace("redis", "valkey").replace("Redis", "Valkey").replace("6379", "6380")
    )
    add_line(source, "    Redis 8: redis\n", "    Valkey 9: valkey\n")
    repo = made(source, copier, run, "-ddatabases=[valkey,redis]")
    assert "| Valkey | `valkey://:dev@127.0.0.1:6380/0` | `valkey://:dev@valkey:6380/0` |" in (
        (repo / ".localdev/README.md").read_text()
    )
    env = run("make", "-s", "dev-env", cwd=repo, env={"VALKEY_PORT": "6390"}, check=True).stdout
    assert "export VALKEY_URL='valkey://:dev@127.0.0.1:6390/0'\n" in env
    need_compose()
    found = json.loads(run("docker", "compose", "config", "--format", "json", cwd=repo, check=True).stdout)
    assert found["services"]["valkey"]["image"] == "valkey:8-alpine"
    assert found["services"]["valkey"]["ports"][0]["published"] == "6380"
    assert found["services"]["valkey"]["extra_hosts"] == ["host-alias=10.254.254.254"]
    assert set(found["volumes"]) == {"localdev-redis8-data", "localdev-valkey8-data"}
    refused = copier(
        *("copy", "--trust", "--defaults", "-ddatabases=[valkey]", "-dweb_port=6380", source, repo / "x"), cwd=source
    )
    assert "A chosen database has port 6380." in refused.stderr


def test_every_container_can_be_chosen() -> None:
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    assert set(config["databases"]["choices"].values()) == {path.stem for path in (PROJECT / "containers").iterdir()}

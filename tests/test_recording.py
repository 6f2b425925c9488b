"""The recording in the README: what it may contain, and that it shows what a newcomer sees today."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import PROJECT, Run

sys.path.insert(0, str(PROJECT / "docs"))
from recording import transcript

README = (PROJECT / "README.md").read_text()
RECORDING = (PROJECT / "docs/recording.svg").read_text()


def typed(picture: str) -> list[str]:
    """Return the commands in a picture."""
    return [line.removeprefix("$ ") for line in transcript(picture) if re.match(r"\$ .", line)]


def test_it_is_a_picture_that_github_shows() -> None:
    root = ElementTree.fromstring(RECORDING)
    assert len(RECORDING.encode()) < 200_000
    assert root.get("role") == "img"
    assert root.get("aria-label")
    kinds = {element.tag.split("}")[1] for element in root.iter()}
    assert kinds == {"svg", "style", "rect", "circle", "g", "text"}
    # No address is loaded: those in the text are the only ones, and the name of the language.
    assert not re.search(r"@import|@font-face|url\(|href|\son\w+=", RECORDING)
    assert "prefers-color-scheme:dark" in RECORDING
    assert 'src="docs/recording.svg"' in README


def test_without_animation_it_is_the_last_screen() -> None:
    style, animated = RECORDING.split("@media (prefers-reduced-motion:no-preference)")
    assert "animation" not in style
    assert animated.count("animation:") == 1
    assert re.search(r"#page\{transform:translateY\(-\d+px\)\}", style)


def test_its_commands_are_the_readmes() -> None:
    commands = typed(RECORDING)
    assert len(commands) == 5
    # The service is in the background, its log is not shown, and of the page there is one line.
    plain = [re.sub(r" &>/dev/null &$| \| grep \w+$", "", command).replace("curl -s ", "curl ") for command in commands]
    shown = [re.sub("^cd [.]{2}/", "cd ", line) for line in README.splitlines()]
    assert [command for command in plain if command not in shown] == []


def test_it_tells_nothing_of_the_machine_it_was_made_on() -> None:
    paths = re.findall(
        r"(?<![\w.:/])/(?:home|root|tmp|mnt|Users|var|work)\b[^\s<'&;]*", " ".join(transcript(RECORDING))
    )
    assert {re.sub(r"\*.*", "", path) for path in paths} <= {"/home/me/.cache/uv/archive-v0/", "/tmp/"}


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_new_recording_shows_the_same(run: Run, tmp_path: Path) -> None:
    done = run("make", "recording", f"ARGS=--no-skips --out={tmp_path}/recording.svg", cwd=PROJECT)
    assert done.returncode == 0, done.stdout[-3000:]
    made = (tmp_path / "recording.svg").read_text()
    # Copier lists files in the folder's own order.
    assert sorted(transcript(made)) == sorted(transcript(RECORDING)), "docs/recording.svg is old. Run: make recording"

"""The README's commands, run as they stand there, as a newcomer would: in order, on the real engine."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from conftest import LOCALDEV, PROJECT, TOOLS, Render, Run, blocks
from host import ALIAS_IP, retry
from lab import Lab

README = (PROJECT / "README.md").read_text()
ADDRESS = "https://github.com/copier-host-alias/copier-host-alias.git"


@pytest.fixture
def newcomer(project: Path, clean_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of somebody for whom the address in the README leads to this working tree."""
    (tmp_path / "home").mkdir()
    (tmp_path / "gitconfig").write_text(
        Path(clean_env["GIT_CONFIG_GLOBAL"]).read_text() + f'[url "{project}"]\n\tinsteadOf = {ADDRESS}\n'
    )
    return {
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "HOME": str(tmp_path / "home"),
        "COPIER_CACHE_DIR": str(tmp_path / "cache"),
        "UV_TOOL_DIR": str(tmp_path / "uv-tools"),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_from_nothing_to_a_page_by_the_quick_start_alone(
    newcomer: dict[str, str],
    clean_env: dict[str, str],
    rendered: Render,
    run: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # The machine that has no alias yet is a lab, which has no network: what is downloaded is got before.
    lab = Lab(tmp_path_factory.mktemp("lab"), clean_env, rendered)
    install, serve, look = blocks(README, "sh", "Quick start")[:3]
    getting, starting = install.split("cd ../my-app\n")
    begin = time.monotonic()
    try:
        done = run("sh", "-eu", "-c", getting, cwd=lab.folder, env=newcomer)
        assert done.returncode == 0, done.stderr[-3000:]
        repo = lab.folder / "my-app"
        done = lab.run("sh", "-eu", "-c", starting, cwd=repo)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "http://my-app.localhost:8080/" in done.stdout
        with subprocess.Popen(lab.enter("sh", "-c", f"exec {serve}", cwd=repo), env=lab.env) as server:
            try:
                page = retry(lambda: re.search("Directory listing for /.*", lab.root(look), re.S)[0])
            finally:
                lab.kill(server)
        assert ".localdev/" in page
        assert time.monotonic() - begin < 300
    finally:
        lab.close()


@pytest.mark.parametrize("number", [0, 1], ids=["uvx", "pipx"])
def test_the_template_comes_without_a_clone(newcomer: dict[str, str], run: Run, tmp_path: Path, number: int) -> None:
    command = blocks(README, "sh", "Quick start")[3].splitlines()[number]
    (tmp_path / "bin").mkdir()
    for name in ("uvx", "uv", "pipx"):
        (tmp_path / "bin" / name).symlink_to(TOOLS / name)
    done = run("sh", "-c", command + " --defaults", cwd=tmp_path, env=newcomer)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = yaml.safe_load((tmp_path / "my-app/.copier-answers.localdev.yml").read_text())
    assert answers["_src_path"] == ADDRESS


def test_trusting_once_in_copiers_settings_replaces_the_flag(
    newcomer: dict[str, str], copier: Run, tmp_path: Path
) -> None:
    (settings,) = (block for block in blocks(README, "yaml", "Quick start") if "trust" in block)
    (tmp_path / "settings.yml").write_text(settings)
    without = copier("copy", "--defaults", ADDRESS, "my-app", cwd=tmp_path, env=newcomer)
    assert without.returncode == 4
    done = copier(
        "copy",
        "--defaults",
        ADDRESS,
        "my-app",
        cwd=tmp_path,
        env=newcomer | {"COPIER_SETTINGS_PATH": str(tmp_path / "settings.yml")},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_each_daily_command_is_a_target_with_the_text_of_its_help(rendered: Render, run: Run) -> None:
    listed = dict(re.findall(r"^\| `make (dev-[a-z-]+)` \| (.*) \|$", README, re.M))
    lines = run("make", "dev-help", cwd=rendered(), check=True).stdout.splitlines()
    helped = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines}
    assert set(listed) == set(helped)
    assert [name for name in listed if not helped[name].startswith(listed[name].split(",")[0].split(" `")[0])] == []


def test_the_questions_and_their_defaults_are_those_of_copier_yml() -> None:
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", README.split("## Questions")[1].split("\n## ")[0], re.M))
    assert list(rows) == [
        name for name, question in config.items() if not name.startswith("_") and question.get("when") is not False
    ]
    for name in ("alias_ip", "native_services", "web_proxy", "web_port"):
        assert rows[name] == f"`{config[name]['default']}`"


def test_the_privileged_commands_are_those_that_run() -> None:
    for command, variable, file in (
        ("/sbin/ifconfig", '"$ip"', "alias/root-darwin.sh"),
        ("/sbin/ip", "{{ alias_ip }}", "host-alias.service.jinja"),
    ):
        (shown,) = (line for line in README.splitlines() if line.startswith(command))
        assert shown.replace(ALIAS_IP, variable) in (LOCALDEV / file).read_text()


def test_the_exit_codes_are_those_of_the_scripts_help(rendered: Render, run: Run) -> None:
    rows = dict(re.findall(r"^\| ([0-9]) \| (.*?) \|$", README, re.M))
    manual = run("sh", ".localdev/host-alias", "--help", cwd=rendered(), check=True).stdout
    line = next(line for line in manual.splitlines() if line.startswith("exit codes: "))
    stated = dict(part.split(" ", 1) for part in line.removeprefix("exit codes: ").split(", "))
    assert stated == {code: text.removesuffix(" (no terminal, CI)") for code, text in rows.items()}

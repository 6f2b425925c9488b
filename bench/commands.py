"""What a developer waits for: host-alias, Copier, make's targets, the doctor, and a hundred repos."""

import os
import shutil
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from box import Box, need_box
from conftest import TOOLS, Render, Run
from figures import Figures, medians
from fleet import LOOP, make_fleet, measured
from host import ALIAS_IP, service
from needs import need_command
from running import Stack, running_stack
from versions import ANSWERS, commit, release

COPIER = f"{sys.executable} -m copier"
COPY = f"{COPIER} copy --trust --defaults -q"
PORTS = {"LOCALDEV_HTTP_PORT": "8197", "LOCALDEV_HTTPS_PORT": "8597", "POSTGRES_PORT": "8198", "REDIS_PORT": "8199"}
FIRST_PORT = 4510


def compare(figures: Figures, run: Run, cwd: Path, rounds: int, *commands: str, **more: Any) -> list[float]:
    """Return the median seconds of commands: hyperfine times each of them a few times in every round."""
    need_command("hyperfine")
    exported = cwd / "hyperfine.json"
    prepared = [word for line in more.pop("prepare", []) for word in ("--prepare", line)]
    words = ("--shell=none", "--style=none", f"--runs={figures.runs(3)}", f"--export-json={exported}", *prepared)
    seen = []
    for _ in range(figures.runs(rounds)):
        run("hyperfine", *words, *commands, cwd=cwd, check=True, **more)
        seen.append(medians(exported.read_text()))
    return [statistics.median(times) for times in zip(*seen, strict=True)]


def in_ms(ours: float, floor: float) -> str:
    """Return two times in words."""
    return f"{ours * 1000:.1f} ms / {floor * 1000:.1f} ms"


# --- host-alias -------------------------------------------------------------------------------------------------------


def test_host_alias_up_costs_little_more_than_a_shell_that_runs_one_command(
    figures: Figures, rendered: Render, clean_env: dict[str, str], tmp_path: Path
) -> None:
    need_box()
    need_command("strace")
    need_command("hyperfine")
    box = Box(rendered(), tmp_path, clean_env)
    floor, ours = "/bin/sh -c '/sbin/ip -4 -o address show dev lo'", f'/bin/sh "{box.script}" up'
    try:
        box.fake_systemd()
        assert box("up")[0] == 0
        box.root("mkdir -m 777 /mnt/bench")
        words = (
            "--shell",
            "none",
            "--warmup",
            "20",
            "--runs",
            str(figures.runs(600)),
            "--export-json",
            "/mnt/bench/hyperfine.json",
        )
        code, _, err = box.run("hyperfine", *words, "--style", "none", floor, ours, user=True)
        assert code == 0, err
        seconds = medians(box.root("cat /mnt/bench/hyperfine.json"))
        forks = ("-e", "trace=?clone,?clone3,?fork,?vfork", "-o", tmp_path / "forks")
        assert box.run("strace", "-f", "-qq", *forks, "sh", box.script, "up") == (0, "", "")
        children = (tmp_path / "forks").read_text().count("= ")
    finally:
        box.close()
    figures.add(
        "`host-alias up`, all in place",
        "`sh -c` with one `ip`",
        seconds[1] / seconds[0],
        in_ms(seconds[1], seconds[0]),
        at_most=1.6,
        kept=2.4,
    )
    figures.add("its child processes", "one", children, "counted by strace", at_most=2)


# --- Copier -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def templates(project: Path, rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Templates of the same files: "plain" asks nothing, renders nothing and runs nothing; "ours" is the whole project.

    Both are packed, as the clone of a published repository is: git takes 0.1 s longer for a repository that was just made.
    """
    plain = tmp_path_factory.mktemp("plain") / "template"
    shutil.copytree(rendered(), plain / "template")
    (plain / "copier.yml").write_text(f"_subdirectory: template\n_answers_file: {ANSWERS}\n")
    (plain / "template" / ANSWERS).unlink()
    (plain / "template/{{ _copier_conf.answers_file }}.jinja").write_text("{{ _copier_answers|to_nice_yaml -}}\n")
    commit(plain, run)
    run("git", "tag", "v1.0.0", cwd=plain, check=True)
    ours = Path(shutil.copytree(project, tmp_path_factory.mktemp("ours") / "template"))
    for template in (plain, ours):
        run("git", "gc", "--quiet", cwd=template, check=True)
    return {"plain": plain, "ours": ours}


def test_a_copy_costs_little_more_than_that_of_as_many_plain_files(
    figures: Figures, templates: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    commands = [f"{COPY} {template} {tmp_path}/made" for template in templates.values()]
    floor, ours = compare(figures, run, tmp_path, 10, *commands, prepare=[f"rm -rf {tmp_path}/made"])
    number = sum(path.is_file() for path in (templates["plain"] / "template").rglob("*"))
    against = f"the same {number} files, plain"
    figures.add("`copier copy`, hook included", against, ours / floor, in_ms(ours, floor), at_most=1.25)


def test_an_update_costs_little_more_than_that_of_as_many_plain_files(
    figures: Figures, templates: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    commands, prepare, changed = [], [], "template/.localdev/localdev.mk"
    for name, template in templates.items():
        own = Path(shutil.copytree(template, tmp_path / f"{name}-template"))
        repo = tmp_path / name
        run(*COPY.split(), own, repo, cwd=tmp_path, check=True)
        commit(repo, run)
        first = (own / changed).read_text().splitlines()[0]
        release(own, run, "v1.1.0", {changed: (first, "# Another first line.")})
        commands.append(f"env -C {repo} {COPIER} update --trust --defaults -q -a {ANSWERS}")
        prepare.append(f"sh -c 'cd {repo} && git reset -q --hard && git clean -fdq'")
    floor, ours = compare(figures, run, tmp_path, 10, *commands, prepare=prepare)
    figures.add("`copier update`", "the same files, plain", ours / floor, in_ms(ours, floor), at_most=1.3, kept=1.7)


# --- make dev-up ------------------------------------------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.parametrize(("databases", "stack_has"), [("[]", ""), ("[postgres, redis]", ", with PostgreSQL and Redis")])
def test_dev_up_costs_little_more_than_compose(
    figures: Figures, rendered: Render, run: Run, tmp_path: Path, databases: str, stack_has: str
) -> None:
    answers = {"native_services": f"web:{FIRST_PORT}", "databases": databases}
    with running_stack(rendered, run, tmp_path, PORTS, **answers) as stack, service("web", FIRST_PORT):
        started, waited = "docker compose up --detach", "docker compose up --detach --wait"
        page = f"curl -sS --fail --noproxy '*' --max-time 20 -o /dev/null {stack.url()}"
        # What the floor answers with is what dev-up left in the proxy's volume.
        until = f'sh -c "{started} && until {page} 2>/dev/null; do sleep 0.02; done"'
        cold = (until, f'sh -c "{waited} && {page}"', f'sh -c "make dev-up && {page}"')
        down = ["docker compose down --timeout 1"] * 3
        for what, commands, prepare, most in (
            ("the stack is up", (started, waited, "make dev-up"), [], ((2.5, 3), (0.4, 0.65))),
            ("from nothing to the first page", cold, down, ((1.4, 1.7), (0.4, None))),
        ):
            times = compare(figures, run, stack.repo, 5, *commands, env=PORTS, prepare=prepare)
            for floor, name, (at_most, kept) in zip(times, (started, waited), most, strict=False):
                name = name.replace("--detach", "-d")
                ours = times[-1]
                figures.add(
                    f"`make dev-up`, {what}{stack_has}",
                    f"`{name}`",
                    ours / floor,
                    in_ms(ours, floor),
                    at_most=at_most,
                    kept=kept,
                )


# --- the doctor -------------------------------------------------------------------------------------------------------


def silent(port: int) -> socket.socket:
    """Return a service that accepts connections, as any system does for it, and never answers."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((ALIAS_IP, port))
    listening.listen()
    return listening


@pytest.mark.engine
def test_the_doctor_of_fifty_routes_is_almost_as_fast_as_of_one(
    figures: Figures, rendered: Render, run: Run, tmp_path: Path
) -> None:
    def doctor(stack: Stack) -> float:
        """Return how long the doctor takes."""
        seen = []
        for _ in range(figures.runs(5)):
            begin = time.monotonic()
            done = stack.make("dev-doctor")
            seen.append(time.monotonic() - begin)
            assert done.returncode == 0, done.stdout + done.stderr
        return statistics.median(seen)

    ports = range(FIRST_PORT, FIRST_PORT + 50)
    with ExitStack() as well:
        stack = well.enter_context(running_stack(rendered, run, tmp_path, PORTS, native_services=f"s0:{FIRST_PORT}"))
        well.enter_context(service("s0", FIRST_PORT))
        one = doctor(stack)
        stack.write_routes("".join(f"s{number} {port} s{number}.\n" for number, port in enumerate(ports)))
        assert stack.make("dev-reload").returncode == 0
        for number, port in enumerate(ports[1:25], 1):
            well.enter_context(service(f"s{number}", port))
        with ExitStack() as others:
            for number, port in enumerate(ports[25:], 25):
                others.enter_context(service(f"s{number}", port))
            fifty = doctor(stack)
        for port in ports[25:]:
            well.enter_context(silent(port))
        half = doctor(stack)
    # For an answer of a silent one, the doctor waits a second, however fast it is for one route.
    for what, seconds, limit, kept in (("all well", fifty, 1.5, 3), ("half of them silent", half, 2, 4.3)):
        named = f"`make dev-doctor`, 50 routes, {what}"
        figures.add(named, "one route", seconds / one, in_ms(seconds, one), at_most=3, kept=kept)
        figures.add(f"the same, in seconds ({what})", "a second", seconds, at_most=limit)


# --- a hundred repos --------------------------------------------------------------------------------------------------


def test_a_hundred_repos_take_a_hundred_times_as_long_as_one(
    figures: Figures, project: Path, run: Run, clean_env: dict[str, str], tmp_path: Path
) -> None:
    number, kinds = (2, 1) if figures.quick else (100, 5)
    own = Path(shutil.copytree(project, tmp_path / "template"))
    mk = "template/.localdev/localdev.mk"
    for version, title in (("v1.1.0", "# Second edition."), ("v1.2.0", "# Third edition.")):
        release(own, run, version, {mk: ((own / mk).read_text().splitlines()[0], title)})
    everything = tmp_path / "all"
    (everything / "src").mkdir(parents=True)
    make_fleet(own, everything / "src", number)
    for repo in (everything / "src").iterdir():
        commit(repo, run)
    # One of each kind, alone.
    alone = [tmp_path / str(kind) for kind in range(kinds)]
    for kind, home in enumerate(alone):
        shutil.copytree(everything / f"src/repo-{kind}", home / f"src/repo-{kind}")

    def update(home: Path, count: int) -> dict[str, float]:
        """Run the loop of docs/many-repos.md, and return what it took."""
        env = clean_env | {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(home)}
        code, output, usage = measured(["sh", "-c", LOOP], tmp_path, env)
        assert (code, output) == (0, f"{count} of {count} updated\n")
        return usage

    singles = [update(home, 1) for home in alone]
    together = update(everything, number)
    for kind, home in enumerate(alone):
        run("git", "reset", "-q", "--hard", cwd=home / f"src/repo-{kind}", check=True)
    singles += [update(home, 1) for home in alone]
    one, peak = (statistics.mean(single[key] for single in singles) for key in ("wall", "peak"))
    each = together["wall"] / number
    figures.add(f"{number} repos updated, per repo", "one repo", each / one, in_ms(each, one), at_most=1.1, kept=1.3)
    memory = f"{together['peak']:.0f} MiB / {peak:.0f} MiB"
    figures.add(f"memory of {number} repos updated", "one repo", together["peak"] / peak, memory, at_most=1.1)

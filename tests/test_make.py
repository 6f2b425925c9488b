"""localdev.mk and the stubs: with every make that a machine may have, beside a user's own files."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import Render, Run
from fakes import PORTS, Repo
from needs import need_command
from sites import compose_config

MAKES = ["make", *([os.environ["MAKE381"]] if os.environ.get("MAKE381") else [])]


@pytest.fixture(params=MAKES)
def made(request: pytest.FixtureRequest, repo: Render, tmp_path: Path, clean_env: dict[str, str]):
    """Returns a function: a repo with the given answers, in which docker, podman and copier are fakes."""
    program = need_command(request.param)

    def made(**answers: str) -> Repo:
        found = Repo(repo(**answers), tmp_path, clean_env)
        docker = (found.bin / "docker").read_text().replace("printf '%s\\n'", "printf 'docker %s\\n'")
        for name in ("docker", "podman"):
            found.write(name, docker.removeprefix("#!/bin/sh\n").replace("printf 'docker", f"printf '{name}"))
        found.write("copier", f"printf 'copier %s\\n' \"$*\" >>{tmp_path}/calls\n")
        plain = found.make
        found.make = lambda *words, **env: plain(*words, program=program, **env)
        return found

    return made


def test_each_target_runs_its_command_and_no_other(made) -> None:
    here = made()
    for target, calls in {
        "dev-up": ["docker compose up --detach"],
        "up": ["docker compose up --detach"],
        "dev-down": ["docker compose down"],
        "down": ["docker compose down"],
        "dev-status": ["docker compose ps"],
        "dev-logs": ["docker compose logs --follow --tail 100"],
        "dev-urls": [],
        "dev-env": [],
        "dev-alias": [],
        "dev-alias-down": [],
        "dev-update": ["copier update --trust -a .copier-answers.localdev.yml"],
    }.items():
        done = here.make(target)
        assert (done.returncode, here.calls()) == (0, calls), (target, done.stderr)
    done = here.make("dev-reload")
    assert done.stderr.splitlines()[0] == "localdev: the proxy does not run. Start it: make dev-up"


def test_help_is_the_default_and_lists_every_target(made) -> None:
    here = made()
    done = here.make()
    targets = [line.split()[1] for line in done.stdout.splitlines()]
    lines = (here.here / ".localdev/localdev.mk").read_text().splitlines()
    words = next(line for line in lines if line.startswith("LOCALDEV_WORDS")).split()[2:]
    assert targets == [f"dev-{word}" for word in words]
    assert [line.split(":")[0] for line in lines if line.startswith("$(LOCALDEV_PREFIX)")] == [
        f"$(LOCALDEV_PREFIX){word}" for word in words
    ]
    assert here.make("dev-help").stdout == done.stdout


def test_a_prefix_of_the_teams_own_renames_the_targets_and_what_messages_call_them(made) -> None:
    here = made()
    (here.here / "Makefile").write_text(
        "LOCALDEV_PREFIX = stack-\ndev-up: ; @echo mine\ninclude .localdev/localdev.mk\n"
    )
    assert here.make("dev-up").stdout == "mine\n"
    assert here.make("stack-help").stdout.startswith("make stack-help ")
    assert (here.make("stack-down", "ARGS=-t 3").returncode, here.calls()) == (0, ["docker compose down -t 3"])
    said = here.make("stack-reload").stderr.splitlines()[0]
    assert said == "localdev: the proxy does not run. Start it: make stack-up"
    assert "(make -s stack-env)" in here.make("stack-help").stdout


def test_arguments_and_another_compose_reach_the_command(made) -> None:
    here = made(databases="[redis]")
    for words, env, calls in (
        (["dev-up", "LOCALDEV_COMPOSE=podman compose"], {}, ["podman compose up --detach"]),
        (["dev-up"], {"LOCALDEV_COMPOSE": "podman compose"}, ["podman compose up --detach"]),
        (["dev-up", "ARGS=proxy redis"], {}, ["docker compose up --detach proxy redis"]),
        (["dev-down", "ARGS=--timeout 3"], {}, ["docker compose down --timeout 3"]),
        (
            ["dev-update", "ARGS=-d alias_ip=10.254.254.253"],
            {},
            ["copier update --trust -a .copier-answers.localdev.yml -d alias_ip=10.254.254.253"],
        ),
        (["dev-update", "LOCALDEV_COPIER=podman x"], {}, ["podman x update --trust -a .copier-answers.localdev.yml"]),
    ):
        done = here.make(*words, **env)
        assert (done.returncode, here.calls()) == (0, calls), done.stderr


def test_an_included_localdev_does_not_change_what_a_bare_make_does(made) -> None:
    here = made()
    for text in (
        "include .localdev/localdev.mk\nmine:\n\t@printf mine\n",
        "mine:\n\t@printf mine\ninclude .localdev/localdev.mk\nother:\n",
    ):
        (here.here / "Makefile").write_text(text)
        assert here.make().stdout == "mine"


def test_up_prints_the_urls_last(made) -> None:
    done = made(native_services="web:3000 api:4000").make("dev-up")
    assert [line.split()[-1 if line.startswith("All") else 1] for line in done.stdout.splitlines()] == [
        "http://my-app-s-repo.localhost:18090/",
        "http://web.my-app-s-repo.localhost:18090/",
        "http://api.my-app-s-repo.localhost:18090/",
        "http://my-app-s-repo.localhost:18090/__localdev/",
    ]


def test_an_error_in_routes_stops_up_before_any_container(made) -> None:
    here = made()
    (here.here / ".localdev/routes").write_text("web 3000\napi\n")
    for target in ("dev-up", "dev-reload", "dev-urls", "dev-env", "dev-tls", "dev-hosts"):
        done = here.make(target)
        assert (done.returncode, done.stdout, here.calls()) == (2, "", [])
        assert done.stderr.splitlines()[-2].startswith(".localdev/routes:2: ")


def test_what_compose_does_not_know_of_ours_is_told_with_the_line_to_add(made) -> None:
    here = made()
    for services in ({}, {"db": {}}):
        here.says({"name": "shop", "services": services}, [], [])
        done = here.make("dev-up")
        assert (done.returncode, here.calls()) == (2, [])
        assert done.stderr.splitlines()[0] == (
            "localdev: Compose does not know our proxy, as its files do not include .localdev/compose.yaml. Fix: include: "
            "[.localdev/compose.yaml] in your Compose file, or correct COMPOSE_FILE or LOCALDEV_COMPOSE"
        )


def test_files_that_compose_refuses_are_told_in_its_own_words(made) -> None:
    here = made()
    here.write(
        "docker",
        "case $* in *version*) ;; *config*) echo 'services.redis Additional property\n x is not allowed' >&2; exit 15 ;; esac\n",
    )
    done = here.make("dev-up")
    assert done.stderr.splitlines()[0] == (
        "localdev: the Compose files have an error: services.redis Additional property x is not allowed. "
        "Correct it, then: make dev-up"
    )


def test_without_docker_or_python_one_line_says_what_to_install(made, tmp_path: Path) -> None:
    here = made()
    tools = tmp_path / "only"
    tools.mkdir()
    for name in ("sh", "env", "ip"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = here.make("dev-up", PATH=str(tools))
    assert done.stderr.splitlines()[0] == (
        "localdev: python3 is missing. Install it: xcode-select --install (Debian: sudo apt install python3)"
    )
    (tools / "python3").symlink_to("/usr/bin/python3")
    done = here.make("dev-up", PATH=str(tools))
    assert done.returncode != 0
    assert "there is no docker here. Install Docker" in done.stderr


def test_a_monorepos_subfolder_works_through_make_c(made) -> None:
    here = made()
    done = subprocess.run(
        ["make", "-C", here.here.name, "dev-up"], cwd=here.here.parent, env=here.env, capture_output=True, check=False
    )
    assert (done.returncode, here.calls()) == (0, ["docker compose up --detach"])


def test_no_target_writes_a_file_that_git_tracks(made, run: Run) -> None:
    here = made(native_services="web:3000", web_domain="shop.test")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
        run("git", *command, cwd=here.here, check=True)
    with (here.here / ".localdev/routes").open("a") as routes:
        routes.write("new 4000 new.example.test\n")
    for target in ("dev-up", "dev-reload", "dev-urls", "dev-env", "dev-status", "dev-down"):
        here.make(target)
    assert run("git", "status", "--porcelain", cwd=here.here, check=True).stdout == " M .localdev/routes\n"


def test_a_container_that_ended_is_a_failure_where_it_is_ours_or_has_failed_and_was_asked_for(made) -> None:
    here = made(databases="[redis]")
    config = compose_config(here.answers, **PORTS, redis=18399)
    config["services"]["migrate"] = {"networks": {"default": None}}
    docker = (here.bin / "docker").read_text()
    here.write(
        "docker", docker.replace('*"config --services"', '*"config --services") echo proxy redis migrate ;; none')
    )

    def up(service: str, ours: str, code: int, *words: str) -> tuple[int, str]:
        ended = f"Exited ({code}) 1 second ago"
        where = ["exited", "shop", service, str(here.here), "", ours, "", "", "shop_default", "", ended, ""]
        row = ["1", f"x-{service}-1", *where]
        here.says(config, [row], [])
        done = here.make("dev-up", *words)
        return done.returncode, "".join(line for line in done.stderr.splitlines() if line.startswith("localdev: "))

    failed = "localdev: the container of {} failed (exited ({}) 1 second ago). Look at: make dev-logs ARGS={}"
    assert up("migrate", "", 0) == (0, "")
    assert up("migrate", "", 3) == (2, failed.format("migrate", 3, "migrate"))
    assert up("redis", "redis", 0) == (2, failed.format("redis", 0, "redis"))
    assert up("redis", "redis", 137, "ARGS=proxy") == (0, ""), "nobody asked for it"


def test_a_start_with_nothing_to_do_does_not_ask_compose_again(made) -> None:
    here = made(web_proxy="none", databases="[redis]")
    config = compose_config(here.answers, redis=18399)
    config["services"]["redis"]["image"] = "redis:8"
    config["services"]["web"] = {"networks": {"default": None}}

    def row(id: str, service: str, image: str, state: str = "running") -> list[str]:
        ours = service if service == "redis" else ""
        return [
            id,
            f"shop-{service}-1",
            state,
            "shop",
            service,
            str(here.here),
            "",
            ours,
            "",
            "",
            "",
            "",
            "Up 2 hours",
            image,
        ]

    usual = [row("1", "redis", "redis:8"), row("2", "web", "shop-web")]

    def starts(rows: list[list[str]], *words: str) -> bool:
        here.says(config, rows, [])
        done = here.make("dev-up", *words)
        assert done.returncode == 0, done.stderr
        return here.calls() == [f"docker compose up --detach{''.join(f' {word[5:]}' for word in words)}"]

    assert starts(usual) and not starts(usual) and not starts(usual)
    assert starts(usual, "ARGS=--build"), "somebody asked for it"
    for change in (
        [row("3", "redis", "redis:8"), usual[1]],  # it is another container
        [*usual, row("4", "web", "shop-web")],  # there are more
        [usual[0]],
        [usual[0], row("2", "web", "shop-web", "paused")],
        [usual[0], row("2", "web", "sha256:0123")],  # Docker's word for an image whose name another one has by now
    ):
        assert not starts(usual)
        assert starts(change), change
        starts(usual)
    for key, value in (("profiles", ["x"]), ("pull_policy", "always"), ("environment", {"A": "1"})):
        config["services"]["web"][key] = value
        assert starts(usual), key
        assert starts(usual) == (key != "environment"), key
        del config["services"]["web"][key]
    assert starts(usual) and not starts(usual)
    assert here.make("dev-down").returncode == 0 and here.calls()
    assert starts(usual), "what was there is gone"

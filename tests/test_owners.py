"""Whose are the containers, volumes and names: what starts or deletes nothing, because it is somebody else's."""

import contextlib
import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

import compose
import owners
from conftest import PROJECT, Render, Run
from fakes import Repo
from needs import NIGHTLY, need_engine
from settings import Settings
from sites import compose_config
from versions import commit

VOLUME = "shop_localdev-postgres17-data"
LOSS = "two servers on one data folder lose rows"
EITHER = "other containers would reach either of them"

PROXY = compose_config(Settings("a.b", "10.254.254.254", "shop.localhost", 18090, 18453, {}))["services"]["proxy"]


def config(**theirs: dict[str, Any]) -> dict[str, Any]:
    """Return what Compose says of a project with our proxy and PostgreSQL and the services `theirs`."""

    def ours(name: str, **more: Any) -> dict[str, Any]:
        return {"labels": {compose.OURS: name}, "networks": {"default": None}, **more}

    def volume(source: str) -> list[dict[str, str]]:
        return [{"type": "volume", "source": source, "target": "/data"}]

    return {
        "name": "shop",
        "networks": {
            "default": {"name": "shop_default"},
            "again": {"name": "shop_default"},
            "other": {"name": "shop_other"},
        },
        "services": {
            "postgres": ours("postgres", volumes=volume("localdev-postgres17-data")),
            "proxy": {**PROXY, "networks": {"default": {"aliases": ["shop.test"]}}},
            **{
                name: {"networks": {"default": None}, **service, "volumes": volume(service["volume"])}
                if "volume" in service
                else {"networks": {"default": None}, **service}
                for name, service in theirs.items()
            },
        },
        "volumes": {
            "localdev-postgres17-data": {"name": VOLUME},
            "own": {"name": "shop_own"},
            "alias": {"name": VOLUME},
            "away": {"name": "elsewhere", "external": True},
        },
    }


def container(**more: Any) -> compose.Container:
    """Return a container of another project that has nothing of ours but what `more` says."""
    fields = dict.fromkeys(("id", "name", "state", "project", "service", "folder", "files", "ours", "one_off"), "")
    lists = {name: frozenset(more.pop(name, ())) for name in ("mounts", "networks")}
    return compose.Container(**fields | {"id": "1", "name": "x", "state": "running", "project": "other"} | more | lists)


def test_a_service_of_theirs_with_a_volume_or_a_name_of_ours_is_refused() -> None:
    shares = f"the service db uses the volume {VOLUME} of postgres: {LOSS}"

    def called(name: str, our: str) -> str:
        return f"the service db is called {name} in the network shop_default, and so is {our}: {EITHER}"

    for service, text in [
        ({}, None),
        ({"volume": "own"}, None),
        ({"volume": "away"}, None),
        ({"volumes_from": ["worker", "container:other"]}, None),
        ({"networks": None, "network_mode": "host"}, None),
        ({"networks": {"default": {"aliases": ["postgresql"]}}}, None),
        # In another network nobody who asks for ours is answered by it.
        ({"networks": {"other": {"aliases": ["postgres"]}}}, None),
        ({"volume": "localdev-postgres17-data"}, shares),
        ({"volume": "alias"}, shares),
        ({"volumes_from": ["postgres"]}, shares),
        ({"volumes_from": ["postgres:ro"]}, shares),
        ({"volumes_from": ["container:shop-postgres-1:ro"]}, shares),
        # `extends` copies the label, too.
        ({"volume": "localdev-postgres17-data", "labels": {compose.OURS: "postgres"}}, shares),
        ({"networks": {"default": {"aliases": ["db", "postgres"]}}}, called("postgres", "postgres")),
        ({"networks": {"default": {"aliases": ["shop.test"]}}}, called("shop.test", "proxy")),
        # The same network by another key.
        ({"networks": {"again": {"aliases": ["shop.test"]}}}, called("shop.test", "proxy")),
        ({"container_name": "proxy"}, called("proxy", "proxy")),
        ({"hostname": "postgres"}, called("postgres", "postgres")),
        ({"container_name": "shop-proxy-1"}, "the services db and proxy both have the container name shop-proxy-1"),
    ]:
        found = [refusal.text for refusal in owners.conflicts(config(db=service, worker={}))]
        assert found == ([text] if text else []), service
    (named_like_a_host,) = owners.conflicts(config(**{"shop.test": {}}))
    assert named_like_a_host.text.startswith(
        "the service shop.test is called shop.test in the network shop_default, and so"
    )
    bind = {"volumes": [{"type": "bind", "source": f"/var/lib/docker/volumes/{VOLUME}/_data", "target": "/x"}]}
    assert [
        refusal.text for refusal in owners.conflicts(config() | {"services": config()["services"] | {"db": bind}})
    ] == [shares]
    merged = config()
    merged["services"]["postgres"]["volumes"].append({"type": "volume", "source": "own", "target": "/backup"})
    assert list(owners.conflicts(merged)) == []
    del merged["services"]["postgres"]["volumes"][0]
    (refusal,) = owners.conflicts(merged)
    assert refusal.text == "a service postgres of yours is merged into ours: its data is in the volume shop_own"
    assert refusal.fix == "give yours another name than postgres"


def test_a_container_of_somebody_else_with_a_volume_or_a_name_of_ours_is_refused() -> None:
    shares = f"the container x of the project other uses the volume {VOLUME} of postgres: {LOSS}"
    ours = {"project": "shop", "mounts": [VOLUME], "networks": ["shop_default"], "name": "shop-postgres-1"}
    called = f"the container x of the project other is called postgres in the network shop_default, and so is postgres: {EITHER}"
    for found, names, text in [
        (container(), {}, None),
        (container(mounts=["shop_own"], networks=["shop_default"]), {"shop_default": {"api", "x"}}, None),
        (container(networks=["other_default"], service="postgres"), {"other_default": {"postgres"}}, None),
        # As `docker compose up`, and `run`, make it.
        (container(**ours, ours="postgres", service="postgres"), {"shop_default": {"postgres"}}, None),
        (container(mounts=[VOLUME], state="exited"), {}, None),
        (container(mounts=[VOLUME]), {}, shares),
        (container(mounts=["/srv", VOLUME], state="restarting"), {}, shares),
        (container(mounts=[VOLUME], project=""), {}, shares.replace(" of the project other", "")),
        (container(mounts=[VOLUME], project="shop", service="db"), {}, shares.replace("other", "shop")),
        # What a service that extended ours left behind.
        (
            container(mounts=[VOLUME], project="shop", service="db", ours="postgres"),
            {},
            shares.replace("other", "shop"),
        ),
        (
            container(name="shop-proxy-1", state="exited"),
            {},
            "the container shop-proxy-1 of the project other has the name that proxy needs",
        ),
        (container(networks=["dev", "shop_default"]), {"dev": {"x"}, "shop_default": {"x", "postgres"}}, called),
    ]:
        said = [refusal.text for refusal in owners.strangers(config(), [found], {"1": names})]
        assert said == ([text] if text else []), found
    away = [container(id="2", networks=["other"]), container(id="3", state="exited", networks=["shop_default"])]
    near = [container(id="4", networks=["shop_default"]), container(id="5", networks=["shop_default"], project="shop")]
    assert (
        owners.in_our_networks(config(), [*away, *near, container(**ours, ours="postgres", service="postgres")]) == near
    )


def test_containers_of_another_folder_are_refused_and_this_ones_are_not(tmp_path: Path) -> None:
    top = tmp_path / "top"
    here, other, plain = top / "here", tmp_path / "it's other", tmp_path / "plain"
    for folder in (here, other, here / ".worktrees/new"):
        (folder / ".localdev").mkdir(parents=True)
    (here / ".worktrees/old").mkdir()
    (here / ".worktrees/old/.git").touch()  # of a branch without .localdev
    for folder in (here / "deploy", plain, tmp_path / "moved"):
        folder.mkdir()
    for folder in (top, other, plain, here / "deploy", here / ".worktrees/new", here / ".worktrees/old"):
        (folder / "compose.yaml").touch()
    (tmp_path / "link").symlink_to(here)
    for folder, files_are_named, is_refused in [
        (tmp_path / "gone", False, False),
        # The folder is there, its Compose file is not: a repo that was moved into a folder of itself.
        (tmp_path / "moved", False, False),
        (here / "deploy", False, False),
        # Where Compose finds a file above.
        (top, False, False),
        (tmp_path / "link/deploy", False, False),
        (plain, True, False),
        (plain, False, True),
        (other, False, True),
        (other, True, True),
        (here / ".worktrees/new", False, True),
        (here / ".worktrees/old", False, True),
    ]:
        files = f"{folder}/compose.yaml,{folder}/compose.override.yaml"
        found = [
            container(project="shop", service="cron", folder=str(folder), files=files),
            container(folder=str(other)),
            container(project="shop", service="proxy"),
        ]
        refusals = list(owners.elsewhere(config(), found, str(here), files_are_named, ["podman", "compose"]))
        assert [refusal.text for refusal in refusals] == (
            [f"the containers of the project shop belong to {folder}"] if is_refused else []
        ), folder
        assert all(refusal.fix.startswith("podman compose -p shop down (or, to have both, ") for refusal in refusals)


def test_compose_files_without_what_is_ours_are_refused(tmp_path: Path) -> None:
    for folder in (".localdev/proxy", "other/proxy"):
        (tmp_path / folder).mkdir(parents=True)
    found = config()
    assert list(owners.missing(found, str(tmp_path), ["proxy", "postgres"])) == []
    # A service of theirs with our name is not ours.
    for lost in ({}, {"proxy": {"image": "x"}}):
        theirs = copy.deepcopy(found) | {"services": {"postgres": found["services"]["postgres"]} | lost}
        (refusal,) = owners.missing(theirs, str(tmp_path), ["proxy", "postgres"])
        assert str(refusal).startswith(
            "Compose does not know our proxy, as its files do not include .localdev/compose.yaml."
        )
    other = f"Compose would run the proxy of {tmp_path}/other/proxy"
    for source, text in [(".localdev/proxy", None), ("other/proxy", other)]:
        found["services"]["proxy"]["volumes"] = [
            {"type": "bind", "source": f"{tmp_path}/{source}", "target": "/.localdev/proxy"}
        ]
        assert [refusal.text for refusal in owners.missing(found, str(tmp_path), [])] == ([text] if text else [])


# --- make targets, with an engine that answers what a test says --------------------------------------------------------


@pytest.fixture
def repo_with_fakes(repo: Render, tmp_path: Path, clean_env: dict[str, str]) -> Repo:
    made = Repo(repo(), tmp_path, clean_env)
    made.says(config(), [], [VOLUME, "shop_own", "elsewhere", "other"])
    return made


def test_each_target_that_changes_containers_refuses_in_one_line(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    other = Path(f"{here.folder}/other\x1b]0;x")
    (other / ".localdev").mkdir(parents=True)
    row = ["1", "shop-proxy-1", "running", "shop", "proxy", str(other), "", "proxy", "", "", "shop_default", "", ""]
    here.says(config(), [row], [])
    for words in (["dev-up"], ["dev-reload"], ["dev-tls"], ["dev-down"], ["dev-down", "ARGS=--volumes --yes"]):
        done = here.make(*words)
        line, make = done.stderr.splitlines()
        assert line.startswith(
            f"localdev: the containers of the project shop belong to {here.folder}/other?]0;x. Fix: docker compose -p "
        )
        assert make.startswith("make: *** ") and done.stdout == ""
        assert here.calls() == []
    here.says(config(db={"volume": "alias"}), [], [])
    done = here.make("dev-up")
    assert done.stderr.splitlines()[0].startswith(f"localdev: the service db uses the volume {VOLUME} of postgres: ")
    assert here.calls() == []
    # What only starts containers may be refused: stopping them is always allowed.
    assert here.make("dev-down").returncode == 0
    assert here.calls() == ["compose down"]


VOLUMES = ["--volumes", "-v", "--volumes=true", "-tv", "-vt3", "--timeout 3 --volumes"]


def test_data_goes_only_after_its_volumes_were_named_and_somebody_agreed(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    for turn, arguments in enumerate(VOLUMES):
        # Declared, there, and not of another project: these two.
        named = f"localdev: this deletes all data in {VOLUME}, shop_own"
        done = here.make("dev-down", f"ARGS={arguments}")
        assert done.stderr.splitlines()[:2] == [
            named,
            "localdev: nobody can be asked here, so nothing was deleted. To delete it: make dev-down ARGS='--volumes --yes'",
        ], arguments
        assert "Error 4" in done.stderr and here.calls() == []
        all_of_it = [f"compose down {arguments}"]
        answers = (("y", all_of_it), ("n", []), ("YES", all_of_it), ("", []))
        # By day a yes and a no for each, by turns.
        for answer, calls in answers if NIGHTLY else answers[turn % 2 * 2 :][:2]:
            typed = pexpect.spawn(
                "make", ["dev-down", f"ARGS={arguments}"], cwd=here.here, env=here.env, encoding="utf-8"
            )
            typed.expect_exact(f"{named}\r\nDelete it for good? [y/N] ")
            typed.sendline(answer)
            typed.expect(pexpect.EOF)
            typed.close()
            assert (typed.exitstatus == 0, here.calls()) == (bool(calls), calls), (arguments, answer)
        done = here.make("dev-down", f"ARGS={arguments} --yes")
        assert (done.returncode, here.calls()) == (0, [f"compose down {arguments}"])
    row = ["1", "shop-app-1", "exited", "shop", "app", "", "", "", "", f"{'0a' * 32},/srv", "shop_default", "", ""]
    theirs = ["2", "other", "exited", "other", "app", "", "", "", "", "1b" * 32, "", "", ""]
    here.says(config(), [row, theirs], [])
    done = here.make("dev-down", "ARGS=--volumes")
    assert done.stderr.splitlines()[0] == "localdev: this deletes all data in the unnamed volume of shop-app-1"
    assert here.calls() == []
    here.says(config(), [], ["other"])
    assert here.make("dev-down", "ARGS=--volumes").returncode == 0, "there is nothing to delete"
    assert here.calls() == ["compose down --volumes"]
    for arguments in ("", "--timeout 3", "--rmi local", "--volume", "--remove-orphans"):
        assert here.make("dev-down", f"ARGS={arguments}").returncode == 0
        assert here.calls() == [f"compose down {arguments}".strip()]


def test_where_nothing_can_be_known_no_data_goes_and_up_says_unknown(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    (here.folder / "config").write_text("services: {}\n")
    done = here.make("dev-down", "ARGS=--volumes --yes")
    assert done.returncode != 0 and here.calls() == []
    assert done.stderr.splitlines()[0] == (
        "localdev: nothing was deleted: whose data it is cannot be known, as `docker compose config --format json` fails. "
        "Without a check: docker compose down --volumes"
    )
    done = here.make("dev-up")
    assert here.calls() == []
    assert done.stderr.splitlines()[0] == (
        "localdev: `docker compose config --format json` prints no JSON. Install Docker Compose 2.23.1 or later"
    )
    here.says(config(), [], [])
    (here.folder / "containers").unlink()
    here.make("dev-up")
    assert here.calls() == ["compose up --detach"]


# What Makefiles of this world set, for themselves; each for a make that knows it.
SETTINGS = [
    "ARGS ?= -v", "ARGS := -v", "export ARGS := -v", "override ARGS := -v", "dev-down: ARGS := -v", "all: ARGS := -v",
    "COMPOSE := docker compose -f theirs.yml", "export COMPOSE := docker compose -f theirs.yml", "COPIER := false",
    "LOCALDEV := false", "SHELL := /bin/false", "SHELL := /bin/bash\n.SHELLFLAGS := -euxo pipefail -c", ".SHELLFLAGS := -n -c",
    ".RECIPEPREFIX := >", ".ONESHELL:", ".POSIX:", ".SILENT:", ".SECONDEXPANSION:", ".EXPORT_ALL_VARIABLES:", ".SUFFIXES:",
    ".DEFAULT_GOAL := all", ".DELETE_ON_ERROR:", ".NOTPARALLEL:", "MAKEFLAGS += --warn-undefined-variables -rR", "MAKEFLAGS += -j4",
    "MAKEFLAGS += -k", "VPATH := .localdev",
]  # fmt: skip
MAKES = ["make", *([os.environ["MAKE381"]] if os.environ.get("MAKE381") else [])]


@pytest.mark.parametrize("program", MAKES)
def test_nothing_that_a_makefile_or_an_environment_sets_steers_our_targets(repo_with_fakes: Repo, program: str) -> None:
    here = repo_with_fakes
    for setting in SETTINGS:
        if program != "make" and "RECIPEPREFIX" in setting:
            continue  # make 3.81 does not know it
        mark = ">" if "RECIPEPREFIX" in setting else "\t"
        (here.here / "Makefile").write_text(
            f"{setting}\nall: dev-down\nmine:\n{mark}@echo $(MAKEFILE_LIST) $(.DEFAULT_GOAL)\ninclude .localdev/localdev.mk\n"
        )
        # `override` is the one way to take an argument from make's own command line.
        given = [] if setting.startswith("override") else ["--timeout 3"]
        for words, calls in [
            (["all"], ["compose down"]),
            (["dev-logs", f"ARGS={' '.join(given)}"], [" ".join(["compose logs --follow --tail 100", *given])]),
        ]:
            done = here.make(*words, program=program)
            assert (done.returncode, here.calls(), done.stderr) == (0, calls, ""), (setting, words)
        shown = here.make("-n", "dev-update", program=program).stdout
        assert shown.startswith("CDPATH= cd .localdev/.. && { command -v python3 ")
        assert shown.split()[-6:] == ["python3", "-I", "-B", ".localdev/stack", "update", "--"]
        if not setting.startswith(("SHELL := /bin/false", ".SHELLFLAGS := -n")):
            assert here.make("-s", "mine", program=program).stdout == "Makefile all\n", setting
    (here.here / "Makefile").write_text("include .localdev/localdev.mk\n")
    for name in ("ARGS", "COMPOSE", "COPIER", "LOCALDEV", "SHELL", "MAKEFILE_LIST"):
        assert here.make("dev-down", program=program, **{name: "-v"}).returncode == 0
        assert here.calls() == ["compose down"], name


def test_arguments_of_another_target_are_not_ours(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    (here.here / "Makefile").write_text("""include .localdev/localdev.mk
test: dev-logs ; @printf '%s' "$(ARGS)"
again: ; @$(MAKE) -s dev-logs
down: dev-down
""")
    for goals, calls in (
        (["test"], ["compose logs --follow --tail 100"]),
        (["again"], ["compose logs --follow --tail 100"]),
        (["dev-logs"], ["compose logs --follow --tail 100 -k"]),
        (["down"], ["compose down -k"]),
    ):
        done = here.make("-s", *goals, "ARGS=-k")
        assert (done.returncode, here.calls()) == (0, calls), (goals, done.stderr)


def test_what_a_makefile_reads_of_dotenv_and_exports_does_not_reach_compose_with_its_quotes(
    repo_with_fakes: Repo,
) -> None:
    here = repo_with_fakes
    (here.here / ".env").write_text('COMPOSE_PROJECT_NAME="shop"\nREDIS_PORT="26379" # mine\nAPP=1\n')
    (here.here / "Makefile").write_text("include .env\nexport\ninclude .localdev/localdev.mk\n")
    (here.folder / "bin/docker").write_text(f"#!/bin/sh\nenv >{here.folder}/seen\n")
    assert here.make("dev-logs").returncode == 0
    seen = (here.folder / "seen").read_text().splitlines()
    assert "APP=1" in seen and not [line for line in seen if line.startswith(("COMPOSE_", "REDIS_PORT="))]
    # What the shell has counts, as it does for Compose itself.
    (here.here / "Makefile").write_text("export\ninclude .localdev/localdev.mk\n")
    assert here.make("dev-logs", REDIS_PORT="26380").returncode == 0
    assert "REDIS_PORT=26380" in (here.folder / "seen").read_text().splitlines()


def test_the_targets_work_in_their_own_folder_wherever_they_are_included_from(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    (here.here / "sub").mkdir()
    (here.here / "sub/Makefile").write_text("include ../.localdev/localdev.mk\n")
    for folder in (here.here / "sub", here.here):
        env = here.env | {"CDPATH": str(here.folder)}
        done = subprocess.run(["make", "dev-up"], cwd=folder, env=env, capture_output=True, text=True, check=True)
        assert here.calls() == ["compose up --detach"], done
        assert done.stdout.startswith("web  http://"), done


def test_an_include_changes_neither_the_shell_nor_the_variables_of_theirs(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    (here.here / "Makefile").write_text("""SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
include .localdev/localdev.mk
dev-down: mine
mine: ; @echo $$BASH_VERSION $(SHELL) $(.SHELLFLAGS) '$(COMPOSE)$(ARGS)$(COPIER)$(LOCALDEV)'
## help: what there is
help: ; @grep -E '^## ' $(MAKEFILE_LIST)
""")
    for words in (["-s", "mine"], ["-s", "dev-down"]):
        done = here.make(*words)
        assert done.stdout.split()[1:] == ["/bin/bash", "-euo", "pipefail", "-c"], done
        assert done.stdout.split()[0][0].isdigit()
    assert here.make("help").stdout == "## help: what there is\n", "grep has one file, and names none"


def test_errors_that_make_was_told_to_ignore_start_no_container_without_the_alias(repo_with_fakes: Repo) -> None:
    here = repo_with_fakes
    (here.here / "Makefile").write_text(".IGNORE:\ninclude .localdev/localdev.mk\n")
    (here.here / ".localdev/host-alias").write_text("#!/bin/sh\nexit 4\n")
    here.make("-i", "dev-up")
    assert here.calls() == []


def test_the_hook_names_a_volume_that_both_have(repo_with_fakes: Repo, template: Path, run: Run) -> None:
    here = repo_with_fakes
    ours, theirs = config(db={"volume": "alias"}), config(db={"volume": "alias"})
    del theirs["services"]["proxy"], theirs["services"]["postgres"]
    hook = ("python3", template / "hooks/generation.py", "after", ".copier-answers.localdev.yml")
    (here.here / "compose.yaml").write_text("include: [.localdev/compose.yaml]\nservices: {db: {image: x}}\n")
    line = f"the service db uses the volume {VOLUME} of postgres: {LOSS}. Fix: give db a volume of another name"
    for found in (ours, theirs):
        here.says(found, [], [])
        # Before the include is there, ours is asked for alone.
        (here.folder / "bin/docker").write_text(
            f"#!/bin/sh\ncase $* in *' -f .localdev/compose.yaml '*) cat {here.folder}/ours ;; *) cat {here.folder}/config ;; esac\n"
        )
        (here.folder / "ours").write_text(json.dumps(config()))
        done = run(*(sys.executable, *hook[1:]), cwd=here.here, env=here.env, check=True)
        assert line in done.stderr.splitlines()
    here.says(config(), [], [])
    assert "volume" not in run(sys.executable, *hook[1:], cwd=here.here, env=here.env, check=True).stderr


# --- the tools of somebody's Python project ------------------------------------------------------------------------------


def test_nothing_of_ours_is_found_by_tools_that_look_for_packages(rendered: Render, run: Run, tmp_path: Path) -> None:
    here = Path(shutil.copytree(rendered(databases="[postgres]", github_workflow="true"), tmp_path / "lib"))
    files = [path.relative_to(here) for path in here.rglob("*") if path.is_file()]
    assert sorted(str(path) for path in files if not path.parts[0].startswith(".")) == ["Makefile", "compose.yaml"]
    (here / "lib").mkdir()
    (here / "lib/__init__.py").write_text('"""\n>>> 1 + 1\n2\n"""\n')
    done = run(sys.executable, "-m", "pytest", "--doctest-modules", "-q", "-p", "no:cacheprovider", cwd=here)
    assert done.stdout.splitlines()[-1].startswith("1 passed"), done.stdout


# --- with a real engine --------------------------------------------------------------------------------------------------

PORTS = {
    "LOCALDEV_HTTP_PORT": "18080",
    "LOCALDEV_HTTPS_PORT": "18443",
    "POSTGRES_PORT": "15432",
    "LOCALDEV_HOST": "host-gateway",
}


@pytest.fixture(scope="module")
def two(rendered: Render, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Callable]]:
    """A repo with a running stack, a second worktree of it, and a function that runs make in one of them."""
    need_engine()
    folder = tmp_path_factory.mktemp("two")
    first = Path(shutil.copytree(rendered(databases="[postgres]", project_slug="two"), folder / "it's first"))
    commit(first, run)
    run("git", "worktree", "add", "-q", folder / "second", cwd=first, check=True)

    def make(where: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("make", *words, cwd=where, env=PORTS | env, timeout=200)

    up = make(first, "dev-up")
    assert up.returncode == 0, up.stderr
    yield first, folder / "second", make
    down = make(first, "dev-down", "ARGS=--volumes --yes --timeout 3")
    assert down.returncode == 0, down.stderr


def state(run: Run) -> list[str]:
    """Return containers and volumes of the project, and since when they are there."""
    ids = run(
        "docker", "ps", "-aq", "--no-trunc", "--filter", "label=com.docker.compose.project=two", cwd=PROJECT
    ).stdout
    started = run("docker", "inspect", "-f", "{{.Name}} {{.Id}} {{.State.StartedAt}}", *ids.split(), cwd=PROJECT).stdout
    volumes = run("docker", "volume", "ls", "-q", "--filter", "name=two_", cwd=PROJECT).stdout
    return sorted(started.splitlines()) + volumes.split()


@pytest.mark.engine
def test_a_second_worktree_leaves_the_first_ones_containers_and_data(two, run: Run) -> None:
    first, second, make = two
    before = state(run)
    assert any("two_localdev-postgres17-data" in line for line in before) and len(before) == 4
    for words in (["dev-up"], ["dev-reload"], ["dev-tls"], ["dev-down"], ["dev-down", "ARGS=--volumes --yes"]):
        done = make(second, *words)
        assert done.returncode != 0
        assert done.stderr.splitlines()[0].startswith(
            f"localdev: the containers of the project two belong to {first}. Fix: docker compose -p "
        )
    doctor = make(second, "dev-doctor", "ARGS=--json")
    assert "stack.elsewhere" in {finding["id"] for finding in json.loads(doctor.stdout)["findings"]}
    assert state(run) == before
    assert make(first, "dev-up").returncode == 0
    assert state(run) == before
    own = make(
        second,
        "dev-up",
        COMPOSE_PROJECT_NAME="two-2",
        LOCALDEV_HTTP_PORT="18081",
        LOCALDEV_HTTPS_PORT="18444",
        POSTGRES_PORT="15433",
    )
    assert own.returncode == 0, own.stderr
    make(second, "dev-down", "ARGS=--volumes --yes --timeout 3", COMPOSE_PROJECT_NAME="two-2")
    assert state(run) == before


@pytest.mark.engine
def test_somebody_elses_service_or_container_on_our_volume_is_seen_as_compose_and_the_engine_tell_it(
    two, run: Run
) -> None:
    first, _, make = two
    before, volume = state(run), "two_localdev-postgres17-data"

    def refused(text: str) -> None:
        assert make(first, "dev-up").stderr.startswith(f"localdev: {text}: ")

    @contextlib.contextmanager
    def stranger(name: str, *options: str) -> Iterator[None]:
        words = ("docker", "run", "-d", "--rm", "--name", name, *options, "redis:8-alpine", "sleep", "120")
        run(*words, cwd=PROJECT, check=True)
        yield
        run("docker", "stop", "-t", "0", name, cwd=PROJECT, check=True)

    mine = (first / "compose.yaml").read_text()
    theirs = f"services: {{db: {{image: redis:8-alpine, volumes: [pg:/data]}}}}\nvolumes: {{pg: {{name: {volume}}}}}\n"
    (first / "compose.yaml").write_text(f"{mine}\n{theirs}")
    refused(f"the service db uses the volume {volume} of postgres")
    (first / "compose.yaml").write_text(mine)
    with stranger("postgres", "--network", "two_default"):
        refused("the container postgres is called postgres in the network two_default, and so is postgres")
    with stranger("stranger", "-v", f"{volume}:/data"):
        refused(f"the container stranger uses the volume {volume} of postgres")
        report = json.loads(make(first, "dev-doctor", "ARGS=--json").stdout)
        (shared,) = [finding for finding in report["findings"] if finding["id"] == "stack.shared"]
        assert shared["fix"] == "docker stop stranger"
    assert state(run) == before

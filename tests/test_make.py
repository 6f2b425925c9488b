"""localdev.mk and the stubs: with every make that a machine may have, beside a user's own files."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from conftest import Render, Run
from needs import need_command

MAKES = ["make", *([os.environ["MAKE381"]] if os.environ.get("MAKE381") else [])]


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest, run: Run, tmp_path: Path):
    """Runs make in a repo in which docker, sudo and copier are fakes that write down how they were called."""
    program = need_command(request.param)
    tools = tmp_path / "tools"
    tools.mkdir()
    calls = tmp_path / "calls"
    for name in ("docker", "copier", "podman"):
        fake = tools / name
        # What only asks Compose or the engine, with no answer here, is test_owners.py's business.
        fake.write_text(
            f'#!/bin/sh\ncase $* in *"config --format json" | "ps --"*) exit 1 ;; esac\n'
            f'printf "%s\\n" "{name} $*" >>{str(calls)!r}\n[ ! -e {str(tmp_path / "fail")!r} ]\n'
        )
        fake.chmod(0o755)
    # What listens on this machine is test_ports.py's business.
    (tools / "ss").write_text("#!/bin/sh\n")
    (tools / "ss").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"

    def make(*arguments: str, cwd: Path, **env: str):
        calls.unlink(missing_ok=True)
        # With the host gateway no alias is needed, and nothing of this machine is touched.
        done = run(program, *arguments, cwd=cwd, env={"PATH": path, "LOCALDEV_HOST": "host-gateway"} | env)
        done.calls = calls.read_text().splitlines() if calls.exists() else []
        return done

    return make


@pytest.mark.parametrize(
    ("target", "calls"),
    [
        ("dev-up", ["docker compose up --detach --wait"]),
        ("up", ["docker compose up --detach --wait"]),
        ("dev-down", ["docker compose down"]),
        ("down", ["docker compose down"]),
        ("dev-status", ["docker compose ps"]),
        ("dev-logs", ["docker compose logs --follow --tail 100"]),
        ("dev-reload", ["docker compose exec -T proxy /bin/sh /.localdev/proxy/entrypoint.sh reload"]),
        ("dev-urls", []),
        ("dev-alias", []),
        ("dev-alias-down", []),
        ("dev-update", ["copier update --trust -a .copier-answers.localdev.yml"]),
    ],
)
def test_each_target_runs_its_command_and_no_other(make, rendered: Render, target: str, calls: list[str]) -> None:
    done = make(target, cwd=rendered())
    assert (done.returncode, done.calls) == (0, calls), done.stderr


def test_help_is_the_default_and_lists_every_target(make, rendered: Render) -> None:
    done = make(cwd=rendered())
    targets = [line.split()[1] for line in done.stdout.splitlines()]
    lines = (rendered() / ".localdev/localdev.mk").read_text().replace("\\\n", "").splitlines()
    phony = next(line for line in lines if line.startswith("LOCALDEV_TARGETS"))
    assert targets == phony.split()[2:]
    assert [line.split(":")[0] for line in lines if line.startswith("dev-")] == targets
    assert make("dev-help", cwd=rendered()).stdout == done.stdout


def test_arguments_and_another_compose_reach_the_command(make, rendered: Render) -> None:
    here = rendered()
    assert make("dev-up", "LOCALDEV_COMPOSE=podman compose", cwd=here).calls == ["podman compose up --detach --wait"]
    assert make("dev-up", cwd=here, LOCALDEV_COMPOSE="podman compose").calls == ["podman compose up --detach --wait"]
    assert make("dev-up", "ARGS=proxy redis", cwd=here).calls == ["docker compose up --detach --wait proxy redis"]
    assert make("dev-down", "ARGS=--timeout 3", cwd=here).calls == ["docker compose down --timeout 3"]
    assert make("dev-update", "ARGS=-d alias_ip=10.254.254.253", cwd=here).calls == [
        "copier update --trust -a .copier-answers.localdev.yml -d alias_ip=10.254.254.253"
    ]
    assert make("dev-update", "LOCALDEV_COPIER=podman x", cwd=here).calls == [
        "podman x update --trust -a .copier-answers.localdev.yml"
    ]


def test_an_included_localdev_does_not_change_what_a_bare_make_does(make, repo: Render) -> None:
    here = repo()
    (here / "Makefile").write_text("include .localdev/localdev.mk\nmine:\n\t@printf mine\n")
    assert make(cwd=here).stdout == "mine"
    (here / "Makefile").write_text("mine:\n\t@printf mine\ninclude .localdev/localdev.mk\nother:\n")
    assert make(cwd=here).stdout == "mine"


def test_up_prints_the_urls_last(make, rendered: Render) -> None:
    done = make("dev-up", cwd=rendered(native_services="web:3000 api:4000"))
    assert [line.split()[-1 if line.startswith("All") else 1] for line in done.stdout.splitlines()] == [
        "http://my-app-s-repo.localhost:8080/",
        "http://web.my-app-s-repo.localhost:8080/",
        "http://api.my-app-s-repo.localhost:8080/",
        "http://my-app-s-repo.localhost:8080/__localdev/",
    ]


def test_the_port_in_dotenv_is_the_port_in_the_urls(make, repo: Render) -> None:
    here = repo()
    (here / ".env").write_text("LOCALDEV_HTTP_PORT=9090\n")
    assert ":9090/" in make("dev-urls", cwd=here).stdout
    assert ":9091/" in make("dev-urls", cwd=here, LOCALDEV_HTTP_PORT="9091").stdout


def test_an_error_in_routes_stops_up_before_any_container(make, repo: Render) -> None:
    here = repo()
    (here / ".localdev/routes").write_text("web 3000\napi\n")
    for target in ("dev-up", "dev-reload", "dev-urls"):
        done = make(target, cwd=here)
        assert done.returncode != 0
        assert done.stderr.splitlines()[-2].startswith(".localdev/routes:2: ")
        assert done.calls == []


def test_a_compose_file_without_the_include_is_told_which_line_to_add(make, repo: Render) -> None:
    here = repo()
    (here / "compose.yaml").rename(here / "docker-compose.yml")
    (here / "docker-compose.yml").write_text("services: {}\n")
    done = make("dev-up", cwd=here)
    assert done.returncode != 0
    assert "docker-compose.yml does not include .localdev/compose.yaml" in done.stderr
    assert "include: [.localdev/compose.yaml]" in done.stderr
    assert done.calls == []


def test_two_services_of_one_name_are_told_in_one_line_that_names_both_files(
    make, repo: Render, tmp_path: Path
) -> None:
    here = repo(databases="[redis]")
    (here / "compose.yaml").write_text(
        "include: [.localdev/compose.yaml]\nservices:\n    app: {image: x}\n    redis:\n        image: x\n"
    )
    (tmp_path / "tools/docker").write_text('#!/bin/sh\n[ "$2" != up ]\n')
    done = make("dev-up", cwd=here)
    assert done.returncode != 0
    assert "the service redis is in compose.yaml and in .localdev/compose.yaml" in done.stderr


def test_without_docker_one_line_says_what_to_install(make, rendered: Render, tmp_path: Path) -> None:
    (tmp_path / "tools/docker").unlink()
    tools = tmp_path / "only"
    tools.mkdir()
    for name in ("sh", "awk", "grep", "ip"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    done = make("dev-up", cwd=rendered(), PATH=str(tools))
    assert done.returncode != 0
    assert "there is no docker here. Install Docker" in done.stderr


def test_a_monorepos_subfolder_works_through_make_c(make, rendered: Render) -> None:
    done = make("-C", rendered().name, "dev-up", cwd=rendered().parent)
    assert (done.returncode, done.calls) == (0, ["docker compose up --detach --wait"])

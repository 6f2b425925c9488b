"""examples/: what the template makes, kept apart from what an example has of its own; and each runs as its README says."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import redis

from apps import running
from conftest import PROJECT, Render, Run
from machine import ALIAS_IP, curl, is_free, retry
from needs import need, need_command, need_node
from stack import Stack, running_stack

SCRIPT = runpy.run_path(str(PROJECT / ".ci/examples"))
EXAMPLES = PROJECT / "examples"
ANSWERS = SCRIPT["ANSWERS"]
each = pytest.mark.parametrize("example", SCRIPT["EXAMPLE_ANSWERS"])


def rendered_again(rendered: Render, example: str) -> Path:
    """Return a repo with the example's answers as Copier's command line makes it."""
    answers = SCRIPT["EXAMPLE_ANSWERS"][example]
    lists = {name: f"[{', '.join(value)}]" for name, value in answers.items() if isinstance(value, list)}
    return rendered(project_slug=example, **answers | lists)


def files(example: str, run: Run) -> dict[str, Path]:
    """Return the example's files that git does not ignore, by their paths in it."""
    listed = ("git", "ls-files", "-co", "--exclude-standard", "-z")
    names = run(*listed, cwd=EXAMPLES / example, check=True).stdout.split("\0")
    return {name: EXAMPLES / example / name for name in names if (EXAMPLES / example / name).is_file() and name}


def is_own(example: str, name: str) -> bool:
    return any(name == own or name.startswith(f"{own}/") for own in SCRIPT["OWN"][example])


def test_the_examples_are_what_the_template_makes(run: Run) -> None:
    done = run(sys.executable, ".ci/examples", "--check", cwd=PROJECT)
    assert done.returncode == 0, done.stderr  # it says: make examples
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {"minimal", "shop"}


@each
def test_an_example_is_what_copier_makes_but_for_what_is_its_own(example: str, rendered: Render, run: Run) -> None:
    repo = rendered_again(rendered, example)
    made = {str(path.relative_to(repo)): path for path in repo.rglob("*") if path.is_file()}
    there = files(example, run)
    for name in made.keys() - {name for name in made if is_own(example, name)}:
        # Neither a path of this machine nor a commit: the same everywhere.
        expected = re.sub(rb"(?m)^_.*\n", b"", made[name].read_bytes()) if name == ANSWERS else made[name].read_bytes()
        assert there[name].read_bytes() == expected, name
        assert os.access(there[name], os.X_OK) == os.access(made[name], os.X_OK), name
    assert {name for name in there if not is_own(example, name)} == {n for n in made if not is_own(example, n)}


@each
def test_what_is_an_examples_own_is_there_and_differs_from_what_the_template_makes(
    example: str, rendered: Render
) -> None:
    repo = rendered_again(rendered, example)
    for name in SCRIPT["OWN"][example]:
        assert (EXAMPLES / example / name).exists(), name
        if (repo / name).exists():
            assert (EXAMPLES / example / name).read_bytes() != (repo / name).read_bytes(), name
    assert {"Makefile", ".localdev/routes"} <= set(SCRIPT["OWN"]["shop"])
    # Its own targets stand below what the template wrote.
    assert (EXAMPLES / "shop/Makefile").read_text().startswith((PROJECT / "template/Makefile").read_text())


def test_gits_ignore_files_drop_nothing_of_an_example(rendered: Render, run: Run) -> None:
    for example in SCRIPT["EXAMPLE_ANSWERS"]:
        repo = rendered_again(rendered, example)
        names = [str(path.relative_to(repo)) for path in repo.rglob("*") if path.is_file()]
        command = ("git", "check-ignore", "--no-index", "--stdin")
        done = run(*command, cwd=EXAMPLES / example, input="\n".join(names))
        assert (done.returncode, done.stdout) == (1, "")


@each
def test_only_what_is_rendered_counts_as_generated(example: str, run: Run) -> None:
    names = files(example, run)
    command = ("git", "check-attr", "--stdin", "linguist-generated")
    text = run(*command, cwd=EXAMPLES / example, input="\n".join(names), check=True).stdout
    generated = {line.split(": ")[0] for line in text.splitlines() if line.endswith(": set")}
    assert generated == {name for name in names if not is_own(example, name)}


def test_npms_packages_are_pinned_and_name_no_registry() -> None:
    assert "://" not in (EXAMPLES / "shop/api/package-lock.json").read_text()
    assert re.search(r'"redis": "[0-9.]+"', (EXAMPLES / "shop/api/package.json").read_text())


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A clone in which `make examples` runs by the tests' own Python."""
    clone = Path(shutil.copytree(template, tmp_path / "it's a clone"))
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (clone / ".venv/bin/python").chmod(0o755)
    (clone / ".venv/requirements-test").touch()
    return clone


def check(clone: Path, run: Run) -> tuple[int, str]:
    """Return what --check says; it changes nothing."""
    before = run("git", "diff", cwd=clone).stdout, run("git", "status", "--porcelain", cwd=clone).stdout
    done = run(sys.executable, ".ci/examples", "--check", cwd=clone)
    assert (run("git", "diff", cwd=clone).stdout, run("git", "status", "--porcelain", cwd=clone).stdout) == before
    return done.returncode, done.stderr


def test_a_changed_template_shows_as_a_diff_of_the_examples(clone: Path, run: Run) -> None:
    assert check(clone, run) == (0, "")
    conf = clone / "template/.localdev/host-alias.conf.jinja"
    conf.write_text(conf.read_text() + "# new\n")
    (clone / "template/.localdev/sh/env.awk").rename(clone / "template/.localdev/sh/environment.awk")
    (clone / "examples/minimal/left-over").touch()
    (clone / "examples/shop/.localdev/host-alias").chmod(0o644)
    stale = (
        "minimal/.localdev/host-alias.conf, minimal/.localdev/sh/env.awk, minimal/.localdev/sh/environment.awk, "
        "minimal/left-over, shop/.localdev/host-alias, shop/.localdev/host-alias.conf, "
        "shop/.localdev/sh/env.awk, shop/.localdev/sh/environment.awk"
    )
    assert check(clone, run) == (1, f"examples: stale: {stale}. Run: make examples\n")
    run("make", "examples", cwd=clone, check=True)
    assert check(clone, run) == (0, "")
    run("git", "add", "--all", "examples", cwd=clone, check=True)
    assert run("git", "diff", "--staged", "--summary", cwd=clone).stdout.splitlines() == [
        " rename examples/minimal/.localdev/sh/{env.awk => environment.awk} (100%)",
        " rename examples/shop/.localdev/sh/{env.awk => environment.awk} (100%)",
    ]
    numbers = run("git", "diff", "--staged", "--shortstat", cwd=clone).stdout
    assert numbers == " 4 files changed, 2 insertions(+)\n"


def test_what_an_example_has_of_its_own_is_kept_and_the_rest_is_rendered_anew(clone: Path, run: Run) -> None:
    for name in ("Makefile", "compose.yaml", ".localdev/routes"):
        for example in ("minimal", "shop"):
            path = clone / "examples" / example / name
            path.write_text(path.read_text() + "# mine\n")
    (clone / "examples/shop/web/new.rb").touch()
    # What git ignores is neither named nor deleted: this machine's ports and key, what was installed.
    (clone / "examples/minimal/.env").touch()
    (clone / "examples/shop/.localdev/tls.pem").touch()
    (clone / "examples/shop/api/node_modules").mkdir()
    stale = "minimal/.localdev/routes, minimal/Makefile, minimal/compose.yaml, shop/compose.yaml"
    assert check(clone, run) == (1, f"examples: stale: {stale}. Run: make examples\n")
    run("make", "examples", cwd=clone, check=True)
    kept = run("git", "status", "--porcelain", cwd=clone).stdout.splitlines()
    assert kept == [" M examples/shop/Makefile", " M examples/shop/.localdev/routes", "?? examples/shop/web/new.rb"]
    assert (clone / "examples/minimal/.env").exists()
    assert (clone / "examples/shop/.localdev/tls.pem").exists()
    assert (clone / "examples/shop/api/node_modules").exists()


def test_names_yaml_follows_from_the_routes(clone: Path, run: Run) -> None:
    shop = clone / "examples/shop/.localdev"
    with (shop / "routes").open("a") as routes:
        routes.write("web         3000    shop.example.test\n")
    assert check(clone, run) == (1, "examples: stale: shop/.localdev/names.yaml. Run: make examples\n")
    run("make", "examples", cwd=clone, check=True)
    assert "- shop.example.test\n" in (shop / "names.yaml").read_text()
    command = ("awk", "-v", "want=names", "-f", "routes.awk", "host-alias.conf", "routes")
    assert (shop / "names.yaml").read_text() == run(*command, cwd=shop, check=True).stdout


PORTS = {"LOCALDEV_HTTP_PORT": "8193", "POSTGRES_PORT": "8194", "REDIS_PORT": "8195"}


@pytest.fixture
def shop(template: Path, run: Run, tmp_path: Path) -> Iterator[Stack]:
    """A copy of the shop, without what was installed in it, after its `make dev-up`."""
    with running_stack(lambda: template / "examples/shop", run, tmp_path, PORTS) as stack:
        yield stack


def started(stack: Stack, target: str, env: dict[str, str]) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run `make TARGET`, which starts a service, until the end of a with statement."""
    return running(["make", target], stack.repo, env | stack.ports)


def ask(stack: Stack, words: str, host: str = "", path: str = "/", *options: str, expected: int = 200) -> None:
    """Raise unless the answer has `words`."""
    status, body = curl(stack.url(host, path), *options)
    assert status == expected and words in body, (status, body)


@pytest.mark.engine
def test_the_shop_runs_as_its_readme_says(shop: Stack, clean_env: dict[str, str]) -> None:
    need_command("bundle", "ruby-bundler ruby-pg ruby-rails puma")
    need_node(20)
    for port in (3000, 4000):
        need(is_free(port, ALIAS_IP), f"port {port} of {ALIAS_IP}", "stop what listens there")
    readme = (shop.repo / "README.md").read_text()
    assert re.findall(r"(?s)```sh\n(.*?)```", readme) == ["make dev-up\n", "make web\n", "make api\n"]
    addresses = re.findall(r"<(http://[^>]+)>", readme)
    assert len(addresses) == 5
    # `make dev-up` found nothing to write.
    assert (shop.repo / ".localdev/names.yaml").read_bytes() == (EXAMPLES / "shop/.localdev/names.yaml").read_bytes()

    with started(shop, "web", clean_env):
        retry(lambda: ask(shop, "Teapot"), 60)
        with psycopg.connect(f"postgresql://dev:dev@127.0.0.1:{PORTS['POSTGRES_PORT']}/dev") as database:
            database.execute("insert into products (name, cents) values ('Gaiwan', 2100)")
        ask(shop, "Gaiwan")
        ask(shop, "the api is down", "admin.")
        with started(shop, "api", clean_env):
            retry(lambda: ask(shop, '{"items":0}', "", "/api/cart"), 120)
            ask(shop, '{"items":1}', "", "/api/cart", "-X", "POST")
            ask(shop, '{"items":2}', "api.", "/api/cart", "-X", "POST")
            ask(shop, '"service":"api"', "api.")
            cart = redis.Redis(port=int(PORTS["REDIS_PORT"]), password="dev")
            assert cart.get("cart") == b"2"
            cart.set("cart", 7001)
            ask(shop, "7001", "admin.")
            for address in addresses:
                assert curl(address.replace(":8080", f":{PORTS['LOCALDEV_HTTP_PORT']}"))[0] == 200, address
            doctor = shop.make("dev-doctor")
            assert (doctor.returncode, "FAIL" in doctor.stdout) == (0, False), doctor.stdout
            ask(shop, '{"items":0}', "", "/api/cart", "-X", "DELETE")
        retry(lambda: ask(shop, "api does not answer at 10.254.254.254:4000", "", "/api/cart", expected=502))
        ask(shop, "Gaiwan")
    retry(lambda: ask(shop, "web does not answer at 10.254.254.254:3000", expected=502))


@pytest.mark.engine
def test_minimal_runs_as_the_readme_says(template: Path, run: Run, clean_env: dict[str, str], tmp_path: Path) -> None:
    need(is_free(3000, ALIAS_IP), f"port 3000 of {ALIAS_IP}", "stop what listens there")
    readme = (EXAMPLES / "README.md").read_text()
    (serve,) = re.findall(r"`(python3 -m http.server [^`]+)`", readme)
    port = {"LOCALDEV_HTTP_PORT": PORTS["LOCALDEV_HTTP_PORT"]}
    with running_stack(lambda: template / "examples/minimal", run, tmp_path, port) as stack:
        assert f"<{stack.url().replace(PORTS['LOCALDEV_HTTP_PORT'], '8080')}>" in readme
        with running(serve.split(), stack.repo, clean_env):
            retry(lambda: ask(stack, "compose.yaml"))

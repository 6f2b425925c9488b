"""`make examples` renders examples/, and each example runs as its README says."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from apps import running
from conftest import PROJECT, Run
from fast_copier import with_copier
from host import ALIAS_IP, curl, is_free, retry
from needs import need, need_command, need_node
from running import Stack, running_stack

PORTS = {"LOCALDEV_HTTP_PORT": "8193", "LOCALDEV_HTTPS_PORT": "8196", "POSTGRES_PORT": "8194", "REDIS_PORT": "8195"}


def make_examples(clone: Path, run: Run) -> Path:
    """Run `make examples` in `clone`; return the folder with the repos."""
    done = run("make", "examples", cwd=clone, check=True)
    assert done.stdout.split() == ["examples/rendered/minimal", "examples/rendered/shop"]
    return clone / "examples/rendered"


@pytest.fixture
def clone(project: Path, tmp_path: Path) -> Path:
    """A clone with the tests' own Copier."""
    clone = Path(shutil.copytree(project, tmp_path / "it's a clone"))
    with_copier(clone)
    return clone


def test_make_examples_renders_the_files_as_they_are_and_keeps_what_git_ignores(clone: Path, run: Run) -> None:
    made = clone / "examples/rendered"
    # What an earlier version made. Makefile and routes are files that Copier does not overwrite.
    old = [made / name for name in ("shop/.localdev/alias/old.sh", "minimal/Makefile", "shop/.localdev/routes")]
    kept = [
        made / name for name in ("minimal/.env", "shop/.localdev/stack/__pycache__/x.pyc", "shop/api/node_modules/x")
    ]
    for path in (*old, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old\n")
    shutil.copy(clone / "template/.localdev/.gitignore", made / "shop/.localdev")
    shutil.copy(clone / "examples/shop/.gitignore", made / "shop")
    # Nothing of this is committed.
    (clone / "template/.localdev/stack/environment.py").rename(clone / "template/.localdev/stack/env.py")
    for name in ("template/Makefile", "examples/shop/.localdev/routes"):
        (clone / name).write_text("# new\n")
    make_examples(clone, run)
    assert {path.read_text() for path in kept} == {"old\n"}
    assert not old[0].exists()
    assert {path.name for path in made.glob("*/.localdev/stack/env*")} == {"env.py"}
    assert (made / "minimal/Makefile").read_text() == (made / "shop/.localdev/routes").read_text() == "# new\n"
    assert 'name: "shop"' in (made / "shop/compose.yaml").read_text()
    assert "rendered" not in run("git", "status", "--porcelain", "-uall", cwd=clone, check=True).stdout


def test_the_shops_makefile_begins_like_the_templates_and_npms_packages_name_no_registry() -> None:
    shop = PROJECT / "examples/shop"
    assert (shop / "Makefile").read_text().startswith((PROJECT / "template/Makefile").read_text())
    assert "://" not in (shop / "api/package-lock.json").read_text()


def ask(stack: Stack, words: str, host: str = "", path: str = "/", *options: str, expected: int = 200) -> None:
    """Raise unless the answer has `words`."""
    status, body = curl(stack.url(host, path), *options)
    assert status == expected and words in body, (status, body)


@pytest.fixture
def shop(clone: Path, run: Run, tmp_path: Path) -> Iterator[Stack]:
    """The shop after its `make dev-up`."""
    with running_stack(lambda: make_examples(clone, run) / "shop", run, tmp_path, PORTS) as stack:
        yield stack


@pytest.mark.engine
def test_the_shop_runs_as_its_readme_says(shop: Stack, clean_env: dict[str, str]) -> None:
    need_command("bundle", "ruby-bundler ruby-pg ruby-rails puma")
    need_node(20)
    need(is_free(3000, ALIAS_IP) and is_free(4000, ALIAS_IP), "ports 3000 and 4000", "stop what listens there")
    readme = (shop.repo / "README.md").read_text()
    assert re.findall(r"(?s)```sh\n(.*?)```", readme) == ["make dev-up\n", "make web\n", "make api\n"]
    addresses = re.findall(r"<(http://[^>]+)>", readme)
    assert len(addresses) == 5
    env = clean_env | shop.ports
    with running(["make", "web"], shop.repo, env):
        retry(lambda: ask(shop, "Teapot"), 60)
        with psycopg.connect(f"postgresql://dev:dev@127.0.0.1:{PORTS['POSTGRES_PORT']}/dev") as database:
            database.execute("insert into products (name, cents) values ('Gaiwan', 2100)")
        ask(shop, "Gaiwan")
        ask(shop, "the api is down", "admin.")
        with running(["make", "api"], shop.repo, env):
            retry(lambda: ask(shop, '{"items":0}', "", "/api/cart"), 120)
            ask(shop, '{"items":1}', "", "/api/cart", "-X", "POST")
            ask(shop, '{"items":2}', "api.", "/api/cart", "-X", "POST")
            ask(shop, '"service":"api"', "api.")
            redis.Redis(port=int(PORTS["REDIS_PORT"]), password="dev").incrby("cart", 7000)
            ask(shop, "7002", "admin.")
            for address in addresses:
                assert curl(address.replace(":8080", f":{PORTS['LOCALDEV_HTTP_PORT']}"))[0] == 200, address
            doctor = shop.make("dev-doctor")
            assert (doctor.returncode, "FAIL" in doctor.stdout) == (0, False), doctor.stdout
            ask(shop, '{"items":0}', "", "/api/cart", "-X", "DELETE")
        retry(lambda: ask(shop, "api does not answer at 10.254.254.254:4000", "", "/api/cart", expected=502))
        ask(shop, "Gaiwan")
    retry(lambda: ask(shop, "web does not answer at 10.254.254.254:3000", expected=502))


@pytest.mark.engine
def test_minimal_runs_as_the_readme_says(clone: Path, run: Run, clean_env: dict[str, str], tmp_path: Path) -> None:
    need(is_free(3000, ALIAS_IP), f"port 3000 of {ALIAS_IP}", "stop what listens there")
    readme = (PROJECT / "examples/README.md").read_text()
    (serve,) = re.findall(r"`(python3 -m http.server [^`]+)`", readme)
    port = {name: PORTS[name] for name in ("LOCALDEV_HTTP_PORT", "LOCALDEV_HTTPS_PORT")}
    with running_stack(lambda: make_examples(clone, run) / "minimal", run, tmp_path, port) as stack:
        assert f"<{stack.url().replace(PORTS['LOCALDEV_HTTP_PORT'], '8080')}>" in readme
        with running(serve.split(), stack.repo, clean_env):
            retry(lambda: ask(stack, "compose.yaml"))

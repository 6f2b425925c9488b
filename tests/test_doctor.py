"""The doctor on this machine, whatever that has: its command line, its two forms of output, and what it says to change."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

import doctor as package
from compose import Container
from conftest import PROJECT, TOOLS, Render, Run
from doctor import containers, services
from doctor.engine import Finding
from host import ALIAS_IP as IP
from machine import system
from needs import need, need_command
from routes import Route
from versions import commit

SCHEMA = json.loads((PROJECT / "docs/doctor.schema.json").read_text())
# No engine is asked: what is here does not depend on this machine's.
NO_ENGINE = ("no-such-engine", "compose")

Done = subprocess.CompletedProcess[str]


def doctor(run: Run, repo: Path, *words: str, engine: tuple[str, ...] = NO_ENGINE, **env: str) -> Done:
    """Run the doctor in `repo`; it complains nowhere but in its report."""
    command = ("python3", "-W", "error", "-I", "-B", ".localdev/stack", "doctor", *engine, "--", *words)
    done = run(*command, cwd=repo, env=env, timeout=60)
    assert done.stderr == ""
    return done


def findings(run: Run, repo: Path, **more: Any) -> list[dict[str, Any]]:
    """Return what the doctor finds in `repo`, as its schema describes it."""
    done = doctor(run, repo, "--json", **more)
    report = json.loads(done.stdout)
    jsonschema.validate(report, SCHEMA)
    levels = [finding["level"] for finding in report["findings"]]
    assert (report["failures"], report["warnings"]) == (levels.count("fail"), levels.count("warn"))
    assert (done.returncode, report["ok"]) == ((1, False) if "fail" in levels else (0, True))
    failed = [finding for finding in report["findings"] if finding["level"] == "fail"]
    assert all(finding["fix"] for finding in failed)
    assert report["first"] == (failed[0]["fix"] if failed else None)
    return list(report["findings"])


def everything(repo: Path) -> dict[str, float]:
    """Return all that is in `repo`, files with when they were changed."""
    return {str(path): 0 if path.is_dir() else path.lstat().st_mtime for path in repo.rglob("*")}


# ---- the command line


def test_a_command_line_or_a_configuration_that_cannot_be_is_one_line(repo: Render, run: Run) -> None:
    here = repo()
    conf = here / ".localdev/host-alias.conf"
    command = ("python3", "-I", "-B", ".localdev/stack", "doctor", *NO_ENGINE, "--")
    for text, words, said in (
        (conf.read_text(), ("--yaml",), "localdev: make dev-doctor knows no --yaml, only ARGS=--json"),
        (conf.read_text(), ("--json", "extra"), "localdev: make dev-doctor knows no --json extra, only ARGS=--json"),
        ("# nothing\n", (), ".localdev/host-alias.conf has no line "),
        ("label=x\nip=ten\n", (), ".localdev/host-alias.conf:2: ip must be an address"),
        (None, (), "localdev: .localdev/host-alias.conf: No such file"),
    ):
        conf.unlink() if text is None else conf.write_text(text)
        done = run(*command, *words, cwd=here)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.startswith(said) and done.stderr.count("\n") == 1, done.stderr


def test_an_alias_that_cannot_be_one_comes_with_the_fix(repo: Render, run: Run) -> None:
    folder = repo()
    commit(folder, run)
    conf = folder / ".localdev/host-alias.conf"
    conf.write_text(re.sub("(?m)^ip=.*", "ip=127.0.0.1", conf.read_text()))
    (found,) = (one for one in findings(run, folder) if one["subject"] == "alias")
    assert (found["level"], found["id"]) == ("fail", "alias.invalid")
    assert ".localdev/host-alias.conf:" in found["text"]
    fix, _, then = found["fix"].partition(" && ")
    assert then == "make dev-alias"
    run("sh", "-c", fix, cwd=folder, check=True)
    assert "alias.invalid" not in {one["id"] for one in findings(run, folder)}


def test_without_a_python3_or_with_an_old_one_make_says_so_in_one_line(
    rendered: Render, run: Run, tmp_path: Path
) -> None:
    for name in ("sh", "env", "make"):
        (tmp_path / name).symlink_to(need_command(name))
    old = "import runpy, sys; sys.version_info = (3, 8, 20); runpy.run_path('.localdev/stack', run_name='__main__')"
    for python3, line in (
        ("", "localdev: python3 is missing. Install it: "),
        (
            f'#!/bin/sh\nexec /usr/bin/python3 -I -B -c "{old}"\n',
            "localdev: python3 3.9 or later is needed. Install it: ",
        ),
    ):
        if python3:
            (tmp_path / "python3").write_text(python3)
            (tmp_path / "python3").chmod(0o755)
        done = run("make", "dev-doctor", cwd=rendered(), env={"PATH": str(tmp_path)})
        said, *rest = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (2, "")
        assert said.startswith(line) and "apt install python3" in said
        assert [line for line in rest if not line.startswith("make")] == []


def test_make_dev_doctor_is_the_doctor(rendered: Render, run: Run) -> None:
    make = ("make", "dev-doctor", "LOCALDEV_COMPOSE=no-such-engine compose")
    done = run(*make, cwd=rendered())
    assert (done.returncode, done.stdout) == (2, doctor(run, rendered()).stdout)
    jsonschema.validate(json.loads(run(*make, "ARGS=--json", cwd=rendered()).stdout), SCHEMA)
    text = run(*make, "LOCALDEV_PREFIX=stack-", "dev-doctor", cwd=rendered()).stdout
    assert "make dev-" not in text


def test_the_doctor_writes_nothing(repo: Render, run: Run) -> None:
    here = repo()
    before = everything(here)
    for words in ([], ["--json"]):
        doctor(run, here, *words)
    assert everything(here) == before


def test_it_runs_with_python_3_9(run: Run) -> None:
    folder = PROJECT / "template/.localdev/stack"
    done = run(TOOLS / "vermin", "-t=3.9-", "--violations", "--no-tips", folder, cwd=PROJECT)
    assert done.returncode == 0 and "Minimum required versions: 3.9\n" in done.stdout, done.stdout
    # Annotations, which vermin does not read, are never run.
    paths = list(folder.rglob("*.py"))
    assert len(paths) > 25
    for path in paths:
        assert "from __future__ import annotations\n" in path.read_text(), path


# ---- the report


def test_json_is_as_the_schema_says_and_the_schema_refuses_all_else(rendered: Render, run: Run) -> None:
    for more in ({}, {"LOCALDEV_HOST": "host-gateway"}, {"engine": ("docker", "compose")}):
        found = findings(run, rendered(), **more)
        assert found[0]["id"].startswith("runtime.") and len(found) >= 4
    report = json.loads(doctor(run, rendered(), "--json").stdout)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    finding = report["findings"][0]
    for changed in (
        {**report, "version": 2},
        {**report, "more": 1},
        {key: value for key, value in report.items() if key != "first"},
        {**report, "findings": [{**finding, "level": "error"}]},
        {**report, "findings": [{**finding, "id": "runtime"}]},
        {**report, "findings": [{**finding, "text": ""}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed, SCHEMA)


def test_columns_are_aligned(repo: Render, run: Run) -> None:
    here = repo()
    (here / ".localdev/routes").write_text("a 3000\na-service-with-a-long-name 4000\n")
    found = findings(run, here)
    width = len("a-service-with-a-long-name")
    lines = doctor(run, here).stdout.splitlines()
    for one in found:
        word = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[one["level"]]
        at = lines.index(f"{word}  {one['subject']:<{width}}  {one['text']}")
        if one["fix"]:
            assert lines[at + 1] == f"      {'fix':<{width}}  {one['fix']}"
    assert len(lines) == len(found) + sum(bool(one["fix"]) for one in found) + 2
    assert lines[-2] == ""


def test_the_last_line_says_how_it_is_and_what_to_do_first() -> None:
    for levels, last, first in (
        ([], "Everything works.", None),
        ([("ok", None)], "Everything works.", None),
        ([("warn", "a"), ("ok", None)], "Everything works; 1 warning.", None),
        ([("warn", "a"), ("warn", None)], "Everything works; 2 warnings.", None),
        ([("warn", "a"), ("fail", "b"), ("fail", "c")], "2 failures, 1 warning. Run first: b", "b"),
        ([("fail", "b\033[2J\nc")], "1 failure. Run first: b?[2J c", "b?[2J c"),
    ):
        found = [package.clean(Finding(level, "alias.x", "alias", "text", fix)) for level, fix in levels]
        assert package.to_text(found, False).splitlines()[-1] == last
        assert json.loads(package.to_json(found))["first"] == first


def test_no_colours_without_a_terminal(rendered: Render, run: Run) -> None:
    assert "\033" not in doctor(run, rendered(), TERM="xterm").stdout


# ---- what other programs and files say


def test_each_error_of_routes_is_told_and_what_depends_on_it_is_not(repo: Render, run: Run) -> None:
    here = repo()
    (here / ".localdev/routes").write_text("web 3000\nWEB 1\napi\nadmin 99999\n")
    found = findings(run, here)
    errors = [one for one in found if one["id"] == "routes.invalid"]
    assert [(one["level"], one["subject"], one["text"].split(": ")[0]) for one in errors] == [
        ("fail", "routes", f".localdev/routes:{line}") for line in (2, 3, 4)
    ]
    assert all("make dev-reload" in one["fix"] for one in errors)
    assert not [one for one in found if one["id"].startswith(("service.", "route.", "names."))]
    (here / ".localdev/routes").unlink()
    (missing,) = [one for one in findings(run, here) if one["id"] == "routes.invalid"]
    assert (missing["text"], missing["fix"]) == (
        ".localdev/routes: No such file or directory",
        "git checkout -- .localdev/routes",
    )
    (here / ".localdev/routes").write_text("web 3000\n")
    assert "routes.invalid" not in {one["id"] for one in findings(run, here)}


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    yield free


LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.read()
"""


def test_a_name_cannot_move_the_cursor(repo: Render, run: Run, tmp_path: Path, port: int) -> None:
    here = repo()
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    program = tmp_path / "a\033[2J\nb\u202eprogram"
    shutil.copy(python, program)
    (here / ".localdev/routes").write_text(f"web {port}\n")
    with subprocess.Popen([program, "-c", LISTEN, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            need(process.stdout.readline() == b"listening\n", "a Python that can be copied", "apt-get install python3")
            text = doctor(run, here).stdout
        finally:
            process.stdin.close()
    assert not re.search(r"[^\n -~\u2026]", text)
    line = next(line for line in text.splitlines() if line.startswith("FAIL  web "))
    assert "program" in line and f"pid {process.pid}" in line and f"listens on 127.0.0.1:{port} only" in line


def test_an_error_cannot_move_the_cursor(repo: Render, run: Run) -> None:
    here = repo()
    (here / ".localdev/routes").write_text("web 3000 x\033[2Jy\n")
    assert "\033" not in doctor(run, here).stdout
    assert [one for one in findings(run, here) if "control character" in one["text"]]


def test_a_report_that_cannot_be_written_is_one_line(rendered: Render, run: Run) -> None:
    command = f"python3 -I -B .localdev/stack doctor {' '.join(NO_ENGINE)}"
    done = run("sh", "-c", f"{command} >/dev/full", cwd=rendered())
    said = "localdev: the report cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)
    # Who reads has seen enough.
    assert run("sh", "-c", f"{command} | exec <&-", cwd=rendered()).stderr == ""


def test_letters_that_the_terminal_does_not_have_are_no_end(rendered: Render, run: Run, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\n[ \"$*\" != 'compose version --short' ] || echo 2.40.3-\u00fc\n")
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C"}
    for utf8, name in (("1", "2.40.3-\u00fc"), ("0", "2.40.3-?")):
        command = ("python3", "-I", "-B", "-X", f"utf8={utf8}", ".localdev/stack", "doctor")
        assert f"Compose {name}\n" in run(*command, cwd=rendered(), env=env).stdout


@pytest.mark.parametrize(
    ("address", "id"), [("127.0.0.1", "service.loopback"), ("::1", "service.loopback6"), ("0.0.0.0", "service.all")]
)
def test_a_service_is_told_with_its_process_wherever_it_listens(
    address: str, id: str, repo: Render, run: Run, port: int
) -> None:
    here = repo()
    (here / ".localdev/routes").write_text(f"web {port}\n")
    assert "service.none" in {one["id"] for one in findings(run, here)}
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        try:
            server.bind((address, port))
        except OSError:
            need(False, f"an address {address} on this machine", "a machine with IPv6")
        server.listen()
        (found,) = [one for one in findings(run, here) if one["subject"] == "web"]
    assert found["id"] == id and f"pid {os.getpid()}" in found["text"]
    assert IP in found["fix"] and "\n" not in found["fix"]
    assert "service.none" in {one["id"] for one in findings(run, here)}


# ---- a container that has a service's port


def test_a_container_on_a_services_port_is_told_whoever_holds_it_for_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def container(name: str, project: str, *ports: int) -> Container:
        texts = (name, name, "running", project, "db", "/x", "/x/compose.yaml", "", "False")
        return Container(*texts, frozenset(), frozenset(), frozenset(ports))

    def judged(listeners: list[tuple[str, str]], *containers: Container) -> Finding:
        names = [name for _, name in listeners]
        monkeypatch.setattr(system, "process", lambda pid: (names[pid - 2], [names[pid - 2]], 1))
        rows = [(address, 3000, [number] if name else [], "") for number, (address, name) in enumerate(listeners, 2)]
        monkeypatch.setattr(system, "listeners", lambda: rows)
        facts = SimpleNamespace(
            routes=[SimpleNamespace(service="web", port=3000, native=True)],
            settings=SimpleNamespace(ip=IP),
            has_gateway=False,
            listen=IP,
            engine=["docker"],
            containers=SimpleNamespace(result=lambda: list(containers)),
        )
        (found,) = services.check(facts)
        return found

    ours, other = container("shop-db-1", "shop", 3000), container("lone", "", 8080)
    known = "the container shop-db-1 of the project shop has port 3000, where web should listen"
    fix = "docker stop shop-db-1, or publish another port of it"
    for holder in (
        *("docker-proxy", "rootlesskit", "com.docker.backend", "gvproxy", "limactl", "ssh", "OrbStack Helper", "pasta"),
        *("conmon", ""),
    ):
        for address in ("127.0.0.1", "*"):
            found = judged([(address, holder), ("::", holder)], other, ours)
            assert found == Finding("fail", "service.container", "web", known, fix), holder
    # Without docker-proxy nothing listens.
    assert judged([], ours).text == known
    assert judged([], container("lone", "", 3000)).text.startswith("the container lone has port 3000")
    # Another engine's, or on another address: never told to listen elsewhere.
    found = judged([("10.0.0.7", "docker-proxy")], other)
    assert (found.id, found.text.split(",")[0]) == ("service.container", "docker-proxy has port 3000 for a container")
    assert found.fix == "stop that container, or publish another port of it"
    # A service of its own beside it, a tunnel, and what nobody has.
    for name in ("node", ""):
        assert judged([("127.0.0.1", "docker-proxy"), (IP, name)], ours).id == "service.alias"
    assert judged([("127.0.0.1", "docker-proxy"), ("*", "node")], ours).id == "service.all"
    assert judged([("127.0.0.1", "ssh")], other).id == "service.loopback"
    assert judged([], other).id == "service.none"


# ---- what comes back through the proxy


def test_an_answer_is_read_as_far_as_it_can_be_and_told_from_the_proxys_own() -> None:
    route = Route(1, "web", "host-alias", 3000, "*.shop.localhost", "/a")
    page = '{{"error": "{}", "reason": "{}", "dashboard": "http://shop.localhost/__localdev/"}}'
    for status, body, length, expected in (
        (200, "data: 1", None, (200, "")),  # a stream: no length, and no end
        (200, "fine", 4, (200, "")),
        (404, page.format("no-route", ""), None, (404, "stale")),
        (502, page.format("down", "refused"), None, (502, "refused")),
        (502, '{"error": "down"}', None, (502, "")),
        (403, 'Blocked request. This host ("shop.test") is not allowed.', None, (403, "host-refused")),
        (500, "Invalid Host header", None, (500, "")),
        (0, "", None, (0, "closed")),
    ):
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
            port = server.getsockname()[1]
            asked = pool.submit(containers.get, SimpleNamespace(ports={port}), port, route)
            client = server.accept()[0]
            head = client.recv(9999).decode()
            assert head.startswith("GET /a HTTP/1.1\r\n") and f"\r\nHost: doctor.shop.localhost:{port}\r\n" in head
            line = f"HTTP/1.1 {status} X\r\n" + (f"Content-Length: {length}\r\n" if length else "")
            client.sendall(f"{line}\r\n{body}".encode() if status else b"")
            if expected != (200, "") or length:
                client.close()
            assert asked.result() == expected, body
            client.close()
    # The container has no such port: whatever answers there is not the proxy.
    assert containers.get(SimpleNamespace(ports=set()), port, route) == (0, "proxy")
    facts = SimpleNamespace(
        services={}, product="Docker Engine", settings=SimpleNamespace(ip=IP), has_gateway=False, words=["docker"]
    )
    for answer, id in (((200, "strange"), "route.answers"), ((502, "strange"), "route.error"), (None, "route.slow")):
        assert containers.judge_route(facts, route, "open", answer).id == id


# ---- which framework it is, and the line that lets it listen on the alias

GENERIC = f"let it listen on {IP}, port 3000; its manual calls that host, bind or address"
PLACE = f"--host {IP} --port 3000"
# What runs, from the process up to its parents; what that is called; and what to run instead.
COMMANDS = """
node /a/node_modules/.bin/vite | Vite | npx vite {PLACE}
node /a/node_modules/vite/bin/vite.js --port 4000 | Vite | npx vite {PLACE}
node vite --host 127.0.0.1 --port=3000 | Vite | npx vite {PLACE}
node vite --host --port 3000 | Vite | npx vite {PLACE}
node vite --port 3000 --host | Vite | npx vite {PLACE}
bun /a/vite -c 'my conf.ts' preview | Vite | npx vite -c 'my conf.ts' preview {PLACE}
node server.js; node /a/.bin/vite --open | Vite | npx vite --open {PLACE}
node /a/node_modules/.bin/next dev | Next | npx next dev -H {IP} -p 3000
node next dev --hostname localhost --port 3000 --turbo | Next | npx next dev --turbo -H {IP} -p 3000
next-server (v15.1.0) | Next | npx next dev -H {IP} -p 3000
node /a/nuxi.mjs dev --port 3000 | Nuxt | npx nuxi dev {PLACE}
node /a/.bin/nuxt dev --host 127.0.0.1 | Nuxt | npx nuxt dev {PLACE}
node /a/.bin/ng serve --port 3000 | Angular | npx ng serve {PLACE}
node /a/.bin/webpack serve --port 3000 | webpack-dev-server | npx webpack serve {PLACE}
node webpack-dev-server --host=::1 | webpack-dev-server | npx webpack-dev-server {PLACE}
webpack | webpack-dev-server | npx webpack serve {PLACE}
webpack; node /a/.bin/webpack serve --mode development | webpack-dev-server | npx webpack serve --mode development {PLACE}
python manage.py runserver | Django | python3 manage.py runserver {IP}:3000
python3.13 manage.py runserver 3000 | Django | python3 manage.py runserver {IP}:3000
python3 manage.py runserver localhost:3000 | Django | python3 manage.py runserver {IP}:3000
python3 manage.py runserver [::1]:3000 | Django | python3 manage.py runserver {IP}:3000
python3 manage.py runserver 127.0.0.1:3000 --noreload | Django | python3 manage.py runserver --noreload {IP}:3000
python3 /v/bin/django-admin runserver 3000 | Django | django-admin runserver {IP}:3000
python3 -m django runserver | Django | django-admin runserver {IP}:3000
/v/bin/python /v/bin/flask run -h 127.0.0.1 -p 3000 | Flask | flask run {PLACE}
python3 -m flask --app app run | Flask | flask --app app run {PLACE}
python3 /v/bin/fastapi dev main.py --port 3000 | FastAPI | fastapi dev main.py {PLACE}
python3 -m uvicorn a:b --host ::1 | uvicorn | uvicorn a:b {PLACE}
python3 /v/bin/gunicorn a:b | gunicorn | gunicorn a:b -b {IP}:3000
python3 gunicorn -b127.0.0.1:3000 a:b | gunicorn | gunicorn a:b -b {IP}:3000
python3 gunicorn --bind=[::1]:3000 -b 127.0.0.1:3000 a:b | gunicorn | gunicorn a:b -b {IP}:3000
python3 -m http.server -b 127.0.0.1 3000 | http.server | python3 -m http.server --bind {IP} 3000
ruby bin/rails server | Rails | bin/rails server -b {IP} -p 3000
ruby /a/bin/rails s -p 3000 --binding=localhost | Rails | bin/rails s -b {IP} -p 3000
puma 6.5.0 (tcp://localhost:3000) [app] | Puma | bundle exec puma -b tcp://{IP}:3000
puma: cluster worker 0: 41 [app]; puma 6.5.0 (tcp://localhost:3000) [app]; zsh | Puma | bundle exec puma -b tcp://{IP}:3000
php -S 127.0.0.1:3000 server.php; php artisan serve --host=127.0.0.1 | Laravel | php artisan serve {PLACE}
/usr/lib/erlang/erts-15/bin/beam.smp -- -root /usr/lib/erlang | Phoenix | in config/dev.exs: http: [ip: {10, 254, 254, 254}, port: 3000]
java -cp a org.springframework.boot.loader.launch.JarLauncher | Spring Boot | SERVER_ADDRESS={IP} (in the environment), or server.address={IP} in application.properties
/tmp/go-build1/b001/exe/main | | in the code: http.ListenAndServe(net.JoinHostPort("{IP}", "3000"), nil)
node server.js | | {GENERIC}
node /a/vite/server.js; zsh; login | | {GENERIC}
/a/my-next | | {GENERIC}
"""


def test_a_command_line_tells_the_framework_and_its_fix() -> None:
    for line in COMMANDS.strip().splitlines():
        lines, name, fix = (part.strip() for part in line.split("|"))
        for word, value in (("{IP}", IP), ("{PLACE}", PLACE), ("{GENERIC}", GENERIC)):
            fix = fix.replace(word, value)
        commands = [shlex.split(line) for line in lines.split("; ")]
        program = commands[0][0].rpartition("/")[2]
        assert services.framework_of(commands, program, IP, 3000, False) == (name, fix), lines
    assert services.framework_of([], "", IP, 3000, False) == ("", GENERIC)
    puma = [["puma", "6.5.0", "(tcp://localhost:3000)", "[app]"]]
    assert services.framework_of(puma, "ruby", IP, 3000, True) == ("Puma", f"bin/rails server -b {IP} -p 3000")

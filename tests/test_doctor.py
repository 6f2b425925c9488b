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
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import LOCALDEV, PROJECT, TOOLS, Render, Run
from host import ALIAS_IP as IP
from needs import need, need_command
from versions import commit

DOCTOR = LOCALDEV / "doctor"
SCHEMA = json.loads((DOCTOR / "schema.json").read_text())
# No engine is asked: what is here does not depend on this machine's.
NO_ENGINE = {"LOCALDEV_COMPOSE": "no-such-engine compose"}

Done = subprocess.CompletedProcess[str]


def doctor(run: Run, repo: Path, *words: str, **env: str) -> Done:
    """Run the doctor in `repo`; it complains nowhere but in its report."""
    done = run("python3", "-W", "error", ".localdev/doctor", *words, cwd=repo, env=NO_ENGINE | env, timeout=60)
    assert done.stderr == ""
    return done


def findings(run: Run, repo: Path, **env: str) -> list[dict[str, Any]]:
    """Return what the doctor finds in `repo`, as its schema describes it."""
    done = doctor(run, repo, "--json", **env)
    report = json.loads(done.stdout)
    jsonschema.validate(report, SCHEMA)
    levels = [finding["level"] for finding in report["findings"]]
    assert (report["failures"], report["warnings"]) == (levels.count("fail"), levels.count("warn"))
    assert (done.returncode, report["ok"]) == ((1, False) if "fail" in levels else (0, True))
    failed = [finding for finding in report["findings"] if finding["level"] == "fail"]
    assert all(finding["fix"] for finding in failed)
    assert report["first"] == (failed[0]["fix"] if failed else None)
    return list(report["findings"])


def inside(run: Run, code: str, *words: str) -> str:
    """Return what `code` prints that imports the doctor's modules."""
    return run("python3", "-B", "-c", code, *words, cwd=DOCTOR, check=True).stdout


def everything(repo: Path) -> dict[str, float]:
    """Return all that is in `repo`, files with when they were changed."""
    return {str(path): 0 if path.is_dir() else path.lstat().st_mtime for path in repo.rglob("*")}


# ---- the command line


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_the_options_and_the_exit_codes(word: str, rendered: Render, run: Run) -> None:
    done = doctor(run, rendered(), word)
    assert done.returncode == 0
    assert "--json" in done.stdout and "exit code" in done.stdout and max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("words", [["--yaml"], ["web"], ["--json", "extra"], ["--json=1"]])
def test_an_unknown_argument_is_one_line(words: list[str], rendered: Render, run: Run) -> None:
    done = run("python3", ".localdev/doctor", *words, cwd=rendered())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"doctor: [^\n]*\. See --help\n", done.stderr), done.stderr


@pytest.mark.parametrize("text", ["", "# nothing\n", "label=x\nip=10.1.2.3\n", None])
def test_without_its_configuration_it_says_so_in_one_line(text: str | None, repo: Render, run: Run) -> None:
    here = repo()
    conf = here / ".localdev/host-alias.conf"
    conf.unlink() if text is None else conf.write_text(text)
    done = run("python3", ".localdev/doctor", cwd=here, env=NO_ENGINE)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"doctor: .localdev/host-alias.conf cannot be used [^\n]*\n", done.stderr), done.stderr


def test_a_compose_command_with_an_open_quote_says_so_in_one_line(rendered: Render, run: Run) -> None:
    done = run("python3", ".localdev/doctor", cwd=rendered(), env={"LOCALDEV_COMPOSE": "docker 'compose"})
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "doctor: LOCALDEV_COMPOSE cannot be used (No closing quotation). Correct it, e.g. LOCALDEV_COMPOSE='podman compose'\n"
    )


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
    done = run("make", "dev-doctor", "LOCALDEV_COMPOSE=no-such-engine compose", cwd=rendered())
    assert (done.returncode, done.stdout) == (2, doctor(run, rendered()).stdout)
    done = run("make", "dev-doctor", "LOCALDEV_COMPOSE=no-such-engine compose", "ARGS=--json", cwd=rendered())
    jsonschema.validate(json.loads(done.stdout), SCHEMA)


def test_the_doctor_writes_nothing(repo: Render, run: Run) -> None:
    here = repo()
    before = everything(here)
    for words in ([], ["--json"], ["--help"]):
        doctor(run, here, *words)
    assert everything(here) == before


def test_it_runs_with_python_3_9(run: Run) -> None:
    folders = (DOCTOR, DOCTOR.with_name("stack"))
    done = run(TOOLS / "vermin", "-t=3.9-", "--violations", "--no-tips", *folders, cwd=PROJECT)
    assert done.returncode == 0 and "Minimum required versions: 3.9\n" in done.stdout, done.stdout
    # Annotations, which vermin does not read, are never run.
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(paths) > 30
    for path in paths:
        assert path.name == "__init__.py" or "from __future__ import annotations\n" in path.read_text(), path


# ---- the report


@pytest.mark.parametrize("env", [{}, {"LOCALDEV_HOST": "host-gateway"}, {"LOCALDEV_COMPOSE": "docker compose"}])
def test_json_is_as_the_schema_says(env: dict[str, str], rendered: Render, run: Run) -> None:
    found = findings(run, rendered(), **env)
    assert found[0]["id"].startswith("runtime.") and len(found) >= 4


def test_the_schema_refuses_what_the_doctor_does_not_say(rendered: Render, run: Run) -> None:
    report = json.loads(doctor(run, rendered(), "--json").stdout)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(report, SCHEMA)
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


SUMMARY = """
import json, sys
from finding import Finding
from report import to_json, to_text
found = [Finding(level, "alias.x", "alias", "text", fix) for level, fix in json.loads(sys.argv[1])]
print(to_text(found, False).splitlines()[-1])
print(json.loads(to_json(found))["first"])
"""


@pytest.mark.parametrize(
    ("levels", "last", "first"),
    [
        ([], "Everything works.", "None"),
        ([("ok", None)], "Everything works.", "None"),
        ([("warn", "a"), ("ok", None)], "Everything works; 1 warning.", "None"),
        ([("warn", "a"), ("warn", None)], "Everything works; 2 warnings.", "None"),
        ([("warn", "a"), ("fail", "b"), ("fail", "c")], "2 failures, 1 warning. Run first: b", "b"),
        ([("fail", "b")], "1 failure. Run first: b", "b"),
        ([("fail", "b\033[2J\nc")], "1 failure. Run first: b?[2J c", "b?[2J c"),
    ],
)
def test_the_last_line_says_how_it_is_and_what_to_do_first(
    levels: list[tuple[str, str | None]], last: str, first: str, run: Run
) -> None:
    assert inside(run, SUMMARY, json.dumps(levels)).splitlines() == [last, first]


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


@pytest.mark.parametrize("shell", ["python3 .localdev/doctor >/dev/full", "python3 .localdev/doctor | exec <&-"])
def test_a_report_that_cannot_be_written_is_one_line(shell: str, rendered: Render, run: Run) -> None:
    done = run("sh", "-c", shell, cwd=rendered(), env=NO_ENGINE)
    reason = "No space left on device" if "full" in shell else "Broken pipe"
    assert done.stderr == f"doctor: the report cannot be written: {reason}\n"
    assert done.returncode == (2 if "full" in shell else 0)


def test_letters_that_the_terminal_does_not_have_are_no_end(rendered: Render, run: Run) -> None:
    here, engine = rendered(), {"LOCALDEV_COMPOSE": "\u00fcnknown compose"}
    assert "\u00fcnknown" in doctor(run, here, **engine, PYTHONIOENCODING="utf-8").stdout
    assert "?nknown" in doctor(run, here, **engine, PYTHONIOENCODING="ascii").stdout
    # As make runs it.
    assert "nknown" in doctor(run, here, **engine, LC_ALL="C").stdout


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


# ---- which framework it is, and the line that lets it listen on the alias

FRAMEWORK = """
import json, sys
import frameworks
commands, program, is_rails = json.loads(sys.argv[1])
match = frameworks.find(commands)
print(match.framework.name if match else "")
print(frameworks.fix(match, program, "10.254.254.254", 3000, is_rails))
"""
GENERIC = f"let it listen on {IP}, port 3000; its manual calls that host, bind or address"


@pytest.mark.parametrize(
    ("line", "name", "fix"),
    [
        ("node /a/node_modules/.bin/vite", "Vite", f"npx vite --host {IP}"),
        ("node /a/node_modules/vite/bin/vite.js --port 3000", "Vite", f"npx vite --port 3000 --host {IP}"),
        ("node vite --host 127.0.0.1 --port 3000", "Vite", f"npx vite --host {IP} --port 3000"),
        ("node vite --host=localhost --port 3000", "Vite", f"npx vite --host={IP} --port 3000"),
        ("node vite --host --port 3000", "Vite", f"npx vite --host {IP} --port 3000"),
        ("node vite --port 3000 --host", "Vite", f"npx vite --port 3000 --host {IP}"),
        ("bun /a/vite -c 'my conf.ts' preview", "Vite", f"npx vite -c 'my conf.ts' preview --host {IP}"),
        ("node /a/node_modules/.bin/next dev", "Next", f"npx next dev -H {IP} -p 3000"),
        ("node next dev -p 3000", "Next", f"npx next dev -p 3000 -H {IP}"),
        ("node next dev --hostname localhost --port 3000", "Next", f"npx next dev --hostname {IP} --port 3000"),
        ("next-server (v15.1.0)", "Next", f"npx next dev -H {IP} -p 3000"),
        ("node /a/nuxi.mjs dev --port 3000", "Nuxt", f"npx nuxi dev --port 3000 --host {IP}"),
        ("node /a/.bin/nuxt dev --host 127.0.0.1", "Nuxt", f"npx nuxt dev --host {IP}"),
        ("node /a/.bin/ng serve --port 3000", "Angular", f"npx ng serve --port 3000 --host {IP}"),
        ("node /a/.bin/webpack serve --port 3000", "webpack-dev-server", f"npx webpack serve --port 3000 --host {IP}"),
        ("node webpack-dev-server --host=::1", "webpack-dev-server", f"npx webpack-dev-server --host={IP}"),
        ("python manage.py runserver", "Django", f"python3 manage.py runserver {IP}:3000"),
        ("python3.13 manage.py runserver 3000", "Django", f"python3 manage.py runserver {IP}:3000"),
        ("python3 manage.py runserver localhost:3000", "Django", f"python3 manage.py runserver {IP}:3000"),
        ("python3 manage.py runserver [::1]:3000", "Django", f"python3 manage.py runserver {IP}:3000"),
        ("python3 manage.py runserver 0:3000", "Django", f"python3 manage.py runserver {IP}:3000"),
        ("python3 manage.py runserver 0.0.0.0:3000", "Django", f"python3 manage.py runserver {IP}:3000"),
        (
            "python3 manage.py runserver 127.0.0.1:3000 --noreload",
            "Django",
            f"python3 manage.py runserver {IP}:3000 --noreload",
        ),
        ("python3 /v/bin/django-admin runserver 3000", "Django", f"django-admin runserver {IP}:3000"),
        ("python3 -m django runserver", "Django", f"django-admin runserver {IP}:3000"),
        ("/v/bin/python /v/bin/flask run -p 3000", "Flask", f"flask run -p 3000 --host {IP}"),
        ("/v/bin/python /v/bin/flask run -h 127.0.0.1 -p 3000", "Flask", f"flask run -h {IP} -p 3000"),
        ("python3 -m flask --app app run", "Flask", f"flask --app app run --host {IP}"),
        ("python3 /v/bin/fastapi dev main.py --port 3000", "FastAPI", f"fastapi dev main.py --port 3000 --host {IP}"),
        ("python3 /v/bin/uvicorn a:b --port 3000", "uvicorn", f"uvicorn a:b --port 3000 --host {IP}"),
        ("python3 -m uvicorn a:b --host ::1", "uvicorn", f"uvicorn a:b --host {IP}"),
        ("python3 /v/bin/gunicorn a:b", "gunicorn", f"gunicorn a:b -b {IP}:3000"),
        ("python3 gunicorn -b 127.0.0.1:3000 a:b", "gunicorn", f"gunicorn -b {IP}:3000 a:b"),
        ("python3 gunicorn -b127.0.0.1:3000 a:b", "gunicorn", f"gunicorn -b {IP}:3000 a:b"),
        ("python3 gunicorn --bind=[::1]:3000 a:b", "gunicorn", f"gunicorn --bind={IP}:3000 a:b"),
        ("python3 gunicorn -b 127.0.0.1:3000 -b [::1]:3000 a:b", "gunicorn", f"gunicorn -b {IP}:3000 a:b"),
        ("python3 -m http.server 3000", "http.server", f"python3 -m http.server 3000 --bind {IP}"),
        ("python3 -m http.server -b 127.0.0.1 3000", "http.server", f"python3 -m http.server -b {IP} 3000"),
        ("ruby bin/rails server", "Rails", f"bin/rails server -b {IP}"),
        ("ruby /a/bin/rails s -p 3000 -b localhost", "Rails", f"bin/rails s -p 3000 -b {IP}"),
        ("ruby bin/rails server --binding=127.0.0.1", "Rails", f"bin/rails server --binding={IP}"),
        ("puma 6.5.0 (tcp://localhost:3000) [app]", "Puma", f"bundle exec puma -b tcp://{IP}:3000"),
        ("php artisan serve --port=3000", "Laravel", f"php artisan serve --port=3000 --host {IP}"),
        ("php artisan serve --host=127.0.0.1", "Laravel", f"php artisan serve --host={IP}"),
        (
            "/usr/lib/erlang/erts-15/bin/beam.smp -- -root /usr/lib/erlang -s mix -- phx.server",
            "Phoenix",
            "in config/dev.exs: http: [ip: {10, 254, 254, 254}, port: 3000]",
        ),
        (
            "java -cp a org.springframework.boot.loader.launch.JarLauncher",
            "Spring Boot",
            f"SERVER_ADDRESS={IP} (in the environment), or server.address={IP} in application.properties",
        ),
        ("node server.js", "", GENERIC),
        ("node /a/vite/server.js", "", GENERIC),
        ("python3 app.py", "", GENERIC),
        ("/a/my-next", "", GENERIC),
    ],
)
def test_a_command_line_tells_the_framework_and_its_fix(line: str, name: str, fix: str, run: Run) -> None:
    said = inside(run, FRAMEWORK, json.dumps([[shlex.split(line)], "x", False])).splitlines()
    assert said == [name, fix]


@pytest.mark.parametrize(
    ("commands", "name", "fix"),
    [
        (["node server.js", "node /a/.bin/vite --port 3000"], "Vite", f"npx vite --port 3000 --host {IP}"),
        (["php -S 127.0.0.1:3000 server.php", "php artisan serve"], "Laravel", f"php artisan serve --host {IP}"),
        (
            ["puma: cluster worker 0: 41 [app]", "puma 6.5.0 (tcp://localhost:3000) [app]", "zsh"],
            "Puma",
            f"bundle exec puma -b tcp://{IP}:3000",
        ),
        (["next-server (v15.1.0)", "node /a/next dev --turbo"], "Next", f"npx next dev -H {IP} -p 3000"),
        (["/tmp/go-build1/b001/exe/main"], "", None),
        (["node x", "zsh", "login"], "", GENERIC),
        ([], "", GENERIC),
    ],
)
def test_a_server_is_known_by_how_its_parent_was_started(
    commands: list[str], name: str, fix: str | None, run: Run
) -> None:
    program = Path(commands[0].split()[0]).name if commands else ""
    said = inside(run, FRAMEWORK, json.dumps([[shlex.split(line) for line in commands], program, False])).splitlines()
    assert said == [name, fix or f'in the code: http.ListenAndServe(net.JoinHostPort("{IP}", "3000"), nil)']


def test_a_puma_of_a_rails_application_was_started_by_rails(run: Run) -> None:
    puma = [["puma", "6.5.0", "(tcp://localhost:3000)", "[app]"]]
    assert inside(run, FRAMEWORK, json.dumps([puma, "ruby", True])).splitlines() == [
        "Puma",
        f"bin/rails server -b {IP} -p 3000",
    ]

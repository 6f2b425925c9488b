"""The workflow that brings updates as a pull request: run as a runner of GitHub does, against a bare repository that
refuses what GitHub refuses, with a stand-in for gh that keeps pull requests and one for pipx that runs this Copier."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import PROJECT, TOOLS, Render, Run
from fast_copier import COMMAND
from needs import need_command
from versions import ANSWERS, commit, release

pytestmark = pytest.mark.changes(
    "template/.github", "template/.localdev/sh/update-pr.sh", "hooks", "tests/test_github_workflow.py"
)
WORKFLOW = ".github/workflows/localdev-update.yml"
BRANCH = "localdev-update"
SCRIPT = ".localdev/sh/update-pr.sh"
TOKEN = "a-token"
BOT, ADDRESS = "localdev-update", "41898282+github-actions[bot]@users.noreply.github.com"
QUERY = r'.[] | select(.isCrossRepository | not) | "\(.state) \(.number) \(.title)"'

# Keeps pull requests in a file; refuses to make one as GitHub does where the setting is off. What it does not know fails.
GH = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path


folder = Path(__file__).parents[1]
store = folder / "requests.json"
requests = json.loads(store.read_text())
words = sys.argv[1:]
with (folder / "gh.calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
if os.environ.get("GH_TOKEN") != {TOKEN!r}:
    sys.exit("gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN environment variable.")
options = dict(zip(words[2::2], words[3::2]))
if words[:2] == ["pr", "list"]:
    assert options["--json"] == "number,state,title,isCrossRepository" and options["--jq"] == {QUERY!r}, options
    assert options["--state"] == "all", options
    for request in requests:
        if (request["head"], request["base"]) == (options["--head"], options["--base"]) and not request["fork"]:
            print(request["state"], request["number"], request["title"])
elif words[:2] == ["pr", "create"]:
    if (folder / "denied").exists():
        sys.exit("pull request create failed: GraphQL: GitHub Actions is not permitted to create or approve pull "
                 "requests (createPullRequest)")
    assert set(options) == {{"--head", "--base", "--title", "--body"}}, options
    request = {{word.removeprefix("--"): text for word, text in options.items()}}
    requests.append(request | {{"number": len(requests) + 1, "state": "OPEN", "fork": False}})
    print(f"https://github.com/example/app/pull/{{len(requests)}}")
elif words[:4] == ["api", "--silent", "--method", "PATCH"]:
    prefix, number = words[4].rsplit("/", 1)
    assert prefix == "repos/{{owner}}/{{repo}}/pulls", prefix
    for flag, field in zip(words[5::2], words[6::2]):
        assert flag == "-f", flag
        key, _, text = field.partition("=")
        requests[int(number) - 1][key] = text
else:
    sys.exit(f"the stand-in does not know: gh {{words}}")
store.write_text(json.dumps(requests))
"""
PIPX = f"""#!/bin/sh
printf '%s token=%s\\n' "$*" "${{GH_TOKEN:-}}" >>"${{0%/*}}/../pipx.calls"
[ "$1 $2 $4" = 'run --spec copier' ] || exit 90
shift 4
exec {" ".join(COMMAND)} "$@"
"""
# What GitHub says to a workflow's own token.
REFUSES = f"""#!/bin/sh
[ "$1" = refs/heads/{BRANCH} ] || exit 0
git diff --quiet main "$3" -- .github/workflows && exit 0
echo 'refusing to allow a GitHub App to create or update workflow without `workflows` permission' >&2
exit 1
"""


class Hub:
    """A repo with its pull requests, a template with releases, and a runner for the workflow."""

    def __init__(self, folder: Path, template: Path, repo: Path, run: Run, clean_env: dict[str, str]) -> None:
        self.folder, self.template, self.run_command, self.env = folder, template, run, clean_env
        self.remote = folder / "remote.git"
        self.clone = repo
        commit(repo, run, force=False)
        self.git(folder, "clone", "-q", "--bare", str(repo), str(self.remote))
        self.git(repo, "remote", "add", "origin", str(self.remote))
        (self.remote / "hooks/update").write_text(REFUSES)
        (self.remote / "hooks/update").chmod(0o755)
        (folder / "bin").mkdir()
        for name, text in (("gh", GH), ("pipx", PIPX)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (folder / "requests.json").write_text("[]")
        (folder / "gitconfig").write_text("[safe]\n\tdirectory = *\n")

    def git(self, where: Path, *words: str) -> str:
        return self.run_command("git", *words, cwd=where, check=True).stdout.strip()

    def push(self, message: str = "work") -> None:
        """Commit and push what a developer changed in the clone."""
        commit(self.clone, self.run_command, message, force=False)
        self.git(self.clone, "push", "-q", "origin", "HEAD")

    def branch(self, name: str = BRANCH) -> str:
        """The branch's commit in the remote, "" for none."""
        return self.git(self.remote, "for-each-ref", "--format=%(objectname)", f"refs/heads/{name}")

    def file(self, name: str, branch: str = BRANCH) -> str:
        return self.git(self.remote, "show", f"{branch}:{name}")

    def changed(self) -> list[str]:
        """The files in which the branch differs from where it left main."""
        return self.git(self.remote, "diff", "--name-only", f"main...{BRANCH}").splitlines()

    @property
    def requests(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "requests.json").read_text())

    def change_request(self, **change: Any) -> None:
        requests = self.requests
        requests[-1] |= change
        (self.folder / "requests.json").write_text(json.dumps(requests))

    def calls(self, program: str) -> list[str]:
        path = self.folder / f"{program}.calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def run(self, workflow: str = WORKFLOW) -> subprocess.CompletedProcess[str]:
        """Run the workflow of main on a fresh machine; whatever happens, main stays as it was."""
        checkout = self.folder / "work"
        shutil.rmtree(checkout, ignore_errors=True)
        main = self.branch("main")
        job = yaml.safe_load(self.file(workflow, "main"))["jobs"]["update"]
        done = subprocess.CompletedProcess[str]([], 1, "", "the workflow runs nothing")
        for step in job["steps"]:
            if "uses" in step:
                assert step["uses"].startswith("actions/checkout@") and step["with"]["fetch-depth"] == 0
                self.git(self.folder, "clone", "-q", "-b", "main", str(self.remote), str(checkout))
                continue
            (self.folder / "step.sh").write_text(step["run"] + "\n")
            done = self.run_command(
                *("bash", "--noprofile", "--norc", "-eo", "pipefail", self.folder / "step.sh"),
                cwd=checkout,
                env={
                    "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                    "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"),
                    "COPIER_CACHE_DIR": str(self.folder / "cache"),
                    "CI": "true",
                    "GITHUB_ACTIONS": "true",
                    **{
                        name: re.sub(r"\$\{\{ secrets\.LOCALDEV_UPDATE_TOKEN \|\| github\.token \}\}", TOKEN, value)
                        for name, value in step["env"].items()
                    },
                },
            )
            if done.returncode:
                break
        assert self.branch("main") == main
        return done


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line, which GitHub shows on the run's page."""
    return done.stdout.splitlines()[-1]


@pytest.fixture
def hub(
    rendered: Render, template: Path, own_template: Path, run: Run, clean_env: dict[str, str], tmp_path: Path
) -> Hub:
    need_command("bash")
    repo = Path(shutil.copytree(rendered(github_workflow="true"), tmp_path / "app"))
    answers = repo / ANSWERS
    answers.write_text(answers.read_text().replace(str(template), str(own_template)))
    return Hub(tmp_path, own_template, repo, run, clean_env)


@pytest.fixture
def released(run: Run) -> Callable[..., None]:
    """Releases a version of a hub's template in which a comment of localdev.mk is another one."""

    def released(hub: Hub, version: str = "v1.1.0", words: str = "Some short names") -> None:
        text = (hub.template / "template/.localdev/localdev.mk").read_text()
        first = text.splitlines()[0]
        release(hub.template, run, version, {"template/.localdev/localdev.mk": (first, f"# {words}")})

    return released


def test_the_workflow_is_valid_and_may_do_no_more_than_it_has_to(rendered: Render, run: Run) -> None:
    path = rendered(github_workflow="true") / WORKFLOW
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        done = run(TOOLS / "check-jsonschema", "--builtin-schema", schema, path, cwd=PROJECT)
        assert done.returncode == 0, done.stdout + done.stderr
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert workflow["concurrency"] == {"group": BRANCH}
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}  # YAML takes `on` for a truth value
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job
    for step in job["steps"]:
        assert re.fullmatch(r"[a-z-]+/[a-z-]+@v[0-9]+", step.get("uses", "a/b@v1"))
        # An expression in a script is text that the shell runs.
        assert "${{" not in step.get("run", "")


def test_the_script_runs_the_copier_that_the_template_is_tested_with(rendered: Render) -> None:
    script = (rendered(github_workflow="true") / SCRIPT).read_text()
    pinned = re.search(r"^copier==([0-9.]+)", (PROJECT / "requirements.txt").read_text(), re.M)
    assert pinned and f"\ncopier_version={pinned[1]}\n" in script


def test_a_new_version_becomes_one_pull_request_which_later_runs_refresh(hub: Hub, released: Any) -> None:
    done = hub.run()
    assert (done.returncode, said(done)) == (0, "::notice::localdev is at the newest version, v1.0.0")
    assert (hub.branch(), hub.calls("gh")) == ("", [])
    # Looking needs no trust, and no Copier ever gets the token.
    assert hub.calls("pipx") == [
        f"run --spec copier==9.19.1 copier check-update --output-format json --answers-file {ANSWERS} token="
    ]

    (hub.clone / ".localdev/routes").write_text("web 3000 /\n")
    changed = hub.clone / WORKFLOW
    changed.write_text(changed.read_text().replace('"23 5 * * 1"', '"0 1 * * *"'))
    hub.push("my routes, and every night")
    # A shell reads a script as it goes: this one would go on in the middle of the new text.
    script = hub.template / "template" / SCRIPT
    script.write_text("#!/bin/sh\n" + "exit 77\n" * 2000)
    released(hub)
    done = hub.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert said(done) == "https://github.com/example/app/pull/1"
    (request,) = hub.requests
    assert (request["head"], request["base"], request["title"]) == (BRANCH, "main", "Update localdev to v1.1.0")
    assert request["body"].startswith(f"Brings `.localdev/` from v1.0.0 to v1.1.0 of {hub.template}.\n")
    assert "Left out" not in request["body"]
    assert hub.changed() == [ANSWERS, ".localdev/localdev.mk", SCRIPT]
    assert hub.git(hub.remote, "log", "-1", "--format=%an %ae %cn %ce", BRANCH) == f"{BOT} {ADDRESS} {BOT} {ADDRESS}"
    assert "_commit: v1.1.0" in hub.file(ANSWERS)
    assert hub.file(".localdev/routes") == "web 3000 /"
    assert all(line.endswith("token=") for line in hub.calls("pipx"))

    # main moves on, and so does the template: the same pull request, on top of main, with the new version. The broken
    # script is on the branch only: main's goes on.
    (hub.clone / "app.py").write_text("print('mine')\n")
    hub.push()
    script.write_text((PROJECT / "template" / SCRIPT).read_text())
    released(hub, "v1.2.0", "Other short names")
    assert hub.run().returncode == 0
    (request,) = hub.requests
    assert (request["number"], request["title"]) == (1, "Update localdev to v1.2.0")
    assert "from v1.0.0 to v1.2.0" in request["body"]
    assert hub.git(hub.remote, "rev-parse", f"{BRANCH}^") == hub.branch("main")
    assert hub.changed() == [ANSWERS, ".localdev/localdev.mk"]

    # Squashed into main, and the branch is still there: nothing to do, and the next version replaces it.
    hub.git(hub.clone, "fetch", "-q")
    hub.git(hub.clone, "merge", "-q", "--squash", f"origin/{BRANCH}")
    hub.push("squashed")
    hub.change_request(state="MERGED")
    assert said(hub.run()) == "::notice::localdev is at the newest version, v1.2.0"
    released(hub, "v1.3.0", "Yet other short names")
    assert hub.run().returncode == 0
    assert [request["state"] for request in hub.requests] == ["MERGED", "OPEN"]
    assert hub.changed() == [ANSWERS, ".localdev/localdev.mk"]


def test_a_persons_work_on_the_branch_is_never_replaced(hub: Hub, released: Any) -> None:
    # What a run has pushed; then main moves on.
    hub.git(hub.clone, "switch", "-qc", BRANCH)
    (hub.clone / ".localdev/localdev.mk").write_text("# an update\n")
    hub.git(hub.clone, "-c", f"user.name={BOT}", "-c", f"user.email={ADDRESS}", "commit", "-qam", "update")
    ours = hub.git(hub.clone, "rev-parse", "HEAD")
    hub.git(hub.clone, "switch", "-q", "main")
    (hub.clone / "app.py").write_text("print('mine')\n")
    hub.push()
    released(hub)

    def edit(*how: str) -> None:
        hub.git(hub.clone, "switch", "-qC", BRANCH, ours)
        (hub.clone / "compose.yaml").write_text("include: [.localdev/compose.yaml]\n")
        hub.git(hub.clone, "commit", "-qa", *how)

    for how in ("a commit on top", "an amended commit", "a merge of main"):
        if how == "a merge of main":
            hub.git(hub.clone, "switch", "-qC", BRANCH, ours)
            hub.git(hub.clone, "merge", "-q", "--no-edit", "main")
        else:
            edit(*(("--amend", "--no-edit") if "amended" in how else ("-m", "mine")))
        hub.git(hub.clone, "push", "-qf", "origin", "HEAD")
        theirs = hub.branch()
        done = hub.run()
        assert (done.returncode, hub.branch(), hub.calls("gh")) == (0, theirs, []), how
        assert said(done) == (
            f"::notice::{BRANCH} has commits that are not by this workflow: it stays as it is. Merge it, then delete the branch"
        )

    # The update takes seconds: here the person pushes in these.
    hub.git(hub.clone, "push", "-qf", "origin", f"{ours}:{BRANCH}")
    edit("-m", "mine")
    pipx = hub.folder / "bin/pipx"
    push = f'case "$*" in *" update "*) git -C {hub.clone} push -q origin HEAD ;; esac\n'
    pipx.write_text(pipx.read_text().replace("shift 4\n", push + "shift 4\n"))
    done = hub.run()
    assert done.returncode == 1
    assert said(done).startswith(f"::error::git push to {BRANCH} failed, see above.")
    assert hub.branch() == hub.git(hub.clone, "rev-parse", "HEAD")


def test_conflicts_are_never_pushed(hub: Hub, released: Any) -> None:
    mine = hub.clone / ".localdev/localdev.mk"
    mine.write_text("# My names\n" + mine.read_text().split("\n", 1)[1])
    hub.push("edited what is the template's")
    released(hub)
    done = hub.run()
    assert (done.returncode, hub.branch(), hub.calls("gh")) == (1, "", [])
    assert said(done) == (
        "::error::conflicts in .localdev/localdev.mk. Nothing was pushed. On your machine run: make dev-update"
    )


def test_what_github_refuses_is_said_or_left_out_and_a_pull_request_that_somebody_closed_does_not_come_back(
    hub: Hub, released: Any
) -> None:
    closed = {
        "head": BRANCH,
        "base": "main",
        "title": "Update localdev to v1.1.0",
        "number": 1,
        "state": "CLOSED",
        "fork": False,
    }
    (hub.folder / "requests.json").write_text(json.dumps([closed]))
    released(hub)
    done = hub.run()
    assert (done.returncode, hub.branch()) == (0, "")
    assert said(done) == "::notice::somebody closed the pull request for v1.1.0: the next version gets a new one"

    # Under another name: Copier would write our workflow again, and GitHub would refuse the push.
    (hub.clone / WORKFLOW).rename(hub.clone / ".github/workflows/update.yml")
    hub.push("a name that we like better")
    released(hub, "v1.2.0", "Other short names")
    (hub.folder / "denied").touch()
    done = hub.run(".github/workflows/update.yml")
    assert (done.returncode, hub.requests) == (1, [closed])
    assert said(done) == (
        "::error::GitHub Actions may not open pull requests here. Switch on: Settings > Actions > General > "
        "Allow GitHub Actions to create and approve pull requests"
    )
    assert len([line for line in done.stdout.splitlines() if "::error::" in line]) == 1
    # With the setting, what was pushed stays as it is.
    (hub.folder / "denied").unlink()
    pushed = hub.branch()
    done = hub.run(".github/workflows/update.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert hub.branch() == pushed
    assert hub.changed() == [ANSWERS, ".localdev/localdev.mk"]
    _, request = hub.requests
    assert (request["state"], request["title"]) == ("OPEN", "Update localdev to v1.2.0")
    assert f"Left out, because GitHub forbids it to workflows: changes of {WORKFLOW}. " in request["body"]


def test_a_template_that_cannot_be_read_is_told_in_one_line(hub: Hub) -> None:
    hub.template.rename(hub.template.with_name("gone"))
    done = hub.run()
    assert (done.returncode, hub.branch(), hub.calls("gh")) == (1, "", [])
    assert said(done).startswith(f"::error::the template at {hub.template} cannot be read here. ")

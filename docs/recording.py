"""`make recording`: types the README's commands at a terminal, and has termtosvg-ng draw the animated picture of it.

The terminal is real: in the tests' lab, with its own engine, without the alias, for a user who must give sudo a password.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import yaml

from conftest import PROJECT, Render, Run
from host import ALIAS_IP, retry
from lab import IMAGE, Lab
from needs import need_command

ADDRESS = "https://github.com/copier-host-alias/copier-host-alias.git"
COPY = f"uvx copier copy --trust {ADDRESS} my-app"
# The README has another terminal for the service, and the whole page.
SERVE = f"python3 -m http.server 3000 --bind {ALIAS_IP} &>/dev/null &"
LOOK = "curl -s http://my-app.localhost:8080/ | grep title"
# As wide as the longest command.
SIZE = (24, 92)
# Colours of GitHub's dark theme: letters, background, then the 16 of a terminal.
THEME = {
    "fg": "#e6edf3",
    "bg": "#0d1117",
    "palette": "#484f58:#ff7b72:#3fb950:#d29922:#58a6ff:#bc8cff:#39c5cf:#b1bac4:"
    "#6e7681:#ffa198:#56d364:#e3b341:#79c0ff:#d2a8ff:#56d4dd:#ffffff",
}
# Milliseconds: no pause is longer than a second, and the last screen stays for five.
RENDER = ("termtosvg-ng", "render", "-t", "window_frame", "--theme", "auto", "-m", "30", "-M", "1000", "-D", "5000")
PROMPT = r"\n\$ \Z"
# /home is an empty one in the lab; sudo looks up the name of its host.
SETTLE = f"""mkdir /mnt/homes /mnt/homes.work /mnt/template
mount -t overlay none -o lowerdir=/home,upperdir=/mnt/homes,workdir=/mnt/homes.work /home
useradd --create-home --shell /bin/bash me; echo me:secret | chpasswd
printf 'Defaults lecture=never\\nme ALL=(ALL) ALL\\n' >/etc/sudoers.d/me; chmod 440 /etc/sudoers.d/me
echo 127.0.1.1 laptop >>/etc/hosts
printf '[safe]\\ndirectory = *\\n[url "/mnt/template"]\\ninsteadOf = {ADDRESS}\\n' >/home/me/.gitconfig
echo 'set enable-bracketed-paste off' >/home/me/.inputrc
mkdir /home/me/.cache
"""
SHELL = "hostname laptop; exec setpriv --reuid=me --regid=me --init-groups bash --norc --noprofile -i"


class Terminal:
    """A person at a terminal; what the terminal gets is kept as an asciicast, version 2.

    https://docs.asciinema.org/manual/asciicast/v2/
    """

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        """Start `command` at a terminal."""
        self.began = time.monotonic()
        self.lines = [json.dumps({"version": 2, "width": SIZE[1], "height": SIZE[0], "theme": THEME})]
        self.child = pexpect.spawn(command[0], command[1:], env=env, encoding="utf-8", timeout=120, dimensions=SIZE)
        self.child.logfile_read = self

    def write(self, text: str) -> None:
        """Keep what the terminal got."""
        self.lines.append(json.dumps([round(time.monotonic() - self.began, 3), "o", text]))

    flush = staticmethod(lambda: None)

    def press(self, key: str, then: str) -> None:
        """Think, press `key`, and wait for `then`."""
        time.sleep(0.5)
        self.child.send(key)
        self.child.expect(then)
        # What comes together with it.
        self.child.expect(pexpect.TIMEOUT, timeout=0.1)

    def run(self, command: str, then: str = PROMPT) -> None:
        """Type `command`, and wait for `then`."""
        time.sleep(0.8)
        for letter in command:
            time.sleep(0.03)
            self.child.send(letter)
            self.child.expect_exact(letter)
        self.press("\r", then)


def settle(lab: Lab, template: Path, run: Run) -> dict[str, str]:
    """Give the lab a user with a password, uvx with what it would download, and the template at its address."""
    need_command("sudo")
    cache, tools = lab.folder / "uv", Path(sys.executable).parent
    # For the Python that is in the lab, not for the tests' own.
    env = {"UV_CACHE_DIR": str(cache), "PATH": lab.env["PATH"]}
    run(tools / "uvx", "copier", "--version", cwd=lab.folder, env=env, check=True)
    # A newcomer's copier is not installed yet.
    for made in cache.glob("environments-*"):
        shutil.rmtree(made)
    lines = [SETTLE, f"cp -r {shlex.quote(str(cache))} /home/me/.cache/uv", "chown -R me: /home/me"]
    for source, target in ((template, "/mnt/template"), (tools / "uv", "/mnt/bin/uv"), (tools / "uvx", "/mnt/bin/uvx")):
        lines.append(f"[ -e {target} ] || touch {target}; mount --bind {shlex.quote(str(source))} {target}")
    lab.root("\n".join(lines))
    keep = {name: lab.env[name] for name in ("PATH", "DOCKER_HOST")}
    # The terminal does not say where its cursor is.
    more = {"UV_OFFLINE": "1", "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ ", "PROMPT_TOOLKIT_NO_CPR": "1"}
    return keep | more | {"HOME": "/home/me"}


def play(person: Terminal, lab: Lab) -> None:
    """Do what the README says."""
    config = yaml.safe_load((PROJECT / "copier.yml").read_text())
    asked = [name for name, question in config.items() if name[0] != "_" and question.get("when") is not False]
    first = [re.escape(config[name]["help"].splitlines()[0]) for name in asked]
    person.child.expect(r"\$ \Z")
    person.run(COPY, first[0])
    for name, after in zip(asked, [*first[1:], PROMPT], strict=True):
        if name == "databases":
            person.press(" ", "●")
        person.press("\r", after)
    person.run("cd my-app")
    person.run("make dev-up", r"\[sudo.*: \Z")
    person.child.send("secret")
    person.press("\r", PROMPT)
    person.run(SERVE)
    retry(lambda: lab.reaches(3000))
    person.run(LOOK)


def test_record(template: Path, rendered: Render, run: Run, clean_env: dict[str, str], tmp_path: Path) -> None:
    """Make docs/recording.svg."""
    folder = tmp_path / "lab"
    folder.mkdir()
    lab = Lab(folder, clean_env, rendered, (IMAGE, "postgres:17-alpine"))
    try:
        env = settle(lab, template, run)
        person = Terminal(lab.enter("unshare", "--uts", "sh", "-c", SHELL, cwd="/home/me"), env)
        play(person, lab)
    finally:
        lab.close()
    cast, picture = tmp_path / "recording.cast", PROJECT / "docs/recording.svg"
    cast.write_text("\n".join(person.lines) + "\n")
    uvx = Path(sys.executable).parent / "uvx"
    subprocess.run([uvx, "--from", "termtosvg-ng==1.4.1", *RENDER, cast, picture], check=True)
    # Who wants no animations sees the last screen.
    drawn = picture.read_text()
    (last,) = re.findall(r"100[.]000%{(.*)}", drawn)
    still = f"@media (prefers-reduced-motion: reduce) {{#screen_view {{animation: none; {last}}}}}"
    picture.write_text(drawn.replace("]]></style>", f"{still}]]></style>", 1))

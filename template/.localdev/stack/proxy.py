# SPDX-License-Identifier: MIT
"""Gives the proxy's container its configuration: made here, checked by nginx there, put in place at once.

All of it is in a volume, so that a restart of the container, or of the engine, keeps routes and HTTPS. The engine's own `cp`
writes it, because the container's user may write nowhere else.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import subprocess

import nginx
import pages
from messages import Stop, named
from urls import Site

HOME = "/srv/localdev"
LIVE = nginx.LIVE + "/"
# The user of the proxy in compose.yaml.
USER = 101
# nginx takes a new configuration within a second. Seconds, for a machine that is busy.
PATIENCE = 30
# In the container: check the new configuration, put it in the place of the old one, and wait until every new connection
# gets it. Where nginx does not take it, the old one is put back. Arguments: the new folder's name, the port.
USE = r"""
set -u
cd /srv/localdev || exit 1
new=$1 old=$(readlink live) || old=''
resolver=$(sed -n 's/^nameserver[[:blank:]]*//p' /etc/resolv.conf | head -n 1)
# nginx wants an IPv6 address in brackets. Docker's own DNS says 600 s, but a restarted container has another address.
case $resolver in *:*) resolver="[$resolver]" ;; esac
printf 'resolver %s valid=1s;\n' "$resolver" >"$new/resolver.conf"
# put FOLDER: makes it the one in use, in one step
put() { ln -sfn "$1" "link.$$" && mv -T "link.$$" live; }
if ! nginx -e stderr -c "/srv/localdev/$new/check.conf" -t -q 2>&1; then
	rm -rf "$new"
	exit 7
fi
# workers: prints the processes that take new connections; one that is shutting down has another title
workers() {
	for process in /proc/[0-9]*; do
		# There is no newline to read, and the process may be gone.
		IFS= read -r title 2>/dev/null <"$process/cmdline"
		[ "$title" != 'nginx: worker process' ] || printf ' %s ' "${process#/proc/}"
		title=''
	done
}
# is_used: does every new connection get the new configuration?
is_used() {
	[ "$(wget -q -O - "http://127.0.0.1:$1/__localdev/health" 2>/dev/null)" = "/srv/localdev/$new/" ] || return 1
	# Without a configuration the old workers listen nowhere. nginx takes 100 ms before it ends them.
	[ -n "$old" ] || return 0
	for worker in $before; do
		case $(workers) in *" $worker "*) return 1 ;; esac
	done
}
before=$(workers)
put "$new"
# nginx that has just started hears no signal before it has written its number.
tries=0 told=no
until is_used "$2"; do
	if [ "$told" = no ] && [ -s /tmp/nginx.pid ]; then kill -HUP 1 && told=yes; fi
	tries=$((tries + 1))
	if [ "$tries" -gt 500 ]; then
		if [ -n "$old" ]; then put "$old" && kill -HUP 1; else rm -f live; fi
		rm -rf "$new"
		exit 8
	fi
	sleep 0.02
done
for folder in *; do
	case $folder in live | "$new") ;; *) rm -rf "$folder" ;; esac
done
"""


class RefusedError(Stop):
    """The proxy did not take a configuration; the text is what is wrong, and what to do."""


class GoneError(Exception):
    """There is no running container to give a configuration to."""


class Configuration:
    """The files of one configuration, by their names in a folder that `name` names after their contents."""

    def __init__(self, site: Site, folder: str, certificate: bytes | None) -> None:
        """Make it from `folder`, which is .localdev; `certificate` is a certificate with its key. Raises OSError."""
        source = os.path.join(folder, "proxy")
        self.files: dict[str, bytes] = {"tls.pem": certificate} if certificate else {}
        for path in configuration_files(source):
            with open(os.path.join(source, path), "rb") as file:
                self.files[path] = file.read()
        self.files["check.conf"] = self.files.pop("nginx.conf")
        has_snippets = any(path.startswith("custom/server/") and path.endswith(".conf") for path in self.files)
        # Messages in it name make's targets.
        self.files["routes.conf"] = named(nginx.configuration(site, has_snippets)).encode()
        self.files["forged.conf"] = nginx.forged().encode()
        for name, page in pages.made(site, os.path.join(source, "pages")).items():
            self.files[f"pages/{name}"] = page.encode()
        digest = hashlib.sha256(repr(sorted(self.files.items())).encode())
        self.name = digest.hexdigest()[:16]

    def tar(self) -> bytes:
        """Return all files as a tar archive, readable for the proxy's user only."""
        import tarfile

        def entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
            found = tarfile.TarInfo(name)
            found.type, found.mode, found.uid, found.gid = kind, mode, USER, USER
            return found

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            folders = {"localdev", f"localdev/{self.name}"}
            for path in self.files:
                parts = path.split("/")[:-1]
                folders |= {"/".join(["localdev", self.name, *parts[:end]]) for end in range(1, len(parts) + 1)}
            for folder in sorted(folders):
                archive.addfile(entry(folder, tarfile.DIRTYPE, 0o700))
            for path, contents in self.files.items():
                # What a user wrote stays as it is.
                if not path.startswith("custom/"):
                    contents = contents.replace(LIVE.encode(), f"{HOME}/{self.name}/".encode())
                found = entry(f"localdev/{self.name}/{path}", tarfile.REGTYPE, 0o600)
                found.size = len(contents)
                archive.addfile(found, io.BytesIO(contents))
        return packed.getvalue()


def configuration_files(source: str) -> list[str]:
    """Return the .conf files in `source`, and everything in its folder custom, as paths from there."""
    found = [name for name in os.listdir(source) if name.endswith(".conf")]
    for folder, _, names in os.walk(os.path.join(source, "custom")):
        found += [os.path.relpath(os.path.join(folder, name), source) for name in names]
    return sorted(found)


def in_use(port: int) -> str | None:
    """Return the name of the configuration that the proxy at `port` of 127.0.0.1 uses, "" for none, None without an answer."""
    # Python takes 15 ms to import its own HTTP client.
    request = b"GET /__localdev/health HTTP/1.0\r\nHost: localhost\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    except OSError:
        return None
    text = answer.partition(b"\r\n\r\n")[2].decode(errors="replace")
    found = re.fullmatch(f"{HOME}/([0-9a-f]+)/", text)
    return found[1] if found else ""


def use(engine: list[str], container: str, made: Configuration, port: int) -> None:
    """Have the proxy in `container` use `made`. On any failure it goes on with what it has.

    Raises RefusedError where nginx finds a mistake, GoneError where the container does not run.
    """
    run(engine, ["cp", "-", f"{container}:/srv"], made.tar())
    done = run(engine, ["exec", container, "/bin/sh", "-c", USE, "sh", made.name, str(port)])
    if done.returncode == 7:
        raise RefusedError(explained(done.stdout.decode(errors="replace"), made.name))
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f" ({said[-1]})" if said and done.returncode != 8 else ""
        raise RefusedError(f"the proxy did not take the new configuration{reason}. Look at: make dev-logs ARGS=proxy")


def run(engine: list[str], words: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command of the engine. Raises GoneError where it says that there is no such running container."""
    try:
        done = subprocess.run([*engine, *words], input=given, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GoneError(str(error)) from error
    said = done.stderr.decode(errors="replace")
    if done.returncode not in (0, 7, 8) and re.search("No such container|is not running|is restarting", said, re.I):
        raise GoneError(said.strip())
    return done


def explained(text: str, name: str) -> str:
    """Return what nginx found wrong as FILE:LINE: what is wrong, with the user's own file; `text` is its output."""
    found = re.search(r"\[emerg\] (?:[0-9]+#[0-9]+: )?(.*)", text)
    problem = found[1] if found else (text.strip().splitlines() or ["nginx refuses it"])[-1]
    if "tls.pem" in problem:
        return f"the certificate is unusable ({problem}). Make it again: make dev-tls"
    place = re.fullmatch(rf"(.*) in {HOME}/{name}/(.*):([0-9]+)", problem)
    if place:
        return f".localdev/proxy/{place[2]}:{place[3]}: {place[1]}. Correct it, then: make dev-reload"
    return f"{problem.replace(f'{HOME}/{name}/', '.localdev/proxy/')}. Correct it, then: make dev-reload"

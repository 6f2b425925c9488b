# SPDX-License-Identifier: MIT
"""The certificate of HTTPS, made by mkcert. Its key is not in the repo, where a Dockerfile's `COPY . .` would take it along."""

from __future__ import annotations

import os
import subprocess

import state
from messages import Stop
from owners import Refusal

MISSING = Refusal(
    "mkcert is missing", "install it: brew install mkcert (Debian: sudo apt install mkcert), then: make dev-tls"
)
TRUST = (
    "browsers trust this certificate after one command on this machine, which asks for your password: mkcert -install"
)


class CertificateError(Stop):
    """There is no certificate to be had; the text is what is wrong, and what to do."""


def place(repo: str) -> str:
    """Return where the certificate of the checkout `repo` is, with its key, in one file for its owner only."""
    return state.place(repo, "pem")


def read(repo: str) -> bytes | None:
    """Return the certificate of `repo` with its key, None where HTTPS is off. Raises CertificateError."""
    try:
        return state.read(repo, "pem")
    except OSError as error:
        file = place(repo)
        raise CertificateError(f"{file} cannot be read ({error.strerror}). Fix: rm {file} && make dev-tls") from error


def uncertified(hosts: list[str], certificate: bytes) -> list[str]:
    """Return those of `hosts` that `certificate` was not made for."""
    first = certificate.split(b"\n", 1)[0].decode(errors="replace")
    return [host for host in hosts if host not in first.removeprefix("hosts: ").split()]


def make(repo: str, hosts: list[str]) -> bool:
    """Make a certificate for `hosts`; the old one stays where that fails. Tell whether browsers trust mkcert already.

    Raises CertificateError.
    """
    # Python takes 10 ms to import these, and every other target does without.
    import shutil
    import tempfile

    if not shutil.which("mkcert"):
        raise CertificateError(str(MISSING))
    with tempfile.TemporaryDirectory(prefix="localdev.") as folder:
        certificate, key = os.path.join(folder, "cert"), os.path.join(folder, "key")
        command = ["mkcert", "-cert-file", certificate, "-key-file", key, *hosts]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            raise CertificateError(f"mkcert failed: {' '.join(said.split())}")
        try:
            with open(certificate, "rb") as cert, open(key, "rb") as secret:
                state.write(repo, "pem", f"hosts: {' '.join(hosts)}\n".encode() + cert.read() + secret.read())
        except OSError as error:
            raise CertificateError(f"{place(repo)} cannot be written: {error.strerror or error}") from error
    return "mkcert -install" not in said


def remove(repo: str) -> bool:
    """Remove the certificate of `repo`; tell whether there was one. Raises CertificateError."""
    try:
        return state.remove(repo, "pem")
    except OSError as error:
        raise CertificateError(f"{place(repo)} cannot be removed: {error.strerror}") from error

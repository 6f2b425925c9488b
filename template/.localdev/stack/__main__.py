# SPDX-License-Identifier: MIT
"""python3 -I -B .localdev/stack VERB [COMMAND...] [-- ARGUMENT...]: what is behind make's targets, in the repo's root.

    up, down, status, reload, tls, urls, hosts, env, doctor, update

COMMAND is Compose, docker compose where there is none; of update, Copier. Each failure is one line that says what to do.
Exit code 0: done; 1: failed or refused; 2: usage or bad configuration; 4: nobody could be asked.
"""

from __future__ import annotations

import os
import sys

if sys.version_info < (3, 9):  # noqa: UP036 (it may be an older one)
    sys.exit(
        "localdev: python3 3.9 or later is needed. Install it: xcode-select --install (Debian: apt install python3)"
    )

import compose
from tools import Later


def main() -> int:
    """Run the verb on the command line; return its exit code."""
    # Compose, git and host-alias work in the repo's root.
    os.chdir(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    verb, *rest = sys.argv[1:] or [""]
    end = rest.index("--") if "--" in rest else len(rest)
    words, arguments = rest[:end] or (["docker", "compose"] if verb != "update" else []), rest[end + 1 :]
    # Compose takes 100 ms to read its files. Meanwhile Python reads ours: `verbs` imports all the others.
    config = Later(lambda: compose.config(words), verb in ("up", "reload", "tls", "urls", "env"))
    containers = Later(lambda: compose.containers(words), verb in ("up", "reload", "tls"))
    import verbs

    known = [*verbs.VERBS, *verbs.PLAIN]
    if verb not in known:
        print(f"localdev: say {', '.join(known)}", file=sys.stderr)
        return 2
    return verbs.run(verb, words, arguments, config, containers)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

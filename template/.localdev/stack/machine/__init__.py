# SPDX-License-Identifier: MIT
"""What this machine says about addresses, routes, sockets and processes: each question once, for macOS and for Linux."""

import os

if os.access("/bin/launchctl", os.X_OK):
    from machine import darwin as system
else:
    from machine import linux as system

__all__ = ["system"]

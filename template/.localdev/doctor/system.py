# SPDX-License-Identifier: MIT
"""This machine, macOS or Linux: as in the shell scripts, a file decides which one it is."""

import os

if os.access("/bin/launchctl", os.X_OK):
    import darwin as system
else:
    import linux as system

__all__ = ["system"]

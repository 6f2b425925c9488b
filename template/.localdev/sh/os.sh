# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154 # a part of host-alias, which sets localdev
# What differs between systems: the part for this one, of which each has the same functions.
# shellcheck source-path=SCRIPTDIR

# A file decides, not uname: every start of the containers runs this, and a process costs time.
if [ -x /bin/launchctl ]; then
	# shellcheck source=darwin.sh
	. "$localdev/sh/darwin.sh"
elif [ -d /sys/class/net/lo ]; then
	# shellcheck source=linux.sh
	. "$localdev/sh/linux.sh"
else
	printf '%s: this is neither macOS nor Linux. On Windows, run it inside WSL2\n' "$program" >&2
	exit 2
fi

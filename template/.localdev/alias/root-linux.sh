# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What root runs on Linux. In front of it host-alias writes: verb (up or down), label, ip, address (present or missing), job (its
# state), seen (the installed file's checksum when it was looked at, '' for none), and boot_job, which prints the unit's text.
: "${verb:?}" "${label:?}" "${ip:?}" "${address:?}" "${job:?}" "${seen?}"
unit=$label.service
installed=/etc/systemd/system/$unit
link=/etc/systemd/system/multi-user.target.wants/$unit
run=/run/host-alias/$label
# Root's shell has a process number of its own, so two runs at once do not write to one file.
new=$installed.$$
# finish CODE: leaves no file behind. sudo itself exits with 1, never with 9
finish() {
	/bin/rm -f "$new" && [ "$1" -eq 0 ] || exit 9
}
trap 'finish $?' EXIT

# sweep: removes what killed runs left behind, but not what a living one is writing
sweep() {
	for left in "$installed".[0-9]*; do
		[ ! -f "$left" ] || kill -0 "${left##*.}" 2>/dev/null || /bin/rm -f "$left"
	done
}

# run_line KEY: runs the command of the unit's line KEY=, as systemd would; each part of it but the last ends in a backslash
run_line() {
	# What fails in the middle of a pipe is not seen.
	text=$(boot_job)
	line=$(printf '%s\n' "$text" | /bin/sed -n "/^$1=/,/[^\\\\]\$/ { s/^$1=//; p; }")
	[ -n "$line" ] || exit 9
	/bin/sh -euc "$line"
}

# remove_address: takes it away, whatever its prefix
remove_address() {
	there=$(/sbin/ip -4 -o address show dev lo)
	for word in $there; do
		case $word in "$ip"/*) /sbin/ip address delete "$word" dev lo ;; esac
	done
}

if [ "$verb" = down ]; then
	sweep
	if [ -d /run/systemd/system ]; then
		if [ -e "$installed" ]; then
			/bin/systemctl disable --now "$unit"
		elif [ -L "$link" ] || [ -d "$run" ]; then
			/bin/systemctl stop "$unit"
		fi
		/bin/rm -f "$link" "$installed"
		/bin/systemctl daemon-reload
		remove_address
	else
		# The address first: without its guard the LAN would reach it.
		remove_address
		[ ! -d "$run" ] || run_line ExecStopPost
		/bin/rm -f "$link" "$installed"
		/bin/rm -rf "$run"
	fi
	# The folders of other labels stay.
	for other in "${run%/*}"/*; do
		[ -e "$other" ] || [ ! -d "${run%/*}" ] || /bin/rmdir "${run%/*}"
	done
	exit
fi
if [ "$job" = unsupported ]; then
	/bin/mkdir -p "$run"
	run_line ExecStartPre
	/sbin/ip address replace "$ip/32" dev lo scope host
	exit
fi
# The new file is complete before anything is taken away: on a full disk all stays as it was.
case $job in missing | older)
	sweep
	umask 022
	boot_job >"$new"
	;;
esac
[ "$job" = ready ] || [ ! -L "$link" ] || /bin/systemctl disable "$unit"
case $job in missing | older)
	# Another project's run may have put a file there meanwhile, for example while this one waited for the password.
	now=''
	if [ -f "$installed" ] && [ ! -L "$installed" ]; then now=$(/usr/bin/cksum <"$installed"); fi
	case $now in '' | "$seen") /bin/mv -f "$new" "$installed" ;; esac
	;;
esac
[ "$job" = ready ] || /bin/systemctl daemon-reload
# systemd would try to start a failed unit again and again.
/bin/systemctl restart "$unit" || { /bin/systemctl stop "$unit" && exit 9; }
# Enabling is the last step: the link means that every earlier step succeeded.
[ "$job" = ready ] || /bin/systemctl enable "$unit"

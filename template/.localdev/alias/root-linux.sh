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

# commands KEY: prints the commands of the unit's lines KEY=, which end in a backslash but for the last one
commands() {
	boot_job | /bin/sed -n "/^$1=/,/[^\\\\]\$/ { s/^$1=//; p; }"
}

# addresses: prints the address with each prefix that it has on lo
addresses() {
	for word in $(/sbin/ip -4 -o address show dev lo); do
		case $word in "$ip"/*) printf '%s\n' "$word" ;; esac
	done
}

# remove_address: takes it away, whatever its prefix
remove_address() {
	for found in $(addresses); do /sbin/ip address delete "$found" dev lo; done
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
		[ ! -d "$run" ] || commands ExecStopPost | /bin/sh -eu
		/bin/rm -f "$link" "$installed"
	fi
	/bin/rm -rf "$run"
	# The folders of other labels stay.
	[ ! -d "${run%/*}" ] || [ -n "$(/bin/ls -A "${run%/*}")" ] || /bin/rmdir "${run%/*}"
	exit
fi
if [ "$job" = unsupported ]; then
	/bin/mkdir -p "$run"
	commands ExecStartPre | /bin/sh -eu
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

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts and their parts share their variables
# Linux: the address is on lo, and systemd adds it at boot. Same functions as darwin.sh.

# os_begin: sets where things are on this system
os_begin() {
	loopback=lo
	ours=$localdev/host-alias.service
	folder=/etc/systemd/system
	installed=$folder/$label.service
	# Enabling is the last step of `up`: where this link is, all before it was done.
	link=$folder/multi-user.target.wants/$label.service
	[ -x /sbin/ip ] || die 1 "/sbin/ip is missing. Install the package iproute2 (on some systems: iproute)"
}

# os_read_jobs: sets wanted to what $ours holds, and text to what $installed holds. By one process for both: the shell's own
# read would ask the system for each byte, which takes longer than all the rest of `check`
os_read_jobs() {
	both=''
	if [ -f "$installed" ] && [ -r "$installed" ]; then
		both=$(
			/bin/cat "$ours" - "$installed" <<'BETWEEN'
`
BETWEEN
		)
	fi
	# Splitting is the one way to take long texts apart that is fast in every shell. A unit of ours has no backquote.
	set -f
	IFS='`'
	# shellcheck disable=SC2086
	set -- $both
	unset IFS
	set +f
	wanted=${1:-} text=${2:-}
	text=${text#"$newline"}$newline
	# Told apart for sure: one backquote, not at the end, and the same line ends, of which the shell has dropped some.
	case $#$both in
	2*'`') ;;
	2*) [ "$text" != "$wanted" ] || return 0 ;;
	esac
	text=''
	contents "$ours"
	wanted=$text
	if [ -n "$both" ]; then contents "$installed"; else text=''; fi
}

# os_address_present: is the address on lo, compared as a whole field? Sets on_lo to it with its prefix length
os_address_present() {
	set -f
	# shellcheck disable=SC2046 # splitting into fields is the point
	set -- $(/sbin/ip -4 -o address show dev lo)
	set +f
	for on_lo in "$@"; do
		case $on_lo in "$ip"/*) return 0 ;; esac
	done
	return 1
}

# os_can_persist: is systemd the init of this system?
os_can_persist() {
	[ -d /run/systemd/system ]
}

# os_why_not_persistent: prints why os_can_persist says no
os_why_not_persistent() {
	printf 'systemd does not run here'
}

# os_job_on: will systemd start the unit at boot, and is it started now? While it is, systemd keeps its runtime directory
os_job_on() {
	[ -L "$link" ] && [ -d "/run/$label" ]
}

# os_job_left: has systemd something of the unit, whatever became of its file?
os_job_left() {
	[ -L "$link" ] || [ -d "/run/$label" ]
}

# os_address_elsewhere: prints another interface that has the address
os_address_elsewhere() {
	/sbin/ip -4 -o address show | awk -v ip="$ip" '
		$2 != "lo" { split($4, a, "/"); if (a[1] == ip) { printf "%s", $2; exit } }'
}

# os_route_covering: prints the interface to which a route other than the default one sends the address
os_route_covering() {
	/sbin/ip -4 route show match "$ip" | awk '
		$1 != "default" { for (i = 2; i < NF; i++) if ($i == "dev") { printf "%s", $(i + 1); exit } }'
}

# os_explain_up: says beforehand what this system cannot keep
os_explain_up() {
	[ "$job" != unsupported ] || step "it will be gone after a reboot: $(os_why_not_persistent)."
	[ -x /usr/sbin/nft ] || [ -x /sbin/iptables ] ||
		step "warning: without nftables or iptables, a neighbour on the LAN who sets a route to $ip reaches what listens on it."
}

# unit_commands KEY: prints the commands of our unit's lines KEY=..., to be run where there is no systemd
unit_commands() {
	awk -v key="$1=" '
		index($0, key) == 1 { $0 = substr($0, length(key) + 1); command = 1 }
		command { command = sub(/\\$/, ""); printf command ? "%s" : "%s\n", $0 }' "$ours"
}

# os_up_commands: prints the commands that root has to run, all paths absolute
os_up_commands() {
	if [ "$job" = unsupported ]; then
		# As systemd does: who is not root sees by this directory that the guard may be there.
		printf '/bin/mkdir -p /run/%s\n' "$label"
		unit_commands ExecStart
		return 0
	fi
	# Written first: when the disk is full, what was there stays as it was.
	case $job in missing | older) write_commands ;; esac
	[ "$job" = ready ] || [ ! -L "$link" ] || printf '/bin/systemctl disable %s.service\n' "$label"
	case $job in missing | older) replace_commands ;; esac
	[ "$job" = ready ] || printf '/bin/systemctl daemon-reload\n'
	printf '/bin/systemctl restart %s.service\n' "$label"
	[ "$job" = ready ] || printf '/bin/systemctl enable %s.service\n' "$label"
}

# os_down_commands: prints the commands that remove the boot job with its guard, then the address
os_down_commands() {
	sweep_commands
	if ! os_can_persist; then
		# Last the guard: only root sees it, so an address without it would look complete.
		[ "$address" = missing ] || printf '/sbin/ip address delete %s dev lo\n' "$on_lo"
		unit_commands ExecStopPost
		printf '/bin/rm -f %s %s\n/bin/rm -rf /run/%s\n' "$link" "$installed" "$label"
		return 0
	fi
	if [ -e "$installed" ]; then
		printf '/bin/systemctl disable --now %s.service\n/bin/rm -f %s\n/bin/systemctl daemon-reload\n' "$label" "$installed"
	elif os_job_left; then
		printf '/bin/systemctl stop %s.service\n/bin/rm -f %s\n/bin/systemctl daemon-reload\n' "$label" "$link"
	fi
	[ "$address" = missing ] || printf '/sbin/ip address delete %s dev lo\n' "$on_lo"
}

# os_removal: prints in one line how to remove another boot job, file, with the addresses in claimed that nothing else has
os_removal() {
	printf 'sudo systemctl disable --now %s && sudo rm %s' "${file##*/}" "$file"
	for other in $claimed; do
		[ "$other" = "$ip" ] ||
			printf ' && { grep -qswF %s %s/*.service || sudo ip address delete %s/32 dev lo; }' "$other" "$folder" "$other"
	done
}

# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Linux: the address is on lo, and systemd adds it at boot, behind a guard. Same functions as darwin.sh.
: "${label:?}" "${ip:?}" "${folder:?}" "${installed:?}" "${address?}" "${job?}"
# `up` creates this link last. If it exists, every earlier step succeeded.
link=$folder/multi-user.target.wants/$label.service
# The unit writes its address there when guard and address are there, and removes it before it takes them away.
ready=/run/host-alias/$label/ready

# os_address_present: is the address on lo, compared as a whole field?
os_address_present() {
	case "$(/sbin/ip -4 -o address show dev lo) " in *" $ip/"*) return 0 ;; *) return 1 ;; esac
}

# os_can_persist: is systemd the init of this system?
os_can_persist() {
	[ -d /run/systemd/system ]
}

# os_why_not_persistent: prints why os_can_persist says no
os_why_not_persistent() {
	printf 'systemd does not run here'
}

# os_job_on: will systemd start the unit at boot, and has it started it?
os_job_on() {
	[ -L "$link" ] && [ -r "$ready" ] || return 1
	read -r now <"$ready" || return 1
	[ "$now" = "$ip" ]
}

# os_job_left: has systemd something of the unit, whatever became of its file?
os_job_left() {
	[ -L "$link" ] || [ -d "${ready%/*}" ]
}

# os_address_elsewhere: prints another interface that has the address
os_address_elsewhere() {
	/sbin/ip -4 -o address show | while read -r _ interface _ address _; do
		[ "$interface" = lo ] || [ "${address%/*}" != "$ip" ] || printf '%s' "$interface"
	done
}

# os_route_covering: prints the interface to which a route other than the default one sends the address
os_route_covering() {
	/sbin/ip -4 route show match "$ip" | while read -r destination words; do
		case "$destination $words" in
		default*) ;;
		*' dev '*)
			words=${words#*dev }
			printf '%s' "${words%% *}"
			break
			;;
		esac
	done
}

# os_explain_up: says what comes, and what this system cannot keep
os_explain_up() {
	step "this gives lo one more address, by which containers reach the services of this machine; a guard keeps the LAN from it."
	if [ "$job" = unsupported ]; then
		step "it will be gone after a reboot: $(os_why_not_persistent)."
	elif [ "$job" != ready ]; then
		step "systemd adds both again at every boot."
	fi
	[ -x /usr/sbin/nft ] || [ -x /sbin/iptables-restore ] ||
		step "warning: without nftables or iptables, a neighbour on the LAN who sets a route to $ip reaches what listens on it."
}

# os_steps: prints the commands of `up`
os_steps() {
	if [ "$job" = unsupported ]; then
		printf 'the guard, by nft or iptables\n/sbin/ip address replace %s/32 dev lo scope host\n' "$ip"
		return 0
	fi
	case $job in missing | older) printf 'write %s\n/bin/systemctl daemon-reload\n' "$installed" ;; esac
	printf '/bin/systemctl restart %s.service\n' "$label"
	[ "$job" = ready ] || printf '/bin/systemctl enable %s.service\n' "$label"
}

# os_steps_down: prints the commands of `down`
os_steps_down() {
	! os_can_persist || printf '/bin/systemctl disable --now %s.service\n' "$label"
	printf '/sbin/ip address delete %s/32 dev lo\n/bin/rm -f %s\n' "$ip" "$installed"
}

# os_removal FILE ADDRESSES: prints in one line how to remove another boot job, with those of its addresses that nothing else has
os_removal() {
	printf 'sudo systemctl disable --now %s && sudo rm %s' "${1##*/}" "$1"
	# A unit of ours takes its address with it.
	for other in $2; do
		[ "$other" = "$ip" ] ||
			printf ' && { grep -qswF %s %s/*.service || ! ip -o address show dev lo | grep -qwF %s || sudo ip address delete %s/32 dev lo; }' \
				"$other" "$folder" "$other" "$other"
	done
}

# shellcheck shell=sh disable=SC2034,SC2154 # host-alias and its parts share their variables
# Linux: the address is on lo, and systemd adds it at boot. Same functions as darwin.sh.

# os_begin: sets where things are on this system
os_begin() {
	loopback=lo
	ours=$here/host-alias.service
	daemons=/etc/systemd/system
	installed=$daemons/$label.service
	[ -x /sbin/ip ] || die 1 "/sbin/ip is missing. Install the package iproute2 (on some systems: iproute)"
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

# os_daemon_on: will systemd start the unit at boot?
os_daemon_on() {
	[ -L "$daemons/multi-user.target.wants/$label.service" ]
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
	[ "$daemon" != unsupported ] || step "it will be gone after a reboot: $(os_why_not_persistent)."
}

# os_up_commands: prints the commands that root has to run, all paths absolute
os_up_commands() {
	[ "$address" = present ] || printf '/sbin/ip address replace %s/32 dev lo scope host\n' "$ip"
	case $daemon in missing | older)
		write_commands "$installed" "$wanted"
		printf '/bin/mv -f %s.new %s\n' "$installed" "$installed"
		;;
	esac
	case $daemon in missing | older | off)
		printf '/bin/systemctl daemon-reload\n/bin/systemctl enable %s.service\n' "$label"
		printf '/bin/systemctl restart %s.service\n' "$label"
		;;
	esac
}

# os_down_commands: prints the commands that remove the daemon, then the address
os_down_commands() {
	[ ! -e "$installed" ] ||
		printf '/bin/systemctl disable --now %s.service\n/bin/rm -f %s\n/bin/systemctl daemon-reload\n' "$label" "$installed"
	[ "$address" = missing ] || printf '/sbin/ip address delete %s dev lo\n' "$on_lo"
}

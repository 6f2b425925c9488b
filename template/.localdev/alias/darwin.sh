# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# macOS: the address is an alias of lo0, and launchd adds it at boot. Same functions as linux.sh.
: "${label:?}" "${ip:?}" "${folder:?}" "${installed:?}" "${address?}" "${job?}"

# has_address LISTING: does LISTING, ifconfig's output, have the address as a whole field?
has_address() {
	set -f
	# shellcheck disable=SC2086 # splitting into fields is the point
	set -- $1
	set +f
	case " $* " in *" inet $ip "*) return 0 ;; *) return 1 ;; esac
}

# os_address_present: is the address on lo0, compared as a whole field?
os_address_present() {
	has_address "$(/sbin/ifconfig lo0 inet)"
}

# os_can_persist: launchd is always there
os_can_persist() {
	:
}

# os_job_on: has launchd loaded the boot job? Only the exit code of `print` is an interface
os_job_on() {
	/bin/launchctl print "system/$label" >/dev/null 2>&1
}

# os_job_left: has launchd the boot job loaded, whatever became of its file?
os_job_left() {
	os_job_on
}

# os_why_not_persistent: prints nothing, see os_can_persist
os_why_not_persistent() {
	:
}

# os_address_elsewhere: prints another interface that has the address
os_address_elsewhere() {
	for interface in $(/sbin/ifconfig -l); do
		if [ "$interface" != lo0 ] && has_address "$(/sbin/ifconfig "$interface" inet)"; then
			printf '%s' "$interface"
			return 0
		fi
	done
}

# os_route_covering: prints the interface to which a route other than the default one sends the address
os_route_covering() {
	interface=lo0 destination=default
	while read -r key value; do
		case $key in destination:) destination=$value ;; interface:) interface=$value ;; esac
	done <<LISTING
$(/sbin/route -n get "$ip" 2>/dev/null)
LISTING
	[ "$destination" = default ] || [ "$interface" = lo0 ] || printf '%s' "$interface"
}

# os_explain_up: prepares the person for what macOS itself will show
os_explain_up() {
	step "this gives lo0 one more address, by which containers reach the services of this machine."
	[ "$job" = ready ] || step "launchd adds it again at every boot. macOS shows \"Background Items Added\" for ifconfig: that is it."
}

# os_steps: prints the commands of `up`
os_steps() {
	[ "$address" = present ] || printf '/sbin/ifconfig lo0 alias %s netmask 255.255.255.255\n' "$ip"
	case $job in ready) return 0 ;; off) ;; *) printf 'write %s\n' "$installed" ;; esac
	printf '/bin/launchctl enable system/%s\n/bin/launchctl bootstrap system %s\n' "$label" "$installed"
}

# os_steps_down: prints the commands of `down`
os_steps_down() {
	printf '/bin/launchctl bootout system/%s\n/bin/rm -f %s\n' "$label" "$installed"
	[ "$address" = missing ] || printf '/sbin/ifconfig lo0 -alias %s\n' "$ip"
}

# os_removal FILE ADDRESSES: prints in one line how to remove another boot job, with those of its addresses that nothing else has
os_removal() {
	name=${1##*/}
	printf 'sudo launchctl bootout system/%s; sudo rm %s' "${name%.plist}" "$1"
	for other in $2; do
		[ "$other" = "$ip" ] ||
			printf '; grep -qswF %s %s/*.plist || sudo ifconfig lo0 -alias %s' "$other" "$folder" "$other"
	done
}

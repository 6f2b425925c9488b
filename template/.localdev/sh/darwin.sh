# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts and their parts share their variables
# macOS: the address is an alias of lo0, and launchd adds it at boot. Same functions as linux.sh.

# os_begin: sets where things are on this system
os_begin() {
	loopback=lo0
	ours=$localdev/host-alias.plist
	folder=/Library/LaunchDaemons
	installed=$folder/$label.plist
}

# os_read_jobs: sets wanted to what $ours holds, and text to what $installed holds. A plist is short, and `up` starts its two
# processes already
os_read_jobs() {
	text=''
	contents "$ours"
	wanted=$text
	[ ! -f "$installed" ] || [ ! -r "$installed" ] || contents "$installed"
}

# os_address_present: is the address on lo0, compared as a whole field?
os_address_present() {
	has_address "$(/sbin/ifconfig lo0 inet)"
}

# has_address LISTING: does LISTING, ifconfig's output, have the address as a whole field?
has_address() {
	set -f
	# shellcheck disable=SC2086 # splitting into fields is the point
	set -- $1
	set +f
	case " $* " in *" inet $ip "*) return 0 ;; *) return 1 ;; esac
}

# os_can_persist: launchd is always there
os_can_persist() {
	:
}

# os_why_not_persistent: prints nothing, see os_can_persist
os_why_not_persistent() {
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
	/sbin/route -n get "$ip" 2>/dev/null | /usr/bin/awk '
		$1 == "destination:" { destination = $2 }
		$1 == "interface:" { interface = $2 }
		END { if (destination != "default" && interface != "lo0") printf "%s", interface }'
}

# os_explain_up: prepares the person for what macOS itself will show
os_explain_up() {
	[ "$job" = ready ] || step "macOS will show \"Background Items Added\" for ifconfig: that is this boot job."
}

# os_up_commands: prints the commands that root has to run, all paths absolute
os_up_commands() {
	[ "$address" = present ] || printf '/sbin/ifconfig lo0 alias %s netmask 255.255.255.255\n' "$ip"
	[ "$job" != ready ] || return 0
	# A file like ours that launchd does not load may have a bad owner or mode: it is written again.
	[ "$job" != off ] || [ "$text" != "$wanted" ] || job=rewrite
	# Written first: when the disk is full, what was there stays as it was.
	case $job in missing | older | rewrite)
		# Written, not copied: a copy would keep a quarantine attribute, and launchd refuses such a file.
		write_commands
		printf '/usr/sbin/chown root:wheel %s\n/bin/chmod 0644 %s\n' "$temporary" "$temporary"
		;;
	esac
	# Unloaded before it is replaced and loaded last: where it is loaded, all before was done.
	printf '/bin/launchctl enable system/%s\n' "$label"
	bootout_commands
	case $job in missing | older | rewrite) replace_commands ;; esac
	cat <<COMMANDS
# bootstrap can say "5: Input/output error" while the old job is still going: only print tells.
tries=10
until error=\$(/bin/launchctl bootstrap system $installed 2>&1) || /bin/launchctl print system/$label >/dev/null 2>&1; do
	tries=\$((tries - 1))
	[ "\$tries" -gt 0 ] || { printf '%s\n' "\$error" >&2; exit 9; }
	/bin/sleep 0.5
done
COMMANDS
}

# bootout_commands: prints the commands that unload the boot job and wait until it is gone
bootout_commands() {
	cat <<COMMANDS
tries=50
while /bin/launchctl print system/$label >/dev/null 2>&1; do
	# bootout fails while the job ends (36), and when another project's run was faster, which may also load it again.
	error=\$(/bin/launchctl bootout system/$label 2>&1) || [ "\$?" -eq 36 ] ||
		! /bin/launchctl print system/$label >/dev/null 2>&1 || { printf '%s\n' "\$error" >&2; exit 9; }
	tries=\$((tries - 1))
	[ "\$tries" -gt 0 ] || { printf '%s\nlaunchd does not let go of %s\n' "\$error" $label >&2; exit 9; }
	/bin/sleep 0.1
done
COMMANDS
}

# os_down_commands: prints the commands that remove the boot job, then the address
os_down_commands() {
	sweep_commands
	bootout_commands
	printf '/bin/rm -f %s\n' "$installed"
	[ "$address" = missing ] || printf '/sbin/ifconfig lo0 -alias %s\n' "$ip"
}

# os_removal: prints in one line how to remove another boot job, file, with the addresses in claimed that nothing else has
os_removal() {
	job=${file##*/}
	printf 'sudo launchctl bootout system/%s; sudo rm %s' "${job%.plist}" "$file"
	for other in $claimed; do
		[ "$other" = "$ip" ] ||
			printf '; grep -qswF %s %s/*.plist || sudo ifconfig lo0 -alias %s' "$other" "$folder" "$other"
	done
}

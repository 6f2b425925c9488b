# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What root runs on macOS. In front of it host-alias writes: verb (up or down), label, ip, address (present or missing), job (its
# state), seen (the installed file's checksum when it was looked at, '' for none), and boot_job, which prints the file's text.
: "${verb:?}" "${label:?}" "${ip:?}" "${address:?}" "${job:?}" "${seen?}"
installed=/Library/LaunchDaemons/$label.plist
# Root's shell has a process number of its own, so two runs at once do not write to one file.
new=$installed.$$
# finish CODE: leaves no file behind. sudo itself exits with 1, never with 9
finish() {
	/bin/rm -f "$new" && [ "$1" -eq 0 ] || exit 9
}
trap 'finish $?' EXIT

# loaded: has launchd the job?
loaded() {
	/bin/launchctl print "system/$label" >/dev/null 2>&1
}

# sweep: removes what killed runs left behind, but not what a living one is writing
sweep() {
	for left in "$installed".[0-9]*; do
		[ ! -f "$left" ] || kill -0 "${left##*.}" 2>/dev/null || /bin/rm -f "$left"
	done
}

# unload: ends the job and waits until launchd has let go of it
unload() {
	tries=50
	while loaded; do
		# bootout fails while the job ends (36), and when another project's run was faster, which may also load it again.
		error=$(/bin/launchctl bootout "system/$label" 2>&1) || [ "$?" -eq 36 ] || ! loaded ||
			{ printf '%s\n' "$error" >&2 && exit 9; }
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || { printf '%s\nlaunchd does not let go of %s\n' "$error" "$label" >&2 && exit 9; }
		/bin/sleep 0.1
	done
}

if [ "$verb" = down ]; then
	sweep
	unload
	/bin/rm -f "$installed"
	[ "$address" = missing ] || /sbin/ifconfig lo0 -alias "$ip"
	exit
fi
[ "$address" = present ] || /sbin/ifconfig lo0 alias "$ip" netmask 255.255.255.255
[ "$job" != ready ] || exit 0
# Ours that launchd does not load may have a bad owner or mode: it is written again. Another project's newer job stays.
is_newer=no
[ "$job" != off ] || [ "$(boot_job)" = "$(/bin/cat "$installed")" ] || is_newer=yes
# The new file is complete before anything is taken away: on a full disk all stays as it was. It is written, not copied: a copy
# would keep a quarantine attribute, and launchd refuses such a file.
if [ "$is_newer" = no ]; then
	sweep
	umask 022
	boot_job >"$new"
	/usr/sbin/chown root:wheel "$new"
	/bin/chmod 0644 "$new"
fi
/bin/launchctl enable "system/$label"
unload
if [ "$is_newer" = no ]; then
	# Another project's run may have put a file there meanwhile, for example while this one waited for the password.
	now=''
	if [ -f "$installed" ] && [ ! -L "$installed" ]; then now=$(/usr/bin/cksum <"$installed"); fi
	case $now in '' | "$seen") /bin/mv -f "$new" "$installed" ;; esac
fi
# Loading is the last step: a loaded job means that every earlier step succeeded.
# bootstrap can say "5: Input/output error" while the old job is still going: only print tells.
tries=10
until error=$(/bin/launchctl bootstrap system "$installed" 2>&1) || loaded; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || { printf '%s\n' "$error" >&2 && exit 9; }
	/bin/sleep 0.5
done

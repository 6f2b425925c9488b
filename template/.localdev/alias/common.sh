# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The parts of host-alias that act: its verbs, what other boot jobs do, what people are told, and one sudo.
: "${here:?}" "${system:?}" "${label:?}" "${ip:?}" "${loopback:?}" "${folder:?}" "${ours:?}" "${installed:?}" "${newline:?}"
: "${address:?}" "${job:?}" "${dry_run:?}" "${agreed:?}"
again=no

# verb_check: exits 3 with the reason why `up` would do something
verb_check() {
	die 3 "$(reason). Run: $(target alias)"
}

# verb_up: adds the address and its boot job where they are missing
verb_up() {
	refuse_conflicts
	script=$(root_script up)
	if [ "$dry_run" = yes ]; then
		print_plan "$script"
		return 0
	fi
	step "$(reason)."
	warn_of_route
	os_explain_up
	announce up "$(os_steps)" "later runs ask for nothing, and $(target alias-down) takes all of it away again"
	run_as_root up "$script"
	# Another project may be installing the same boot job right now. Wait for it to finish.
	tries=10
	while look && ! satisfied; do
		# The other project's file is older than ours. Install ours again, once.
		if [ "$job" = older ] && [ "$again" = no ]; then
			again=yes
			verb_up
			return 0
		fi
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die 1 "the commands ran, yet $(reason). Run: $(target status)"
		/bin/sleep 0.2
	done
	step "$ip is on $loopback$(persistence)."
	each_claimant explain_claimant
}

# verb_plan: prints what up would run as root
verb_plan() {
	if satisfied; then
		return 0
	fi
	dry_run=yes
	verb_up
}

# verb_down: removes the boot job and the address, unless another boot job needs the address
verb_down() {
	[ "$job" != conflict ] || refuse_conflicts
	each_claimant refuse_claimant
	if [ "$address" = missing ] && [ ! -e "$installed" ] && ! left_behind && ! os_job_left; then
		step "nothing to remove: $ip is not on $loopback and nothing adds it at boot."
		return 0
	fi
	script=$(root_script down)
	if [ "$dry_run" = yes ]; then
		print_plan "$script"
		return 0
	fi
	step "removing $ip from $loopback, and its boot job: every repo of this machine that uses the address is cut off."
	announce down "$(os_steps_down)" "$(target alias) brings both back"
	consent "cannot ask here whether others may lose $ip; nothing was changed. If they may: $(target alias-down) ARGS=--yes"
	run_as_root down "$script"
	look
	[ "$address" = missing ] || die 1 "$ip is still on $loopback: something else adds it. Run: $(target status)"
	[ ! -e "$installed" ] || die 1 "$installed is still there. Run: $(target alias-down) again"
	step "$ip and its boot job are gone."
}

# verb_status: prints address, boot job, every other boot job that adds an address, and the next command; exits like check
verb_status() {
	printf 'address  %s  %s on %s\n' "$ip" "$address" "$loopback"
	printf 'job      %s  %s\n' "$installed" "$(describe_job)"
	each_claimant print_claimant
	elsewhere=$(os_address_elsewhere)
	[ -z "$elsewhere" ] || printf 'also     %s  has %s\n' "$elsewhere" "$ip"
	if satisfied; then
		return 0
	fi
	printf 'next     %s\n' "$(target alias)"
	return 3
}

# --- what there is ----------------------------------------------------------------------------------------------------

# judge_job: sets job where the installed file is not ours, or does not run
judge_job() {
	claimed_addresses "$(cat "$ours")"
	case "$claimed " in
	" $ip ") ;;
	*) die 2 "$ours adds${claimed:- nothing}, host-alias.conf says $ip. Change answers with: $(target update)" ;;
	esac
	job=missing
	if [ ! -e "$installed" ] && [ ! -L "$installed" ]; then
		return 0
	fi
	job=conflict claimed=''
	[ -f "$installed" ] && [ -r "$installed" ] || return 0
	claimed_addresses "$(cat "$installed")"
	case "$claimed " in *" $ip "*) ;; *) return 0 ;; esac

	# A newer format comes from another project of this machine whose template is newer: it is as good as ours.
	format_of "$(cat "$ours")"
	wanted=$format
	format_of "$(cat "$installed")"
	job=older
	if [ "$format" -gt "$wanted" ] || [ "$(job_text)" = "$(cat "$installed" && printf .)" ]; then
		job=ready
		# At boot launchd ignores symbolic links and files that others can write. Root may write the folder as well.
		[ ! -L "$installed" ] || job=older
		[ ! -w "$installed" ] || [ -w "$folder" ] || job=older
	fi
	[ "$job" = older ] || os_job_on || job=off
}

# claimed_addresses TEXT: sets claimed to the addresses that the plist or unit TEXT adds to an interface, each once, and
# on_loopback to whether it names the loopback interface
claimed_addresses() {
	claimed='' in_command=no adds=no on_loopback=no
	set -f
	IFS=" 	$newline<>\"'=/;&|()"
	for word in $1; do
		case $word in
		# Each line of a unit is a command of its own.
		Exec*) in_command=no ;;
		# ifconfig takes the word alias after the address, too.
		ifconfig) in_command=yes ;;
		alias | add | replace) in_command=yes adds=yes ;;
		"$loopback") on_loopback=yes ;;
		*[!0-9.]* | 255.*) ;;
		*.*.*.*)
			case "$claimed $in_command" in
			*" $word "* | *no) ;;
			*) claimed="$claimed $word" ;;
			esac
			;;
		esac
	done
	unset IFS
	set +f
	[ "$adds" = yes ] || claimed=''
}

# format_of TEXT: sets format to the version that the plist or unit TEXT carries, 0 for one that carries none
format_of() {
	format=0
	case $1 in *'host-alias format '[0-9]*) ;; *) return 0 ;; esac
	format=${1#*host-alias format }
	format=${format%%[!0-9]*}
	case $format in ?????????*) format=999999999 ;; esac
}

# left_behind: is there a file that a killed run could not rename?
left_behind() {
	for left in "$installed".[0-9]*; do
		[ ! -f "$left" ] || return 0
	done
	return 1
}

# each_claimant ACTION: calls ACTION for each boot job file, other than ours, that adds our address, or another one to the
# loopback interface; sets file, claimed, and same to whether our address is among them
each_claimant() {
	for file in "$folder"/*."${installed##*.}"; do
		[ -f "$file" ] && [ -r "$file" ] && [ "$file" != "$installed" ] || continue
		claimed_addresses "$(tr -d '\000' <"$file")"
		same=no
		case "$claimed " in
		' ') continue ;;
		*" $ip "*) same=yes ;;
		*) [ "$on_loopback" = yes ] || continue ;;
		esac
		"$1"
	done
}

# --- what people are told ---------------------------------------------------------------------------------------------

# reason: prints why `up` has something to do
reason() {
	if [ "$address" = missing ]; then
		printf '%s is not on %s' "$ip" "$loopback"
		case $job in missing) printf ' and nothing adds it at boot' ;; esac
	else
		printf '%s is on %s, but its boot job %s is %s' "$ip" "$loopback" "$installed" "$(describe_job)"
	fi
}

# describe_job: prints the boot job's state in words
describe_job() {
	case $job in
	ready) printf 'installed' ;;
	unsupported) printf 'not possible here: %s' "$(os_why_not_persistent)" ;;
	missing) printf 'missing' ;;
	older) printf 'out of date' ;;
	off) printf 'installed, not loaded' ;;
	conflict) printf 'in conflict: it adds%s' "${claimed:- no address that can be read}" ;;
	esac
}

# persistence: prints whether the address comes back after a reboot
persistence() {
	if [ "$job" = unsupported ]; then
		printf '. It will not survive a reboot: %s' "$(os_why_not_persistent)"
	else
		printf ', now and after every reboot'
	fi
}

# refuse_conflicts: exits 1 when the label or the address belongs to something else
refuse_conflicts() {
	[ "$job" != conflict ] ||
		die 1 "$installed adds${claimed:- no address that can be read}, not $ip. Give one of the two another label: $(target update)"
	elsewhere=''
	[ "$address" = present ] || elsewhere=$(os_address_elsewhere)
	[ -z "$elsewhere" ] || die 1 "$ip already belongs to $elsewhere. Choose another address: $(target update)"
}

# warn_of_route: names a route that already leads to the address
warn_of_route() {
	route=''
	[ "$address" = present ] || route=$(os_route_covering)
	[ -z "$route" ] || step "warning: $route routes $ip elsewhere (a VPN or LAN); from now on it is this machine."
}

# claimant: prints the file's name; what is no visible character, so that it cannot change the terminal, as ?
claimant() {
	printf '%s' "$file" | tr -c '!-~' '?'
}

# claimant_removal: prints the commands that remove the file's job, and its addresses but ours
claimant_removal() {
	case $file in
	*[!A-Za-z0-9._/@-]*) printf 'see .localdev/README.md' ;;
	*) os_removal "$file" "$claimed" ;;
	esac
}

# print_claimant: prints the file's row for status
print_claimant() {
	if [ "$same" = yes ]; then
		printf 'also     %s  claims %s\n' "$(claimant)" "$ip"
	else
		printf 'also     %s  adds%s\n' "$(claimant)" "$claimed"
	fi
}

# explain_claimant: says what else adds an address: an earlier set-up of this project, or another project
explain_claimant() {
	if [ "$same" = yes ]; then
		step "$(claimant) claims $ip, too; both may stay. To remove that one: $(claimant_removal)"
	else
		step "$(claimant) adds$claimed. If no repo of this machine uses that any more: $(claimant_removal)"
	fi
}

# refuse_claimant: exits 1 when the file claims our address
refuse_claimant() {
	[ "$same" = no ] ||
		die 1 "$(claimant) claims $ip, too, so something else needs it. Leave the address, or remove that one first: $(claimant_removal)"
}

# announce VERB COMMANDS LATER: shows what root will do on this machine, one command a line, and says what LATER is
announce() {
	step "this needs root, for these commands:"
	printf '%s\n' "$2" | sed 's/^/  /' >&2
	step "$3. All that root runs: sh .localdev/host-alias $1 --dry-run"
}

# --- root -------------------------------------------------------------------------------------------------------------

# job_text: prints our boot job as it will be installed, with a newline at its end, and a dot that keeps the newlines
job_text() {
	cat "$ours"
	[ -z "$(tail -c 1 "$ours")" ] || printf '\n'
	printf .
}

# root_script VERB: prints what root runs: how things are, the boot job's text, and the static part for this system
root_script() {
	# Only visible characters: nothing can hide a line of a plan from its reader, or end a text early.
	[ -z "$(LC_ALL=C tr -d '\n\t -~' <"$ours" | tr '\000' '?')" ] || die 2 "$ours has control characters. Restore it from git"
	text=$(job_text)
	text=${text%.}
	case $newline$text in *"${newline}END_OF_FILE$newline"* | *"${newline}AS_ROOT$newline"*)
		die 2 "$ours has a line that would end what root reads. Restore it from git"
		;;
	esac
	seen=''
	[ ! -f "$installed" ] || [ -L "$installed" ] || seen=$(cksum <"$installed")
	printf "verb=%s label=%s ip=%s\naddress=%s job=%s seen='%s'\n" "$1" "$label" "$ip" "$address" "$job" "$seen"
	printf "boot_job() {\n\t/bin/cat <<'END_OF_FILE'\n%sEND_OF_FILE\n}\n" "$text"
	sed '/^# SPDX/d; /^# shellcheck/d' "$here/alias/root-$system.sh"
}

# print_plan SCRIPT: prints SCRIPT as one command for root, ready to paste
print_plan() {
	[ "$(id -u)" -eq 0 ] || printf 'sudo '
	printf "/bin/sh -eu <<'AS_ROOT'\n%s\nAS_ROOT\n" "$1"
}

# can_ask: is there a person at a terminal?
can_ask() {
	# Redirecting a special builtin would end a POSIX shell, so /dev/tty is tried in a subshell.
	[ -z "${CI:-}" ] && (exec </dev/tty) 2>/dev/null
}

# consent REFUSAL: asks once; exits 1 when the person declines, 4 with REFUSAL when there is nobody to ask
consent() {
	[ "$agreed" = no ] || return 0
	can_ask || die 4 "$1"
	printf 'Go on? [y/N] ' >/dev/tty
	read -r answer </dev/tty || answer=''
	case $answer in [yY] | [yY][eE][sS]) agreed=yes ;; *) die 1 "nothing was changed" ;; esac
}

# run_as_root VERB SCRIPT: runs SCRIPT, for VERB, with at most one password; exits 1 or 4 when it cannot
run_as_root() {
	sudo='' ask='' code=0
	if [ "$(id -u)" -ne 0 ]; then
		sudo=/usr/bin/sudo
		[ -x "$sudo" ] || die 4 "there is no sudo here. Run as root: sh .localdev/host-alias $1"
		# The password is the person's yes. Where sudo asks for none, we ask.
		if "$sudo" -n -v 2>/dev/null; then
			consent "cannot ask here whether root may run the commands above. If it may: sh .localdev/host-alias $1 --yes"
		fi
		can_ask || ask=-n
	fi
	trap 'explain_failure interrupted' INT
	$sudo ${ask:+"$ask"} /bin/sh -eu <<AS_ROOT || code=$?
$2
AS_ROOT
	trap - INT
	case $code$ask in
	0*) ;;
	# What sudo itself has to say. Any other number is the script's, or of the signal that ended it.
	1-n) die 4 "sudo needs a password and cannot ask for it here. In a terminal: sh .localdev/host-alias $1" ;;
	1) explain_failure sudo ;;
	*) explain_failure command ;;
	esac
}

# explain_failure WHAT: exits 1 with what is left after root's commands, WHAT being interrupted, sudo or command
explain_failure() {
	case $1 in
	interrupted) die 1 "interrupted. See where things are: $(target status)" ;;
	sudo) die 1 "sudo did not run the commands above; nothing was changed. Try again: $(target alias)" ;;
	command)
		look
		die 1 "a command failed (its message is above). Now: $ip is $address, its boot job is $(describe_job)"
		;;
	esac
}

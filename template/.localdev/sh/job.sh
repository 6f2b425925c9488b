# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts and their parts share their variables
# The alias and its boot job, on every system: what is there, what other boot jobs do, and the commands that write ours.
# Functions that run before every start of the containers start no process: they use the shell's own words only.
#
# Variables that the parts share:
#   label, ip                   of host-alias.conf, by read_conf
#   loopback, folder            the interface, and where the system has its boot jobs, by os_begin
#   ours, installed             our boot job's file, in the repo and in that folder, by os_begin
#   wanted, text                what these two hold, by os_read_jobs
#   address, job                how things stand, by look
#   file, claimed, same         another boot job, the addresses that it adds, and whether ours is one, by each_claimant

# contents FILE: sets text to what FILE holds
contents() {
	text=''
	while IFS= read -r line || [ -n "$line" ]; do
		text=$text$line$newline
	done <"$1"
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

# look: sets address to present or missing, job to ready, unsupported, missing, older, off or conflict
look() {
	address=missing
	! os_address_present || address=present
	[ -r "$ours" ] || die 2 "$ours is missing or unreadable. Restore it from git"
	os_read_jobs
	case $newline$wanted in *"${newline}END_OF_FILE$newline"* | *"${newline}AS_ROOT$newline"*)
		die 2 "$ours has a line that would end what root reads. Restore it from git"
		;;
	esac
	claimed_addresses "$wanted"
	case "$claimed " in
	" $ip ") ;;
	*) die 2 "$ours adds${claimed:- nothing}, host-alias.conf says $ip. Change answers with: make dev-update" ;;
	esac

	job=unsupported
	os_can_persist || return 0
	job=missing
	if [ ! -e "$installed" ] && [ ! -L "$installed" ]; then
		return 0
	fi
	job=conflict claimed=''
	[ -f "$installed" ] && [ -r "$installed" ] || return 0
	if [ "$text" = "$wanted" ]; then claimed=" $ip"; else claimed_addresses "$text"; fi
	case "$claimed " in *" $ip "*) ;; *) return 0 ;; esac

	# A newer format comes from another project of this machine whose template is newer: it is as good as ours.
	format_of "$wanted"
	wanted_format=$format
	format_of "$text"
	job=older
	if [ "$text" = "$wanted" ] || [ "$format" -gt "$wanted_format" ]; then
		job=ready
		# launchd skips, at boot, a link and a file that others may write. Root may write the folder as well.
		[ ! -L "$installed" ] || job=older
		[ ! -w "$installed" ] || [ -w "$folder" ] || job=older
	fi
	[ "$job" = older ] || os_job_on || job=off
}

# satisfied: is there nothing left to do, as far as this system can keep an address?
satisfied() {
	[ "$address" = present ] || return 1
	case $job in ready | unsupported) return 0 ;; *) return 1 ;; esac
}

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
		die 1 "$installed adds${claimed:- no address that can be read}, not $ip. Give one of the two another label: make dev-update"
	elsewhere=''
	[ "$address" = present ] || elsewhere=$(os_address_elsewhere)
	[ -z "$elsewhere" ] || die 1 "$ip already belongs to $elsewhere. Choose another address: make dev-update"
}

# warn_of_route: names a route that already leads to the address
warn_of_route() {
	route=''
	[ "$address" = present ] || route=$(os_route_covering)
	[ -z "$route" ] || step "warning: $route routes $ip elsewhere (a VPN or LAN); from now on it is this machine."
}

# each_claimant ACTION: calls ACTION for each boot job file, other than ours, that adds our address, or another one to the
# loopback interface; sets file, claimed, and same to whether our address is among them
each_claimant() {
	for file in "$folder"/*."${installed##*.}"; do
		[ -f "$file" ] && [ -r "$file" ] && [ "$file" != "$installed" ] || continue
		contents "$file"
		claimed_addresses "$text"
		same=no
		case "$claimed " in
		' ') continue ;;
		*" $ip "*) same=yes ;;
		*) [ "$on_loopback" = yes ] || continue ;;
		esac
		"$1"
	done
}

# claimant: prints the file's name; what is no visible character, so that it cannot change the terminal, as ?
claimant() {
	case $file in
	*[!A-Za-z0-9._/@-]*) printf '%s' "$file" | tr -c '!-~' '?' ;;
	*) printf '%s' "$file" ;;
	esac
}

# claimant_removal: prints the commands that remove the file's job, and its addresses but ours
claimant_removal() {
	case $file in
	*[!A-Za-z0-9._/@-]*) printf 'see .localdev/README.md' ;;
	*) os_removal ;;
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

# left_behind: is there a file that a killed run could not rename?
left_behind() {
	for left in "$installed".[0-9]*; do
		[ ! -f "$left" ] || return 0
	done
	return 1
}

# sweep_commands: prints commands that remove what killed runs left behind, but not what a living one is writing
sweep_commands() {
	! left_behind || cat <<COMMANDS
for left in $installed.[0-9]*; do
	kill -0 "\${left##*.}" 2>/dev/null || /bin/rm -f "\$left"
done
COMMANDS
}

# write_commands: prints commands that write what was compared to a file beside the installed one: no file can change meanwhile
write_commands() {
	sweep_commands
	printf "umask 022\n/bin/cat >%s <<'END_OF_FILE'\n%s\nEND_OF_FILE\n" "$temporary" "${wanted%"$newline"}"
}

# replace_commands: prints commands that put the written file in its place, unless another project's `up` put a file there
# since `look`, for example while this one waited for the password
replace_commands() {
	seen=''
	[ ! -f "$installed" ] || [ -L "$installed" ] || seen=$(cksum <"$installed")
	cat <<COMMANDS
now=''
if [ -f $installed ] && [ ! -L $installed ]; then now=\$(/usr/bin/cksum <$installed); fi
case \$now in '' | '$seen') /bin/mv -f $temporary $installed ;; esac
COMMANDS
}

# shellcheck shell=sh disable=SC2034,SC2154 # host-alias and its parts share their variables
# What host-alias does the same way on every system: messages, host-alias.conf, comparing daemons, one sudo. hosts.sh
# shares what is not about the address. Each of them sets program, its name in messages, and defines explain_failure.
# Functions that run before every start of the containers start no process: they use the shell's own words only.

newline='
'

# step TEXT: tells the person at the terminal what happens
step() {
	printf '%s: %s\n' "$program" "$1" >&2
}

# die CODE TEXT: says in one line what was wrong and what to do, then exits with CODE
die() {
	if [ -t 2 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
		printf '\033[31m%s: %s\033[0m\n' "$program" "$2" >&2
	else
		printf '%s: %s\n' "$program" "$2" >&2
	fi
	exit "$1"
}

# read_conf FILE: sets label, ip and domain (unchecked, '' for none), or exits 2. FILE is data: it is never sourced, and its
# bytes are never printed
read_conf() {
	conf=$1 label='' ip='' domain='' seen=' ' number=0
	[ -f "$conf" ] && [ -r "$conf" ] || die 2 "$conf is missing or unreadable. Restore it from git"
	while IFS= read -r line || [ -n "$line" ]; do
		number=$((number + 1))
		case $line in
		'' | '#'*) continue ;;
		label=* | ip=* | domain=* | web_port=* | https_port=* | databases=*) ;;
		*=*) bad_conf "unknown key. Known: label, ip, domain, web_port, https_port, databases" ;;
		*) bad_conf "not a line of the form key=value" ;;
		esac
		key=${line%%=*}
		value=${line#*=}
		case $seen in *" $key "*) bad_conf "$key is set twice. Keep one" ;; esac
		seen="$seen$key "
		case $key in
		label)
			is_label "$value" || bad_conf "label must be reverse-DNS, e.g. local.host-alias.10.254.254.254"
			label=$value
			;;
		ip)
			is_alias_address "$value" || bad_conf "ip must be an address for an alias, e.g. 10.254.254.254"
			ip=$value
			;;
		domain) domain=$value ;;
		esac
	done <"$conf"
	[ -n "$label" ] || bad_conf "the line label=... is missing"
	[ -n "$ip" ] || bad_conf "the line ip=... is missing"
}

# bad_conf REASON: exits 2, naming the file and the line that read_conf is at
bad_conf() {
	die 2 "$conf:$number: $1"
}

# is_label TEXT: is TEXT safe as a launchd label, a systemd unit name and a file name?
is_label() {
	case $1 in
	[!A-Za-z]* | *[!A-Za-z0-9._-]* | *..* | *.-* | *. | [Cc][Oo][Mm].[Aa][Pp][Pp][Ll][Ee].*) return 1 ;;
	?*.?*) [ "${#1}" -le 100 ] ;;
	*) return 1 ;;
	esac
}

# is_alias_address TEXT: is TEXT four numbers 0-255 that can be an alias? 127.0.0.1 never: `down` would remove it
is_alias_address() {
	case $1 in
	*[!0-9.]* | .* | *. | *..* | *.*.*.*.*) return 1 ;;
	0.* | 127.* | 22[4-9].* | 2[345][0-9].* | *.0 | *.255) return 1 ;;
	*.*.*.*) ;;
	*) return 1 ;;
	esac
	rest=$1.
	while [ -n "$rest" ]; do
		octet=${rest%%.*}
		rest=${rest#*.}
		case $octet in 0?* | ????*) return 1 ;; esac
		[ "$octet" -le 255 ] || return 1
	done
}

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

# look: sets address to present or missing, daemon to ready, unsupported, missing, older, off or conflict
look() {
	address=missing
	! os_address_present || address=present
	[ -r "$ours" ] || die 2 "$ours is missing or unreadable. Restore it from git"
	os_read_daemons
	case $newline$wanted in *"${newline}END_OF_FILE$newline"* | *"${newline}AS_ROOT$newline"*)
		die 2 "$ours has a line that would end what root reads. Restore it from git"
		;;
	esac
	claimed_addresses "$wanted"
	case "$claimed " in
	" $ip ") ;;
	*) die 2 "$ours adds${claimed:- nothing}, host-alias.conf says $ip. Change answers with: make dev-update" ;;
	esac

	daemon=unsupported
	os_can_persist || return 0
	daemon=missing
	if [ ! -e "$installed" ] && [ ! -L "$installed" ]; then
		return 0
	fi
	daemon=conflict claimed=''
	[ -f "$installed" ] && [ -r "$installed" ] || return 0
	if [ "$text" = "$wanted" ]; then claimed=" $ip"; else claimed_addresses "$text"; fi
	case "$claimed " in *" $ip "*) ;; *) return 0 ;; esac

	# A newer format comes from another project of this machine whose template is newer: it is as good as ours.
	format_of "$wanted"
	wanted_format=$format
	format_of "$text"
	daemon=older
	if [ "$text" = "$wanted" ] || [ "$format" -gt "$wanted_format" ]; then
		daemon=ready
		# launchd skips, at boot, a link and a file that others may write. Root may write the folder as well.
		[ ! -L "$installed" ] || daemon=older
		[ ! -w "$installed" ] || [ -w "$daemons" ] || daemon=older
	fi
	[ "$daemon" = older ] || os_daemon_on || daemon=off
}

# satisfied: is there nothing left to do, as far as this system can keep an address?
satisfied() {
	[ "$address" = present ] || return 1
	case $daemon in ready | unsupported) return 0 ;; *) return 1 ;; esac
}

# reason: prints why `up` has something to do
reason() {
	if [ "$address" = missing ]; then
		printf '%s is not on %s' "$ip" "$loopback"
		case $daemon in missing) printf ' and nothing adds it at boot' ;; esac
	else
		printf '%s is on %s, but its daemon %s is %s' "$ip" "$loopback" "$installed" "$(describe_daemon)"
	fi
}

# describe_daemon: prints the daemon's state in words
describe_daemon() {
	case $daemon in
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
	if [ "$daemon" = unsupported ]; then
		printf '. It will not survive a reboot: %s' "$(os_why_not_persistent)"
	else
		printf ', now and after every reboot'
	fi
}

# refuse_conflicts: exits 1 when the label or the address belongs to something else
refuse_conflicts() {
	[ "$daemon" != conflict ] ||
		die 1 "$installed adds${claimed:- no address that can be read}, not $ip. Give one of the two another label"
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

# each_claimant ACTION: calls ACTION for each daemon file, other than ours, that adds our address, or another one to the
# loopback interface; sets file, claimed, and same to whether our address is among them
each_claimant() {
	for file in "$daemons"/*."${installed##*.}"; do
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
	*[!A-Za-z0-9._/@-]*) printf 'see localdev/README.md' ;;
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
		step "$(claimant) adds$claimed. If no project of this machine uses that any more: $(claimant_removal)"
	fi
}

# refuse_claimant: exits 1 when the file claims our address
refuse_claimant() {
	[ "$same" = no ] ||
		die 1 "$(claimant) claims $ip, too, so something else needs it. Leave the address, or remove that one first: $(claimant_removal)"
}

# print_plan COMMANDS: prints COMMANDS as one command for root, ready to paste
print_plan() {
	[ "$(id -u)" -eq 0 ] || printf 'sudo '
	printf "/bin/sh -eu <<'AS_ROOT'\n%s\nAS_ROOT\n" "$1"
}

# root_script COMMANDS: prints COMMANDS so that a failure leaves no $temporary and exits 9, which sudo itself never does
root_script() {
	cleanup=''
	case $1 in *"$temporary"*) cleanup="; /bin/rm -f $temporary || code=9" ;; esac
	printf "trap 'code=\$?%s; [ \"\$code\" -eq 0 ] || exit 9' EXIT\n%s\n" "$cleanup" "$1"
}

# ask QUESTION: asks on the terminal; is the answer yes?
ask() {
	printf '%s [y/N] ' "$1" >/dev/tty
	read -r answer </dev/tty || answer=''
	case $answer in [yY] | [yY][eE][sS]) ;; *) return 1 ;; esac
}

# can_ask: is there a person at a terminal?
can_ask() {
	# Redirecting a special builtin would end a POSIX shell, so /dev/tty is tried in a subshell.
	[ -z "${CI:-}" ] && (exec </dev/tty) 2>/dev/null
}

# run_as_root SCRIPT: runs SCRIPT, which was shown before, as root with at most one password; exits 1 or 4 when it cannot
run_as_root() {
	ask='' code=0
	if [ "$(id -u)" -eq 0 ]; then
		set -- "$1" ''
	else
		[ -x /usr/bin/sudo ] || die 4 "there is no sudo here. Run the commands above as root"
		can_ask || ask=-n
		set -- "$1" /usr/bin/sudo
	fi
	trap 'explain_failure interrupted' INT
	$2 ${ask:+"$ask"} /bin/sh -eu <<AS_ROOT || code=$?
$1
AS_ROOT
	trap - INT
	case $code$ask in
	0*) ;;
	# What sudo itself has to say. Any other number is the script's, or of the signal that ended it.
	1-n) die 4 "sudo needs a password and cannot ask for it here. Run the commands above in a terminal" ;;
	1) explain_failure sudo ;;
	*) explain_failure command ;;
	esac
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

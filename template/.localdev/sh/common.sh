# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034,SC2154 # the scripts and their parts share their variables
# What host-alias does on every system: messages, host-alias.conf, asking, one sudo. The caller must set $program (the name in
# messages) and $temporary (root writes here, then renames), and define explain_failure.

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

# read_conf FILE: sets label and ip, or exits 2. FILE is data: it is never sourced, and its bytes are never printed
read_conf() {
	conf=$1 label='' ip='' seen=' ' number=0
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

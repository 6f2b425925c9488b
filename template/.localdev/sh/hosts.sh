#!/bin/sh
# SPDX-License-Identifier: MIT
# hosts.sh: this project's hosts in /etc/hosts, between two marks of its own; all else in the file stays byte for byte.
#
#   hosts.sh add [--yes]      lead every host in routes to 127.0.0.1
#   hosts.sh remove [--yes]   take them out again
#
# Shows what root will run and asks; -y, --yes: does not ask. Silent when there is nothing to do.
# exit codes: 0 done, 1 failed or declined, 2 usage or bad configuration, 4 needs a yes or root and cannot ask
set -eu
LC_ALL=C
# Root may run this, too: no command comes from a folder that others may write.
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL PATH
unset IFS
program=localdev
hosts=/etc/hosts
case $0 in */*) localdev=${0%/*}/.. ;; *) localdev=.. ;; esac
# .localdev/sh/.. is localdev: messages shall name files as people know them.
case $localdev in */sh/..) localdev=${localdev%/sh/..} ;; esac

# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC1091
. "$localdev/sh/common.sh"

# is_host TEXT: is TEXT safe in a file name, in what root runs, and in /etc/hosts?
is_host() {
	case $1 in
	'' | [!a-z0-9]* | *[!a-z0-9.-]* | *..*) return 1 ;;
	esac
}

# read_project: sets begin and end, the marks, and temporary, the file beside /etc/hosts; both are this project's own
read_project() {
	read_conf "$localdev/host-alias.conf"
	is_host "$domain" || die 2 "$conf: the line domain=... is missing or no host name. Restore it from git"
	begin="# >>> localdev $domain"
	end="# <<< localdev $domain"
	temporary=$hosts.$domain.new
}

# read_names: sets entry to the line for every host in routes, wildcards to those that /etc/hosts cannot have
read_names() {
	[ -d "$localdev/proxy" ] || die 1 'this stack has no proxy. Add one: make dev-update ARGS="-d web_proxy=nginx"'
	entry=127.0.0.1 wildcards=''
	names=$(cd "$localdev/.." && python3 -I -B .localdev/stack hosts) || exit 1
	# A wildcard is a name here, no pattern.
	set -f
	for name in $names; do
		case $name in '*.'*)
			wildcards="$wildcards $name"
			continue
			;;
		esac
		is_host "$name" || die 1 "$name is no host name for $hosts. Correct $localdev/routes"
		entry="$entry $name"
	done
	set +f
}

# look: sets sum to the file's checksum, whole to its number of whole lines, and to our block in it: first and last, its
# lines (0: none), and block, its text. Exits 1 at a mark without its other half: what is ours cannot be told then
look() {
	[ -f "$hosts" ] && [ -r "$hosts" ] || return 1
	# First: whatever changes from here on, root sees it.
	sum=$(/usr/bin/cksum <"$hosts")
	whole=$(($(wc -l <"$hosts")))
	found=$(awk -v begin="$begin" -v end="$end" -v file="$hosts" -f "$localdev/sh/hosts.awk" <"$hosts") ||
		die 1 "$found. Put it right, then try again; nothing was changed"
	numbers=${found%%"$newline"*}
	first=${numbers% *}
	last=${numbers#* }
	block=${found#"$numbers"}
	block=${block#"$newline"}
}

# refuse_what_cannot_be_replaced HINT: exits 1, with HINT, where a new file cannot take the place of the old one
refuse_what_cannot_be_replaced() {
	[ ! -L "$hosts" ] ||
		die 1 "$hosts is a link to what something else writes (NixOS: networking.extraHosts). There, $1"
	if [ -r /proc/self/mountinfo ] &&
		awk -v file="$hosts" '$5 == file { found = 1 } END { exit !found }' /proc/self/mountinfo; then
		die 1 "$hosts is a mount of its own (as in a container) and cannot be replaced. In it, $1"
	fi
}

# commands TEXT: prints the commands that put TEXT ('' for nothing) in the place of our block.
#
# Root adds exactly the text that was shown, and takes all else from the file itself, by line numbers. So at last, just
# before the new file takes the old one's place, root checks that the old one is what the numbers were made for.
# A new block comes after the last whole line: a last line without a newline stays the last, and stays without.
commands() {
	if [ "$first" -eq 0 ]; then
		before=$whole after=$((whole + 1))
	else
		before=$((first - 1)) after=$((last + 1))
	fi
	# A signal would end some shells without the trap for EXIT.
	printf "trap 'exit 9' HUP INT TERM\numask 022\n{\n"
	# macOS refuses head -n 0.
	[ "$before" -eq 0 ] || printf '/usr/bin/head -n %s %s\n' "$before" "$hosts"
	[ -z "$1" ] || printf "/bin/cat <<'END_OF_BLOCK'\n%s\nEND_OF_BLOCK\n" "$1"
	chown=/bin/chown
	[ ! -x /usr/sbin/chown ] || chown=/usr/sbin/chown
	cat <<COMMANDS
/usr/bin/tail -n +$after $hosts
} >$temporary
$chown 0:0 $temporary
/bin/chmod 0644 $temporary
[ "\$(/usr/bin/cksum <$hosts)" = '$sum' ] || { printf '%s\n' '$hosts has changed meanwhile' >&2; exit 9; }
/bin/mv -f $temporary $hosts
COMMANDS
	[ ! -x /usr/bin/dscacheutil ] || printf '/usr/bin/dscacheutil -flushcache || :\n'
}

# explain_failure WHAT: exits 1 with what is left after root's commands, WHAT being interrupted, sudo or command
explain_failure() {
	case $1 in
	interrupted) die 1 "interrupted. $hosts is whole: as it was, or done. To see which: $again" ;;
	sudo) die 1 "sudo did not run the commands above; nothing was changed. Try again: $again" ;;
	command) die 1 "a command failed (its message is above); $hosts is as it was. Try again: $again" ;;
	esac
}

# run SCRIPT: shows SCRIPT, asks, and runs it as root; exits 1 when declined, 4 when nobody can be asked
run() {
	step "$hosts needs root to change. The commands:"
	print_plan "$1" >&2
	if [ "$yes" = no ]; then
		can_ask || die 4 "cannot ask here. Run the commands above in a terminal, or: $again ARGS=--yes"
		ask 'Run them?' || die 1 "nothing was changed"
	fi
	run_as_root "$1"
}

# add: makes our block agree with routes
add() {
	again='make dev-hosts'
	read_names
	wanted=$begin$newline$entry$newline$end
	look || die 1 "$hosts is missing or unreadable. Make it, with your system's own lines and this one: $entry"
	[ "$block" != "$wanted" ] || return 0
	refuse_what_cannot_be_replaced "add the line: $entry"
	[ -z "$wildcards" ] || step "$hosts knows no wildcards, so these are left out:$wildcards"
	run "$(root_script "$(commands "$wanted")")"
	look && [ "$block" = "$wanted" ] || die 1 "the commands ran, yet the hosts are not in $hosts. Try again: $again"
	step "the hosts are in $hosts: ${entry#* }"
}

# remove: takes our block out
remove() {
	again='make dev-hosts-down'
	look || return 0
	[ "$first" -ne 0 ] || return 0
	refuse_what_cannot_be_replaced "remove the lines from \"$begin\" to \"$end\""
	run "$(root_script "$(commands '')")"
	look && [ "$first" -eq 0 ] || die 1 "the commands ran, yet the hosts are still in $hosts. Try again: $again"
	step "the hosts of $domain are out of $hosts."
}

# main ARGUMENT...: reads the command line, then runs one verb
main() {
	verb='' yes=no
	for argument in "$@"; do
		case $argument in
		add | remove) verb=$argument ;;
		-y | --yes) yes=yes ;;
		*) die 2 "unknown argument. Use add or remove, and --yes" ;;
		esac
	done
	[ -n "$verb" ] || die 2 "say add or remove"
	read_project
	"$verb"
}

main "$@"

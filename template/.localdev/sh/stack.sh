#!/bin/sh
# SPDX-License-Identifier: MIT
# stack.sh: what make's targets do around Compose, so that a failure ends in one line that says what to do.
#
#   stack.sh up COMPOSE... [-- ARGUMENT...]      give the machine the alias, start, wait until healthy, print the URLs
#   stack.sh down COMPOSE... [-- ARGUMENT...]    stop; asks before --volumes deletes data (--yes: does not)
#   stack.sh status COMPOSE... [-- ARGUMENT...]  the alias, then the containers; exits like host-alias status
#   stack.sh doctor COMPOSE... [-- ARGUMENT...]  say what works and what fixes the rest; exits like doctor
#   stack.sh reload COMPOSE...                   use an edited routes, or an edited snippet in proxy/custom
#   stack.sh tls COMPOSE...                      make a certificate for the hosts in routes, and use it
#   stack.sh urls                                print the URLs
#   stack.sh env                                 print the environment for native services, for eval
#   stack.sh copier ARGUMENT...                  Copier, or uvx copier where it is not installed
#
# COMPOSE is the command, e.g. docker compose.
set -eu
LC_ALL=C
export LC_ALL
unset IFS CDPATH
# The repo's root, wherever a Makefile includes the targets from; messages name files as people know them there.
case $0 in */*) cd "${0%/*}/../.." ;; *) cd ../.. ;; esac
localdev=.localdev
project_name=''
# The certificate with its key, made by `stack.sh tls`. It stays on this machine.
certificate=$localdev/tls.pem
names_changed=no

# die TEXT: says in one line what was wrong and what to do, then exits 1
die() {
	printf 'localdev: %s\n' "$1" >&2
	exit 1
}

# routes FORM: prints routes as urls, table, hosts, names, https_port or env; exits 1 with file and line of each error
routes() {
	dotenv=''
	[ ! -f .env ] || dotenv=.env
	tls=off
	[ ! -f "$certificate" ] || tls=on
	awk -v want="$1" -v tls="$tls" -f "$localdev/routes.awk" -f "$localdev/sh/env.awk" \
		"$localdev/host-alias.conf" ${dotenv:+"$dotenv"} "$localdev/routes"
}

# write_names: makes names.yaml agree with routes; exits 1 when it cannot be written
write_names() {
	[ -d "$localdev/proxy" ] || return 0
	names=$(routes names)
	if [ "$names" != "$(cat "$localdev/names.yaml" 2>/dev/null)" ]; then
		printf '%s\n' "$names" >"$localdev/names.yaml" || die "$localdev/names.yaml cannot be written. Correct its owner"
		names_changed=yes
	fi
}

# may VERB: exits where VERB would harm containers or data that are not this checkout's; sets project_name.
# Where nothing can be known it returns, and sets is_known to no
# shellcheck disable=SC2086
may() {
	need_python
	code=0 is_known=yes
	project_name=$(python3 -I -B "$localdev/stack" before "$1" $compose -- $arguments) || code=$?
	case $code in
	0) ;;
	3) is_known=no ;;
	*) exit "$code" ;;
	esac
}

# need_python: exits 1 when there is no Python for what is more than a shell should do
need_python() {
	python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
		die "python3 3.9 or later is missing. Install it: xcode-select --install (Debian: sudo apt install python3)"
}

# need_proxy: exits 1 when this stack has no proxy
need_proxy() {
	[ -d "$localdev/proxy" ] || die 'this stack has no proxy. Add one: make dev-update ARGS="-d web_proxy=nginx"'
}

# make_certificate: makes certificate and key, one file, for the hosts in routes; the old one stays when it fails
make_certificate() {
	command -v mkcert >/dev/null ||
		die "mkcert is missing. Install it: brew install mkcert (Debian: sudo apt install mkcert), then: make dev-tls"
	names=$(routes hosts | tr '\n' ' ')
	new=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/localdev.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	# A wildcard is a name here, no pattern.
	set -f
	# shellcheck disable=SC2086
	said=$(mkcert -cert-file "$new/cert" -key-file "$new/key" $names 2>&1) || die "mkcert failed: $said"
	set +f
	# In the same folder, so that it takes the old one's place at once; for its owner only from the first byte on.
	(
		umask 077 && printf 'hosts: %s\n' "$names" >"$certificate.new" &&
			cat "$new/cert" "$new/key" >>"$certificate.new" && mv -f "$certificate.new" "$certificate"
	) || {
		rm -f "$certificate.new"
		die "$certificate cannot be written (the message is above)"
	}
	case $said in *'mkcert -install'*)
		printf 'localdev: your browsers trust this certificate after, once per machine: mkcert -install (it asks for your password)\n' >&2
		;;
	esac
}

# publish_https: has Compose publish the port of HTTPS when there is a certificate
publish_https() {
	[ -f "$certificate" ] || return 0
	LOCALDEV_HTTPS_PORT=$(routes https_port)
	export LOCALDEV_HTTPS_PORT
}

# warn_of_uncertified: names the hosts in routes that the certificate does not have
warn_of_uncertified() {
	[ -f "$certificate" ] || return 0
	[ -r "$certificate" ] || die "$certificate cannot be read. Make it anew: rm $certificate && make dev-tls"
	certified=" $(sed -n 's/^hosts: //p' "$certificate")"
	set -f
	for host in $(routes hosts); do
		case $certified in
		*" $host "*) ;;
		*) printf 'localdev: the certificate does not have %s. Run: make dev-tls\n' "$host" >&2 ;;
		esac
	done
	set +f
}

# reload COMPOSE...: has the proxy use routes, snippets and certificate; exits 1 when it refused, and said why
reload() {
	code=0 given=/dev/null
	[ ! -f "$certificate" ] || given=$certificate
	"$@" exec -T proxy /bin/sh /.localdev/proxy/entrypoint.sh reload <"$given" || code=$?
	[ "$code" -ne 7 ] || exit 1
	return "$code"
}

# check_snippets COMPOSE...: exits 1 when the proxy that runs finds a snippet of yours bad: a new one would not start
check_snippets() {
	for snippet in "$localdev"/proxy/custom/*.* "$localdev"/proxy/custom/*/*.*; do
		[ -f "$snippet" ] || continue
		code=0
		said=$("$@" exec -T proxy /bin/sh /.localdev/proxy/entrypoint.sh check 2>&1 </dev/null) || code=$?
		[ "$code" -ne 7 ] || die "${said#localdev: }"
		return 0
	done
}

# root_compose_file: prints the Compose file of the repo's root, '' when it is named elsewhere
root_compose_file() {
	[ -z "${COMPOSE_FILE:-}" ] || return 0
	for file in compose.yaml compose.yml docker-compose.yaml docker-compose.yml; do
		if [ -f "$file" ]; then
			printf '%s' "$file"
			return 0
		fi
	done
}

# explain_failure TEXT COMPOSE...: after Compose's own message, the likely reason and what to do, at last TEXT; exits 1
explain_failure() {
	otherwise=$1
	shift
	command -v "$1" >/dev/null || die "there is no $1 here. Install Docker (or set LOCALDEV_COMPOSE=\"podman compose\")"
	"$@" version >/dev/null 2>&1 || die "'$*' does not work. Install Docker Compose 2.23.1 or later"
	mine=$(root_compose_file)
	ours=$(services_in "$localdev/compose.yaml") || ours=''
	for service in ${mine:+$(services_in "$mine")}; do
		case " $ours" in *" $service "*)
			die "the service $service is in $mine and in $localdev/compose.yaml. Rename yours in $mine"
			;;
		esac
	done
	"$@" config -q || die "the Compose files have an error (its message is above). Correct $mine"
	"$@" ps -q >/dev/null 2>&1 || die "no container runtime answers. Start Docker Desktop, OrbStack, Colima or dockerd"
	refused=$("$@" logs --no-log-prefix --tail 1 proxy 2>/dev/null | sed -n 's/.*localdev: //p')
	die "${refused:-$otherwise}"
}

# services_in FILE: prints the names right below `services:` of the Compose file FILE, on one line
services_in() {
	awk '
		/^[^ #]/ { inside = ($1 == "services:"); indent = 0 }
		inside && !indent && /^ +[^ #]/ { match($0, /^ +/); indent = RLENGTH }
		inside && indent && match($0, /^ +/) && RLENGTH == indent && /^ +[A-Za-z0-9._-]+:/ {
			sub(/:.*/, "", $1)
			printf "%s ", $1
		}' "$1"
}

# COMPOSE and ARGUMENT are words, as make passes them; main sets compose and arguments to them.

# start_stack: gives the machine the alias, starts the stack, waits until it is healthy, prints the URLs
# shellcheck disable=SC2086
start_stack() {
	routes table >/dev/null
	is_known=yes has_containers=yes
	if grep -q '^services: {}' "$localdev/compose.yaml" && [ -z "$($compose config --services 2>/dev/null)" ]; then
		has_containers=no
	fi
	file=$(root_compose_file)
	[ -z "$file" ] || grep -q '[.]localdev/compose[.]yaml' "$file" ||
		die "$file does not include .localdev/compose.yaml. Add these lines to it: include: [.localdev/compose.yaml]"
	write_names
	warn_of_uncertified
	publish_https
	# Whatever refuses does so before anybody is asked for a password.
	if [ "$has_containers" = yes ]; then
		may up
		refuse_busy_ports "$compose" "$arguments"
	fi
	# Not a prerequisite in make: `.IGNORE:` or -i in somebody's Makefile would go on without the address.
	sh "$localdev/host-alias" up || exit "$?"
	check_snippets $compose
	if [ "$has_containers" = no ]; then
		printf 'localdev: this stack has no containers; the alias is all there is.\n' >&2
	else
		$compose up --detach --wait $arguments ||
			explain_failure "the stack did not come up (the message is above). Look at: make dev-logs" $compose
	fi
	[ "$is_known" = yes ] ||
		printf "localdev: whether other containers use this stack's volumes and names is unknown: %s does not say\n" "$compose" >&2
	[ ! -f "$certificate" ] || reload $compose || explain_failure "HTTPS is not on (the message is above)" $compose
	routes urls
}

# stop_stack WORD...: stops the stack, the words being COMPOSE... -- ARGUMENT...
# shellcheck disable=SC2086
stop_stack() {
	need_python
	code=0
	python3 -I -B "$localdev/stack" down "$@" || code=$?
	[ "$code" -ne 5 ] || explain_failure "the stack did not stop (the message is above)" $compose
	return "$code"
}

# run_copier ARGUMENT...: becomes Copier, uv's where none is installed
run_copier() {
	! command -v copier >/dev/null || exec copier "$@"
	exec uvx copier "$@"
}

# show_status: prints how the alias and the containers are; exits like host-alias status
# shellcheck disable=SC2086
show_status() {
	code=0
	sh "$localdev/host-alias" status || code=$?
	$compose ps $arguments || explain_failure "Compose could not list the containers (the message is above)" $compose
	exit "$code"
}

# run_doctor: says what works and what fixes the rest; exits like the doctor
# shellcheck disable=SC2086
run_doctor() {
	need_python
	LOCALDEV_COMPOSE=$compose exec python3 -I -B "$localdev/doctor" $arguments
}

# use_edits: has the proxy use an edited routes, or an edited snippet in proxy/custom
# shellcheck disable=SC2086
use_edits() {
	need_proxy
	routes table >/dev/null
	may reload
	write_names
	warn_of_uncertified
	reload $compose || explain_failure "the proxy does not run. Start it: make dev-up" $compose
	[ "$names_changed" = no ] || printf 'localdev: other containers learn the new hosts with the next: make dev-up\n' >&2
	routes urls
}

# add_https: makes a certificate for the hosts in routes, and has the proxy use it
# shellcheck disable=SC2086
add_https() {
	need_proxy
	routes table >/dev/null
	may tls
	make_certificate
	if [ -n "$($compose ps --quiet proxy 2>/dev/null)" ]; then
		publish_https
		refuse_busy_ports "$compose" proxy
		if ! $compose up --detach --wait proxy || ! reload $compose; then
			explain_failure "HTTPS is not on (the message is above)" $compose
		fi
	else
		printf 'localdev: HTTPS is on with the next: make dev-up\n' >&2
	fi
	routes urls
}

# main VERB COMPOSE... [-- ARGUMENT...]: runs one verb
main() {
	verb=${1:-}
	[ "$#" -eq 0 ] || shift
	compose='' arguments=''
	for word in "$@"; do
		case $word in
		--) arguments=' ' ;;
		*) if [ -n "$arguments" ]; then arguments="$arguments $word"; else compose="$compose $word"; fi ;;
		esac
	done
	case $verb in
	up) start_stack ;;
	down) stop_stack "$@" ;;
	status) show_status ;;
	doctor) run_doctor ;;
	reload) use_edits ;;
	tls) add_https ;;
	copier) run_copier "$@" ;;
	urls | env) routes "$verb" ;;
	*)
		printf 'localdev: say up, down, status, doctor, reload, tls, urls, env or copier\n' >&2
		exit 2
		;;
	esac
}

# shellcheck source-path=SCRIPTDIR source=ports.sh disable=SC1091
. "$localdev/sh/ports.sh"

main "$@"

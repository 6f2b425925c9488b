#!/bin/sh
# stack.sh: what make's targets do around Compose, so that a failure ends in one line that says what to do.
#
#   stack.sh up COMPOSE... [-- ARGUMENT...]      start, wait until healthy, print the URLs
#   stack.sh status COMPOSE... [-- ARGUMENT...]  the alias, then the containers; exits like host-alias status
#   stack.sh reload COMPOSE...                   use an edited routes
#   stack.sh urls                                print the URLs
#
# COMPOSE is the command, e.g. docker compose. Runs in the repo's root, like Compose itself.
set -eu
LC_ALL=C
export LC_ALL
unset IFS
case $0 in */*) localdev=${0%/*}/.. ;; *) localdev=.. ;; esac
# localdev/sh/.. is localdev: messages shall name files as people know them.
case $localdev in */sh/..) localdev=${localdev%/sh/..} ;; esac

# die TEXT: says in one line what was wrong and what to do, then exits 1
die() {
	printf 'localdev: %s\n' "$1" >&2
	exit 1
}

# routes FORM: prints routes as nginx, urls or table; exits 1 with file and line of each error
routes() {
	dotenv=''
	[ ! -f .env ] || dotenv=.env
	awk -v want="$1" -f "$localdev/routes.awk" "$localdev/host-alias.conf" ${dotenv:+"$dotenv"} "$localdev/routes"
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

# explain_failure COMPOSE...: after Compose's own message, the likely reason and what to do; always exits 1
explain_failure() {
	command -v "$1" >/dev/null || die "there is no $1 here. Install Docker (or set COMPOSE=\"podman compose\")"
	"$@" version >/dev/null 2>&1 || die "'$*' does not work. Install Docker Compose 2.23.1 or later"
	mine=$(root_compose_file)
	for service in proxy postgres mysql redis mongodb; do
		if [ -n "$mine" ] && names_service "$mine" "$service" && names_service "$localdev/compose.yaml" "$service"; then
			die "the service $service is in $mine and in $localdev/compose.yaml. Rename yours in $mine"
		fi
	done
	"$@" config -q || die "the Compose files have an error (its message is above). Correct $mine"
	"$@" ps -q >/dev/null 2>&1 || die "no container engine answers. Start Docker Desktop, OrbStack, Colima or dockerd"
	die "the stack did not come up (the message is above). Look at: make dev-logs"
}

# names_service FILE SERVICE: does FILE have SERVICE two spaces or more below `services:`?
names_service() {
	awk -v service="$2" '
		/^[^ #]/ { inside = ($1 == "services:"); indent = 0 }
		inside && !indent && /^ +[^ #]/ { match($0, /^ +/); indent = RLENGTH }
		inside && indent && match($0, /^ +/) && RLENGTH == indent && $1 == service ":" { found = 1 }
		END { exit !found }' "$1"
}

verb=${1:-}
[ "$#" -eq 0 ] || shift
compose='' arguments=''
for word in "$@"; do
	case $word in
	--) arguments=' ' ;;
	*) if [ -n "$arguments" ]; then arguments="$arguments $word"; else compose="$compose $word"; fi ;;
	esac
done

# COMPOSE and ARGS are words, as make passes them.
# shellcheck disable=SC2086
case $verb in
up)
	routes table >/dev/null
	file=$(root_compose_file)
	[ -z "$file" ] || grep -q 'localdev/compose[.]yaml' "$file" ||
		die "$file does not include localdev/compose.yaml. Add these lines to it: include: [localdev/compose.yaml]"
	if grep -q '^services: {}' "$localdev/compose.yaml" && [ -z "$($compose config --services 2>/dev/null)" ]; then
		printf 'localdev: this stack has no containers; the alias is all there is.\n' >&2
	else
		$compose up --detach --wait $arguments || explain_failure $compose
	fi
	routes urls
	;;
status)
	code=0
	sh "$localdev/host-alias" status || code=$?
	$compose ps $arguments || explain_failure $compose
	exit "$code"
	;;
reload)
	routes table >/dev/null
	$compose exec -T proxy /bin/sh /localdev/proxy/entrypoint.sh reload || explain_failure $compose
	routes urls
	;;
urls) routes urls ;;
*)
	printf 'localdev: say up, status, reload or urls\n' >&2
	exit 2
	;;
esac

# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154 # a part of stack.sh, which sets localdev and project_name
# Is one of our ports taken? By whom, and which variable moves ours? Asked before each start of the containers, so while
# all ports are free it costs two processes. The engine is asked only when one is busy.

# shellcheck source-path=SCRIPTDIR source=os.sh disable=SC1091
. "$localdev/sh/os.sh"

# refuse_busy_ports COMPOSE ARGUMENTS: exits 1 with a line for each port that something else has; the arguments are words.
# Where it cannot tell, it leaves the answer to Compose
refuse_busy_ports() {
	# shellcheck disable=SC2086 # words
	name_services $2
	busy=$(busy_ports "$services") || exit 1
	[ -n "$busy" ] || return 0

	answered=yes refused=no name=$project_name
	# shellcheck disable=SC2086 # words
	containers=$(engine_containers $1) || answered=no
	busy=$(add_containers "$busy" "$containers")
	while IFS='|' read -r port variable free socket id container project; do
		if [ -n "$id" ]; then
			# shellcheck disable=SC2086 # words
			! is_ours "$id" "$project" $1 || continue
			holder="the container $container${project:+ of the project $project}"
		else
			holder=$(os_holder "$port" "$socket")
			[ "$answered" = yes ] || ! may_be_engine "$holder" || continue
		fi
		printf 'localdev: port %s of 127.0.0.1 is taken by %s. ' "$port" "$holder" >&2
		printf 'Stop it, or move ours: %s=%s make dev-up (or that line in .env)\n' "$variable" "$free" >&2
		refused=yes
	done <<ROWS
$busy
ROWS
	[ "$refused" = no ] || exit 1
}

# name_services ARGUMENT...: sets services to those that these arguments of `compose up` name, '' for all
name_services() {
	services='' option=''
	for word in "$@"; do
		if [ -n "$option" ]; then
			option=''
			continue
		fi
		case $word in
		--attach | --no-attach | --exit-code-from | --pull | --scale | --timeout | -t | --wait-timeout) option=$word ;;
		-*) ;;
		*) services="$services $word " ;;
		esac
	done
}

# busy_ports SERVICES: prints PORT|VARIABLE|FREE|SOCKET for each busy port, see ports.awk
busy_ports() {
	set -- -v "wanted=$1" -f "$localdev/sh/ports.awk" part=compose "$localdev/compose.yaml"
	# As in Compose, which looks beside an included file, too, the one of the repo's root wins.
	for file in "$localdev/.env" .env; do
		[ ! -f "$file" ] || set -- "$@" part=dotenv "$file"
	done
	os_listeners | awk "$@" part=sockets -
}

# engine_containers COMPOSE...: prints ID|NAME|PROJECT|PORTS of each running container; fails when no engine answers.
# The engine is COMPOSE without its last word: docker of `docker compose`, podman of podman-compose
engine_containers() {
	engine=''
	for word in "$@"; do
		case $word in
		compose) break ;;
		*) engine="$engine ${word%-compose}" ;;
		esac
	done
	$engine ps --format '{{.ID}}|{{.Names}}|{{.Label "com.docker.compose.project"}}|{{.Ports}}' </dev/null 2>/dev/null
}

# add_containers BUSY CONTAINERS: prints the lines of BUSY, each with |ID|NAME|PROJECT of the container that has the port
add_containers() {
	printf '%s\n\n%s\n' "$1" "$2" | awk -F '|' '
		/^$/ { containers = 1 }
		!containers { line[++count] = $0; port[count] = $1 + 0; next }
		{
			# 127.0.0.1:8080->8080/tcp, [::1]:8080->8080/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, 9999/tcp
			split($4, published, ", ")
			for (n = 1; n in published; n++) {
				if (published[n] !~ /^(127[.]0[.]0[.]1|0[.]0[.]0[.]0)?:[0-9-]+->.*\/tcp$/) continue
				sub(/->.*/, "", published[n])
				sub(/.*:/, "", published[n])
				split(published[n] "-" published[n], range, "-")
				for (i = 1; i <= count; i++)
					if (port[i] >= range[1] + 0 && port[i] <= range[2] + 0) holder[i] = $1 "|" $2 "|" $3
			}
		}
		END { for (i = 1; i <= count; i++) print line[i] "|" holder[i] }'
}

# is_ours ID PROJECT COMPOSE...: does Compose manage the container ID, of PROJECT, here? A project gets its name in many
# ways, so before a container is called another's, Compose says which are its own; when it cannot, it shall say why
is_ours() {
	id=$1
	[ -z "$2" ] || [ "$2" != "$name" ] || return 0
	shift 2
	own=$("$@" ps -q </dev/null 2>/dev/null) || return 0
	for own_id in $own; do
		case $own_id in "$id"*) return 0 ;; esac
	done
	return 1
}

# may_be_engine HOLDER: can this be how a container's port looks from this machine?
may_be_engine() {
	case $1 in
	*' of another user'* | 'ssh '*) ;;
	docker* | com.docke* | vpnkit* | OrbStack* | limactl* | gvproxy* | qemu-* | [Rr]ancher* | wslrelay*) ;;
	rootless* | slirp4netns* | pasta* | conmon* | podman* | containerd* | nerdctl*) ;;
	*) return 1 ;;
	esac
}

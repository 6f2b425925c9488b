#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs in the proxy's container.
#
#   entrypoint.sh start    makes the configuration from routes and becomes nginx
#   entrypoint.sh check    tells whether routes and your own snippets make a good configuration
#   entrypoint.sh reload   checks them, then has the running nginx use them; standard input is the certificate with its
#                          key, empty for none
#
# A bad configuration is told in one line, exit code 7, and the running nginx keeps what it has.
set -eu
LC_ALL=C
export LC_ALL
# The key is in here, for this user only; and in memory only, for /tmp is.
umask 077
conf=/.localdev/proxy/nginx/nginx.conf

# refuse TEXT: says in one line what was wrong and what to do, then exits 7
refuse() {
	printf 'localdev: %s\n' "$1" >&2
	exit 7
}

# render CERTIFICATE: makes the configuration for the file CERTIFICATE, which may be empty, in the new folder $next
render() {
	[ -r /.localdev/routes ] || refuse ".localdev/routes cannot be read by the proxy. Run: chmod -R a+rX .localdev"
	next=$(mktemp -d /tmp/configuration.XXXXXX)
	mkdir -p "$next/pages/up"
	tls=off
	if [ -s "$1" ]; then
		tls=on
		cp "$1" "$next/tls.pem"
	fi
	cd /.localdev/..
	# nginx does not read resolv.conf; in its configuration an IPv6 address stands in brackets.
	resolver=$(awk '$1 == "nameserver" { print $2 ~ /:/ ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)
	if ! awk -v want=proxy -v into="$next/pages" -v tls=$tls -v resolver="$resolver" \
		-f .localdev/routes.awk -f .localdev/proxy/nginx/nginx.awk -f .localdev/proxy/pages.awk \
		.localdev/host-alias.conf .localdev/routes .localdev/proxy/pages/* >"$next/routes.conf" 2>/tmp/error; then
		rm -rf "$next"
		refuse "$(sed -n '1s/^\(localdev: \)*//p' /tmp/error). Correct it, then: make dev-reload"
	fi
}

# use FOLDER: makes it the configuration in use, /tmp/live. At once: there is no moment without one, for its pages are read
# all the time
use() {
	ln -sfn "$1" /tmp/link
	mv -T /tmp/link /tmp/live
}

# use_next: makes $next the configuration in use and sets old to the one before, unless nginx finds the new one bad
use_next() {
	old=$(readlink /tmp/live) || old=''
	use "$next"
	if ! nginx -e stderr -c "$conf" -t -q 2>/tmp/error; then
		error=$(nginx_error </tmp/error)
		[ -z "$old" ] || use "$old"
		rm -rf "$next"
		case $error in
		*tls.pem*) refuse ".localdev/tls.pem is unusable ($error). Make it anew: make dev-tls" ;;
		*) refuse "${error:-$(tail -n 1 /tmp/error)}. Correct it, then: make dev-reload" ;;
		esac
	fi
}

# nginx_error: reads what nginx said of a bad configuration, prints FILE:LINE: what is wrong
nginx_error() {
	sed -n '/\[emerg\] /{
		s/.*\[emerg\] //
		s/^[0-9]*#[0-9]*: //
		s/^\(.*\) in \/\(.*:[0-9]*\)$/\2: \1/
		p
	}' | sed -n 1p
}

# nginx_reload: makes the running nginx use the configuration in /tmp/live, and returns once every new connection gets it
nginx_reload() {
	old_workers=" $(workers) "
	kill -HUP "$(cat /tmp/nginx.pid)"
	tries=500
	while :; do
		waiting=no
		now=$(workers)
		[ -n "$now" ] || waiting=yes
		for worker in $now; do
			case $old_workers in *" $worker "*) waiting=yes ;; esac
		done
		[ "$waiting" = yes ] || return 0
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.02
	done
}

# workers: prints the ids of the processes that take new connections; one that shuts down has another title
workers() {
	set --
	for process in /proc/[0-9]*; do
		# There is no newline to read, and the process may be gone.
		IFS= read -r title 2>/dev/null <"$process/cmdline" || :
		[ "$title" != 'nginx: worker process' ] || set -- "$@" "${process#/proc/}"
		title=''
	done
	printf '%s' "$*"
}

case ${1:-} in
start)
	render /dev/null
	use_next
	exec nginx -e stderr -c "$conf" -g 'daemon off;'
	;;
check)
	certificate=/tmp/live/tls.pem
	[ -f "$certificate" ] || certificate=/dev/null
	render "$certificate"
	# What is in use stays: it is put back after the check.
	use_next
	use "$old"
	rm -rf "$next"
	;;
reload)
	certificate=$(mktemp /tmp/certificate.XXXXXX)
	trap 'rm -f "$certificate"' EXIT
	cat >"$certificate"
	render "$certificate"
	use_next
	if ! nginx_reload; then
		use "$old"
		rm -rf "$next"
		refuse "the proxy did not take the new configuration. Look at: make dev-logs"
	fi
	rm -rf "$old"
	;;
*)
	printf 'localdev: say start, check or reload\n' >&2
	exit 2
	;;
esac

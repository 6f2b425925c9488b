#!/bin/sh
# shellcheck source-path=SCRIPTDIR disable=SC1091 # server.sh is the proxy's part
# Runs in the proxy's container.
#
#   entrypoint.sh start    makes the configuration from routes and becomes the proxy
#   entrypoint.sh check    tells whether routes and your own snippets make a good configuration
#   entrypoint.sh reload   checks them, then has the running proxy use them; standard input is the certificate with its
#                          key, empty for none
#
# A bad configuration is told in one line, exit code 7, and the running proxy keeps what it has.
set -eu
LC_ALL=C
export LC_ALL
# The key is in here, for this user only; and in memory only, for /tmp is.
umask 077

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
		-f .localdev/routes.awk -f .localdev/proxy/"$proxy/$proxy".awk -f .localdev/proxy/pages.awk \
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

# use_next: makes $next the configuration in use and sets old to the one before, unless the proxy finds the new one bad
use_next() {
	old=$(readlink /tmp/live) || old=''
	use "$next"
	if ! proxy_check 2>/tmp/error; then
		error=$(proxy_error </tmp/error)
		[ -z "$old" ] || use "$old"
		rm -rf "$next"
		case $error in
		*tls.pem*) refuse ".localdev/tls.pem is unusable ($error). Make it anew: make dev-tls" ;;
		*) refuse "${error:-$(tail -n 1 /tmp/error)}. Correct it, then: make dev-reload" ;;
		esac
	fi
}

# The template brings the folder of one proxy only.
for server in /.localdev/proxy/*/server.sh; do
	proxy=${server%/server.sh}
	proxy=${proxy##*/}
done
# shellcheck source=nginx/server.sh
. "$server"

case ${1:-} in
start)
	render /dev/null
	use_next
	proxy_run
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
	if ! proxy_reload; then
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

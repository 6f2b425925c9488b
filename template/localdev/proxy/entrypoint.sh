#!/bin/sh
# Runs in the proxy's container. start: turns routes into nginx's configuration and becomes nginx.
# reload: checks the new routes first; with an error the running proxy keeps the old ones.
set -eu
LC_ALL=C
export LC_ALL

# write_routes: writes nginx's configuration for routes to /tmp/routes.conf.new
write_routes() {
	[ -r /localdev/routes ] || {
		printf '%s\n' "localdev/routes cannot be read by the proxy. Run: chmod -R a+rX localdev" >&2
		exit 1
	}
	(cd / && awk -v want=nginx -f localdev/routes.awk localdev/host-alias.conf localdev/routes) >/tmp/routes.conf.new
}

case ${1:-} in
start)
	write_routes
	mv /tmp/routes.conf.new /tmp/routes.conf
	exec nginx -e stderr -c /localdev/proxy/nginx.conf -g 'daemon off;'
	;;
reload)
	write_routes
	mv /tmp/routes.conf /tmp/routes.conf.old
	mv /tmp/routes.conf.new /tmp/routes.conf
	nginx -e stderr -c /localdev/proxy/nginx.conf -t -q || {
		mv /tmp/routes.conf.old /tmp/routes.conf
		printf '%s\n' "the new routes are not used, the old ones stay. Correct localdev/routes" >&2
		exit 1
	}
	nginx -e stderr -c /localdev/proxy/nginx.conf -s reload
	;;
*)
	printf '%s\n' "say start or reload" >&2
	exit 2
	;;
esac

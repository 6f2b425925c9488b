# shellcheck shell=sh
# nginx's part of entrypoint.sh; every proxy's server.sh has the same functions.

# proxy_variables: prints what nginx.awk needs to know of this container, as name=value
proxy_variables() {
	# nginx does not read resolv.conf; an IPv6 address stands in brackets.
	awk '$1 == "nameserver" { print "resolver=" ($2 ~ /:/ ? "[" $2 "]" : $2); exit }' /etc/resolv.conf
}

# proxy_configuration: prints the name of the file in /tmp/live that the awk files write
proxy_configuration() {
	printf 'routes.conf'
}

# proxy_check: is the configuration in /tmp/live good? Says why not on stderr
proxy_check() {
	nginx -e stderr -c /localdev/proxy/nginx/nginx.conf -t -q
}

# proxy_run: becomes the proxy
proxy_run() {
	exec nginx -e stderr -c /localdev/proxy/nginx/nginx.conf -g 'daemon off;'
}

# proxy_reload: makes the running proxy use the configuration in /tmp/live
proxy_reload() {
	kill -HUP "$(cat /tmp/nginx.pid)"
}

# proxy_error: reads what proxy_check said, prints FILE:LINE: what is wrong
proxy_error() {
	sed -n '/\[emerg\] /{
		s/.*\[emerg\] //
		s/^[0-9]*#[0-9]*: //
		s/^\(.*\) in \/\(.*:[0-9]*\)$/\2: \1/
		p
	}' | sed -n 1p
}

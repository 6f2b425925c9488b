# shellcheck shell=sh
# Caddy's part of entrypoint.sh; every proxy's server.sh has the same functions.

# proxy_check: is the configuration in /tmp/live good? Says why not on stderr
proxy_check() {
	caddy validate --config /.localdev/proxy/caddy/Caddyfile --adapter caddyfile >/dev/null
}

# proxy_run: becomes the proxy
proxy_run() {
	exec caddy run --config /.localdev/proxy/caddy/Caddyfile --adapter caddyfile
}

# proxy_reload: makes the running proxy use the configuration in /tmp/live, and returns once every new connection gets it
proxy_reload() {
	# --force: for Caddy, nothing is new when only the certificate is.
	caddy reload --force --config /.localdev/proxy/caddy/Caddyfile --adapter caddyfile 2>/tmp/error
}

# proxy_error: reads what proxy_check said, prints FILE:LINE: what is wrong
proxy_error() {
	# The last line is the error, as JSON or, when the files could be read, as text after a tab. It names the file at the
	# beginning or at the end, the innermost first; what is found after reading has no line, so it is in your snippets.
	sed -n '$ {
		s/.*"msg":"\(.*\)"}$/\1/
		s/.*	ERROR	//
		s/\\"/"/g
		s/^adapting config using caddyfile: //
		s/parsing caddyfile tokens for [^:]*: //g
		s/ import chain.*//
		s/^\(.*\), at \(\/.*:[0-9]*\)$/\2: \1/
		s/^.*: loading certificates: tls:/tls.pem:/
		s/^loading .*: provision [^:]*: //
		/^tls[.]pem/!s/^[^/]/.localdev\/proxy\/custom: &/
		s/^\///
		p
	}'
}

# shellcheck shell=sh
# nginx's part of entrypoint.sh; every proxy's server.sh has the same functions.

# proxy_check: is the configuration in /tmp/live good? Says why not on stderr
proxy_check() {
	nginx -e stderr -c /.localdev/proxy/nginx/nginx.conf -t -q
}

# proxy_run: becomes the proxy
proxy_run() {
	exec nginx -e stderr -c /.localdev/proxy/nginx/nginx.conf -g 'daemon off;'
}

# proxy_reload: makes the running proxy use the configuration in /tmp/live, and returns once every new connection gets it
proxy_reload() {
	old=" $(workers) "
	kill -HUP "$(cat /tmp/nginx.pid)"
	tries=500
	while :; do
		waiting=no
		now=$(workers)
		[ -n "$now" ] || waiting=yes
		for worker in $now; do
			case $old in *" $worker "*) waiting=yes ;; esac
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

# proxy_error: reads what proxy_check said, prints FILE:LINE: what is wrong
proxy_error() {
	sed -n '/\[emerg\] /{
		s/.*\[emerg\] //
		s/^[0-9]*#[0-9]*: //
		s/^\(.*\) in \/\(.*:[0-9]*\)$/\2: \1/
		p
	}' | sed -n 1p
}

# caddy.awk: what of Caddy's configuration follows from routes, on stdout. Runs after routes.awk and before pages.awk, for
# which it says how Caddy fills in what is known only when a page is asked for: by templates.

END {
	if (want == "proxy" && !error_count) print_configuration()
}

# print_configuration: which service and target belong to what, the routes, the sites
function print_configuration(    i, service) {
	print "(services) {\n\tmap {vars.service} {upstream} {target} {service_port} {container} {"
	for (i = 1; i <= service_count; i++) {
		service = services[i]
		# For Caddy, default is a word of its own.
		print "\t\t" (service == "default" ? "~^default$" : service) " " upstream_of[service] ":" port_of[service] " " address_of(service) " " port_of[service] \
			" \"" (upstream_of[service] == "host-alias" ? "" : upstream_of[service]) "\""
	}
	print "\t\tdefault \"\" \"\" \"\" \"\"\n\t}\n}"
	print "(databases) {\n\tmap {vars.database} {closed_port} {"
	for (i = 1; i <= database_count; i++) print "\t\t" databases[i] " " databases[i] ":1"
	print "\t\tdefault \"\"\n\t}\n}"
	print_routes()
	print "http://:" http_port() " {\n\timport localdev\n}"
	if (tls == "on") print "https://:" https_port() " {\n\ttls /tmp/live/tls.pem /tmp/live/tls.pem\n\timport localdev\n}"
}

# print_routes: the last that fits decides. So a longer path comes after a shorter one; of the same path, a host after the
# wildcard above it: the host has the wildcard's paths that it does not have itself
function print_routes(    r, size, longest) {
	print "(routes) {"
	for (r = 1; r <= route_count; r++) if (length(route_path[r]) > longest) longest = length(route_path[r])
	for (size = 1; size <= longest; size++) {
		for (r = 1; r <= route_count; r++) if (length(route_path[r]) == size && route_host[r] ~ /^\*/) print_route(r)
		for (r = 1; r <= route_count; r++) if (length(route_path[r]) == size && route_host[r] !~ /^\*/) print_route(r)
	}
	print "}"
}

# print_route R: with path_regexp, as the matcher path takes /API for /api
function print_route(r,    path) {
	path = route_path[r]
	gsub(/\./, "[.]", path)
	print "\t@" r " {\n\t\thost " route_host[r]
	if (path != "/") print "\t\tpath_regexp ^" path "(/|$)"
	print "\t}\n\tvars @" r " service " route_service[r]
}

# What a page knows only when it is asked for, as pages.awk needs it.
function live(service) { return "<% httpInclude `/__localdev/up/" service "` %>" }
function running(container) { return "<% httpInclude `/__localdev/running/" container "` %>" }
function end_when() { return "<% end %>" }

# variable NAME: the placeholder that has what nginx has in $NAME
function variable(name) {
	if (name == "service") name = "http.vars.service"
	if (name == "method") name = "http.request.method"
	if (name == "port") name = "service_port"
	return "<% placeholder `" name "` %>"
}

# when CONDITIONS: begins a block that is there when all of them are so
function when(conditions,    words, count, i, all) {
	count = split(conditions, words, " ")
	for (i = 1; i <= count; i++) {
		if (words[i] == "native") all = all " (eq (placeholder `container`) ``)"
		else if (words[i] == "container") all = all " (ne (placeholder `container`) ``)"
		else if (words[i] == "get") all = all " (eq (placeholder `http.request.method`) `GET` `HEAD`)"
		else if (words[i] == "sent") all = all " (not (eq (placeholder `http.request.method`) `GET` `HEAD`))"
		else all = all " (eq (placeholder `reason`) `" words[i] "`)"
	}
	return "<% if and" all " %>"
}

# SPDX-License-Identifier: MIT
# nginx.awk: what of nginx's configuration follows from routes, on stdout. Runs after routes.awk and before pages.awk.

END {
	if (want == "proxy" && !error_count) print_configuration()
}

# print_configuration: maps, an upstream for each native service, a server for each host
function print_configuration(    i) {
	# Docker's own DNS says 600 s, and a restarted container has another address.
	print "resolver " resolver " valid=1s;"
	if (tls == "on") print "ssl_certificate /tmp/live/tls.pem;\nssl_certificate_key /tmp/live/tls.pem;\nhttp2 on;"
	# volatile: the subrequests of a page share their variables.
	print "map $uri $probed {\n    volatile;"
	for (i = 1; i <= service_count; i++) print "    /__localdev/probe/" services[i] " " upstream_url(services[i]) ";"
	print "}\nmap $uri $database {\n    volatile;"
	for (i = 1; i <= database_count; i++) print "    /__localdev/running/" databases[i] " http://" databases[i] ":1;"
	print "}"
	for (i = 1; i <= service_count; i++) if (upstream_of[services[i]] == "host-alias") {
		print "upstream " services[i] " {"
		print "    server host-alias:" port_of[services[i]] ";"
		print "    include /.localdev/proxy/nginx/upstream.conf;\n}"
	}
	for (i = 1; i <= service_count; i++) print_answer(i, into "/up/" services[i])
	# The first server gets the hosts that no other has.
	print_server("_", 0)
	for (i = 1; i <= host_count; i++) print_server(hosts[i], first_of[hosts[i]])
}

# print_answer I, FILE: what /__localdev/up/SERVICE says. A service that answers the probe, a HEAD, leaves no text
function print_answer(i, file) {
	printf "<!--# include virtual=\"/__localdev/probe/%s\" set=\"answer%s\" -->", services[i], i >file
	printf "<!--# if expr=\"$answer%s\" --><!--# echo var=\"answer%s\" --><!--# else -->up<!--# endif -->", i, i >file
	close(file)
}

# print_server HOST, R: the server of HOST, whose first route is R, 0 for none
function print_server(host, r,    wildcard) {
	print "server {"
	print "    listen " http_port() ";"
	if (tls == "on") print "    listen " https_port() " ssl;"
	print "    server_name " server_name(host) ";"
	print "    include /.localdev/proxy/nginx/server.conf;"
	for (; r; r = next_of[r]) print_route(r)
	# A host of its own also has what the wildcard above it has, where it says nothing else.
	wildcard = covering_wildcard(host)
	for (r = wildcard ? first_of[wildcard] : 0; r; r = next_of[r]) if (!((host, route_path[r]) in taken)) print_route(r)
	if (!((host, "/") in taken) && !((wildcard, "/") in taken))
		print "    location / {\n        include /.localdev/proxy/nginx/no-route.conf;\n    }"
	print "}"
}

# server_name HOST: a wildcard stands for exactly one name, as in certificates; nginx's own for any number
function server_name(host) {
	if (host !~ /^\*/) return host
	gsub(/\./, "[.]", host)
	return "~^[^.]+" substr(host, 2) "$"
}

# print_route R: a path is two locations, itself and what is below it: a single one would match /apix, too
function print_route(r) {
	if (route_path[r] != "/") print_location("= " route_path[r], route_service[r])
	print_location(route_path[r] == "/" ? "/" : route_path[r] "/", route_service[r])
}

# print_location MATCH, SERVICE: what goes to SERVICE
function print_location(match_on, service) {
	print "    location " match_on " {"
	print "        set $service " service ";"
	print "        set $target " address_of(service) ";"
	print "        set $port " port_of[service] ";"
	print "        set $container \"" (upstream_of[service] == "host-alias" ? "" : upstream_of[service]) "\";"
	# Of a container nginx learns the address with each request, by the variable: it may start later, or anew.
	if (upstream_of[service] == "host-alias") print "        proxy_pass " upstream_url(service) ";"
	else print "        set $upstream " upstream_url(service) ";\n        proxy_pass $upstream;"
	print "        include /.localdev/proxy/nginx/location.conf;\n    }"
}

# upstream_url SERVICE: by its upstream, which keeps connections; a container by its name
function upstream_url(service) {
	return "http://" (upstream_of[service] == "host-alias" ? service : upstream_of[service] ":" port_of[service])
}

# routes.awk: the one parser of the file routes. POSIX awk: busybox, mawk, gawk and macOS's awk print the same.
#
#   awk -v want=nginx -f routes.awk host-alias.conf routes          nginx configuration, one server per host
#   awk -v want=urls  -f routes.awk host-alias.conf [.env] routes   for people: service, URL, where it is looked for
#   awk -v want=table -f routes.awk host-alias.conf routes          for programs: line, service, port, host, path; by tabs
#
# Errors go to stderr as FILE:LINE: what is wrong; with any error nothing is printed to stdout and the exit code is 1.

{ sub(/\r$/, "") }

FILENAME ~ /host-alias\.conf$/ {
	if (match($0, /=/)) conf[substr($0, 1, RSTART - 1)] = substr($0, RSTART + 1)
	next
}

# Compose reads .env for its variables, so a port that was moved there has moved here, too.
FILENAME ~ /\.env$/ {
	if (sub(/^(export[ \t]+)?LOCALDEV_HTTP_PORT=["']?/, "") && match($0, /^[0-9]+/)) dotenv_port = substr($0, 1, RLENGTH)
	next
}

{ sub(/(^|[ \t])#.*$/, "") }

NF == 0 { next }

{
	service = $1
	port = $2
	if (service !~ /^[a-z][a-z0-9-]*$/) fail("a service is named with a-z, 0-9 and -, e.g. web")
	else if (port !~ /^[1-9][0-9]*$/ || length(port) > 5 || port > 65535) fail("after the service comes its port, 1 to 65535")
	else if (service in port_of && port_of[service] != port)
		fail("service " service " has port " port_of[service] " on line " line_of[service] "; give this one another name")
	else {
		port_of[service] = port
		if (!(service in line_of)) {
			line_of[service] = FNR
			services[++service_count] = service
		}
		if (NF == 2) add(service ".")
		for (i = 3; i <= NF; i++) add($i)
	}
}

# fail TEXT: remembers an error of this line
function fail(text) {
	errors[++error_count] = FILENAME ":" FNR ": " text
}

# add WHERE: adds one route of this line's service
function add(where,    slash, host, path) {
	slash = index(where, "/")
	host = tolower(slash ? substr(where, 1, slash - 1) : where)
	path = slash ? substr(where, slash) : "/"
	if (host == "") host = conf["domain"]
	else if (host ~ /\.$/) host = host conf["domain"]
	else if (host !~ /\./) {
		fail(where " is no place: write " host ". for " host "." conf["domain"] ", or /" host " for a path")
		return
	}
	if (host !~ /^[a-z0-9-]+(\.[a-z0-9-]+)*$/ || host ~ /(^|\.)-|-(\.|$)/ || length(host) > 253) {
		fail(where " has no valid host name; use letters, digits, - and dots")
		return
	}
	if (path !~ /^\/[A-Za-z0-9._~\/-]*$/ || path ~ /\/\// || (path "/") ~ /\/\.\.?\//) {
		fail(where " has no valid path; use letters, digits, . _ ~ - and single slashes")
		return
	}
	if (length(path) > 1) sub(/\/$/, "", path)
	if ((path "/") ~ /^\/__localdev\//) {
		fail(where ": paths below /__localdev belong to the proxy; use another path")
		return
	}
	if ((host, path) in taken) {
		fail(host path " is already on line " taken[host, path] "; remove one")
		return
	}
	taken[host, path] = FNR
	route_count++
	route_service[route_count] = service
	route_host[route_count] = host
	route_path[route_count] = path
	route_line[route_count] = FNR
	if (!(host in first_of)) hosts[++host_count] = host
	else next_of[last_of[host]] = route_count
	if (!(host in first_of)) first_of[host] = route_count
	last_of[host] = route_count
}

END {
	if (error_count) {
		for (i = 1; i <= error_count; i++) print errors[i] | "cat 1>&2"
		close("cat 1>&2")
		exit 1
	}
	if (want == "nginx") print_nginx()
	else if (want == "urls") print_urls()
	else print_table()
}

function print_nginx(    i, r) {
	for (i = 1; i <= service_count; i++) {
		printf "upstream %s {\n", services[i]
		printf "    server host-alias:%s;\n", port_of[services[i]]
		print "    include /localdev/proxy/upstream.conf;"
		print "}"
	}
	for (i = 1; i <= host_count; i++) {
		print "server {"
		printf "    server_name %s;\n", hosts[i]
		print "    include /localdev/proxy/server.conf;"
		for (r = first_of[hosts[i]]; r; r = next_of[r]) {
			print_location(r, route_path[r] == "/" ? "/" : "= " route_path[r])
			if (route_path[r] != "/") print_location(r, route_path[r] "/")
		}
		if (!((hosts[i], "/") in taken)) print "    location / {\n        include /localdev/proxy/no-route.conf;\n    }"
		print "}"
	}
}

# A prefix location would also match /apix, so a path is two locations: itself and what is below it.
function print_location(r, match_on) {
	printf "    location %s {\n", match_on
	printf "        set $service %s;\n", route_service[r]
	printf "        set $target host-alias:%s;\n", port_of[route_service[r]]
	printf "        proxy_pass http://%s;\n", route_service[r]
	print "        include /localdev/proxy/location.conf;"
	print "    }"
}

function print_urls(    i, port, url, width, url_width) {
	port = ENVIRON["LOCALDEV_HTTP_PORT"]
	if (port == "") port = dotenv_port
	if (port == "") port = conf["web_port"]
	for (i = 1; i <= route_count; i++) {
		if (conf["web_port"] == "none") url[i] = "http://" conf["ip"] ":" port_of[route_service[i]] "/"
		else url[i] = "http://" route_host[i] (port == 80 ? "" : ":" port) route_path[i]
		if (length(route_service[i]) > width) width = length(route_service[i])
		if (length(url[i]) > url_width) url_width = length(url[i])
	}
	for (i = 1; i <= route_count; i++)
		printf "%-" (width + 0) "s  %-" (url_width + 0) "s  %s:%s\n", route_service[i], url[i], conf["ip"], port_of[route_service[i]]
}

function print_table(    i) {
	for (i = 1; i <= route_count; i++)
		printf "%s\t%s\t%s\t%s\t%s\n", route_line[i], route_service[i], port_of[route_service[i]], route_host[i], route_path[i]
}

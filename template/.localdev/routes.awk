# SPDX-License-Identifier: MIT
# routes.awk: the one parser of the file routes. POSIX awk: busybox, mawk, gawk and macOS's awk print the same.
#
#   awk -v want=urls  -f routes.awk host-alias.conf [.env] routes   for people: service, URLs, where it is looked for
#   awk -v want=table -f routes.awk host-alias.conf routes          for programs, by tabs: see print_table
#   awk -v want=hosts -f routes.awk host-alias.conf routes          every host, one a line: a certificate's names
#   awk -v want=https_port -f routes.awk host-alias.conf [.env] routes
#   awk -v want=names -f routes.awk host-alias.conf routes          names.yaml: the proxy's names inside containers
#
# In the proxy's container, nginx.awk and pages.awk run after this one and print its configuration;
# sh/env.awk prints the environment for native services.
# -v tls=on says that the proxy serves HTTPS, too. Errors go to stderr as FILE:LINE: what is wrong; with any error
# nothing is printed to stdout and the exit code is 1.

{ sub(/\r$/, "") }

FILENAME ~ /host-alias\.conf$/ {
	if (match($0, /=/)) read_setting(substr($0, 1, RSTART - 1), substr($0, RSTART + 1))
	next
}

# Compose reads .env for its variables, so a port that was moved there has moved here, too.
FILENAME ~ /\.env$/ {
	sub(/^[ \t]*(export[ \t]+)?/, "")
	if (match($0, /^[A-Z_]+=/)) {
		variable_name = substr($0, 1, RLENGTH - 1)
		sub(/^[^=]*=["']?/, "")
		sub(/["']?[ \t]*(#.*)?$/, "")
		dotenv[variable_name] = $0
	}
	next
}

FILENAME ~ /(^|\/)routes$/ {
	if (FNR == 1) sub(/^\357\273\277/, "") # what some editors on Windows begin a file with
	sub(/(^|[ \t])#.*$/, "")
	# Some awks take them for blanks.
	if ($0 ~ /[\001-\010\013-\037\177]/) fail("there is a control character; delete it")
	else if (NF) read_line()
	next
}

# read_setting NAME, TEXT: one line of host-alias.conf; what it says stands in configurations and pages
function read_setting(name, text,    i, count, parts) {
	conf[name] = text
	if (name == "domain" && !is_host(text)) fail("domain must be a host name, e.g. my-app.localhost")
	if (name == "ip" && text !~ /^[0-9]+(\.[0-9]+)+$/) fail("ip must be an address, e.g. 10.254.254.254")
	if (name ~ /^(web|https)_port$/ && text != "none" && !is_port(text)) fail(name " must be a port, 1 to 65535, or none")
	count = name == "databases" ? split(text, parts, " ") : 0
	for (i = 1; i <= count; i++)
		if (parts[i] !~ /^[a-z][a-z0-9-]*=[^\001-\037\177]+$/ || parts[i] ~ /<!--#/) fail("databases must be NAME=URL, by blanks")
}

# is_host TEXT: can TEXT be a host's name?
function is_host(text,    labels, i) {
	for (i = split(text, labels, "."); i; i--) if (length(labels[i]) > 63) return 0
	return text ~ /^[a-z0-9-]+(\.[a-z0-9-]+)*$/ && text !~ /(^|\.)-|-(\.|$)/ && length(text) <= 253
}

# is_port TEXT: is TEXT a port, written as people write it?
function is_port(text) { return text ~ /^[1-9][0-9]*$/ && length(text) <= 5 && text + 0 <= 65535 }

# read_line: one line of routes: service, [container:]port, any number of places
function read_line(    service, upstream, port, i) {
	service = $1
	upstream = "host-alias"
	port = $2
	if (match(port, /:/)) {
		upstream = substr(port, 1, RSTART - 1)
		port = substr(port, RSTART + 1)
	}
	if (service !~ /^[a-z][a-z0-9-]*$/ || length(service) > 63) fail("a service is named with a-z, 0-9 and -, e.g. web")
	else if (upstream !~ /^[a-z0-9][a-z0-9_.-]*$/ || length(upstream) > 63)
		fail("a container is written as name:port, e.g. pgadmin:80")
	else if (!is_port(port))
		fail("after the service comes its port, 1 to 65535, or container:port")
	else if (service in port_of && (port_of[service] != port || upstream_of[service] != upstream))
		fail("service " service " is " upstream_of[service] ":" port_of[service] " on line " line_of[service] "; give this one another name")
	else {
		if (!(service in line_of)) {
			line_of[service] = FNR
			services[++service_count] = service
			port_of[service] = port
			upstream_of[service] = upstream
		}
		if (NF == 2) add(service, service ".")
		for (i = 3; i <= NF; i++) add(service, $i)
	}
}

# shown TEXT: TEXT as it can stand in a message: what a terminal would act on is ?, and it is short
function shown(text) {
	gsub(/[^ -~]/, "?", text)
	return length(text) > 60 ? substr(text, 1, 60) "..." : text
}

# fail TEXT: remembers an error of this line
function fail(text) {
	errors[++error_count] = FILENAME ":" FNR ": " text
}

# add SERVICE, WHERE: adds one route
function add(service, where,    slash, host, path, name) {
	slash = index(where, "/")
	host = tolower(slash ? substr(where, 1, slash - 1) : where)
	path = slash ? substr(where, slash) : "/"
	if (host == "") host = conf["domain"]
	else if (host ~ /\.$/) host = host conf["domain"]
	else if (host !~ /\./) {
		name = shown(host)
		fail(shown(where) " is neither a host nor a path: write " name ". for " name "." conf["domain"] ", or /" name " for a path")
		return
	}
	name = host
	sub(/^\*\./, "", name)
	if (!is_host(name) || length(host) > 253) {
		fail(shown(where) " has no valid host name; use letters, digits, - and dots, or *. for any one name in front")
		return
	}
	# As text: in /[\/]/ busybox allows the backslash, too.
	if (path !~ "^/[A-Za-z0-9._~/-]*$" || path ~ /\/\// || (path "/") ~ /\/\.\.?\//) {
		fail(shown(where) " has no valid path; use letters, digits, . _ ~ - and single slashes")
		return
	}
	if (length(path) > 1) sub(/\/$/, "", path)
	if ((path "/") ~ /^\/__localdev\//) {
		fail(shown(where) ": paths below /__localdev belong to the proxy; use another path")
		return
	}
	if ((host, path) in taken) {
		fail(shown(host path) " is already on line " taken[host, path] "; remove one")
		return
	}
	taken[host, path] = FNR
	route_count++
	route_service[route_count] = service
	route_host[route_count] = host
	route_path[route_count] = path
	route_line[route_count] = FNR
	if (host in first_of) next_of[last_of[host]] = route_count
	else {
		hosts[++host_count] = host
		first_of[host] = route_count
	}
	last_of[host] = route_count
}

END {
	if (want ~ /^(urls|proxy)$/ && conf["web_port"] != "none") check_port("LOCALDEV_HTTP_PORT")
	if (want ~ /^(urls|proxy|https_port)$/ && conf["web_port"] != "none") check_port("LOCALDEV_HTTPS_PORT")
	database_count = split(conf["databases"], databases, " ")
	for (i = 1; i <= database_count; i++) {
		address_at[i] = with_port(substr(databases[i], index(databases[i], "=") + 1))
		sub(/=.*/, "", databases[i])
	}
	if (error_count) {
		for (i = 1; i <= error_count; i++) print errors[i] | "cat 1>&2"
		close("cat 1>&2")
		exit 1
	}
	if (want == "urls") print_urls()
	else if (want == "table") print_table()
	else if (want == "hosts") print_hosts()
	else if (want == "names") print_names()
	else if (want == "https_port") print https_port()
}

# setting NAME, ANSWER: the variable as Compose sees it: the environment, then .env, then the answer
function setting(name, answer) {
	if (name in ENVIRON && ENVIRON[name] != "") return ENVIRON[name]
	return dotenv[name] != "" ? dotenv[name] : answer
}

# check_port NAME: remembers an error when the variable NAME is no port; one with other variables in it only Compose knows
function check_port(name,    text) {
	text = setting(name, "")
	if (text == "" || (text ~ /^[0-9]+$/ && text + 0 >= 1 && text + 0 <= 65535)) return
	if (text ~ /[$]/ && text == dotenv[name]) return
	errors[++error_count] = "localdev: " name " is " shown(text) ", which is no port. Give it a number from 1 to 65535"
}

# with_port URL: URL with its ${NAME:-DEFAULT} filled in, as Compose does it with a published port
function with_port(url,    name, parts) {
	if (!match(url, /[$][{][A-Z_]+:-[0-9]+[}]/)) return url
	name = substr(url, RSTART + 2, RLENGTH - 3)
	split(name, parts, ":-")
	if (want ~ /^(env|proxy)$/) check_port(parts[1])
	return substr(url, 1, RSTART - 1) setting(parts[1], parts[2]) substr(url, RSTART + RLENGTH)
}

# The ports of 127.0.0.1 where the proxy is.
function http_port() { return setting("LOCALDEV_HTTP_PORT", conf["web_port"]) }
function https_port() { return setting("LOCALDEV_HTTPS_PORT", conf["https_port"]) }

# address_of SERVICE: where people look for it: their own machine by its alias IP, a container by its name
function address_of(service) {
	if (upstream_of[service] != "host-alias" || setting("LOCALDEV_HOST", "") != "") return upstream_of[service] ":" port_of[service]
	return conf["ip"] ":" port_of[service]
}

# covering_wildcard HOST: the wildcard in routes that HOST falls under; "" for none
function covering_wildcard(host,    wildcard) {
	wildcard = "*" substr(host, index(host, "."))
	return wildcard != host && wildcard in first_of ? wildcard : ""
}

# http_url HOST, PATH: as browsers show it, without the usual port
function http_url(host, path) { return "http://" host (http_port() == 80 ? "" : ":" http_port()) path }
function https_url(host, path) { return "https://" host (https_port() == 443 ? "" : ":" https_port()) path }

# print_urls: for people; a stack without a proxy has the services' own addresses
function print_urls(    i, service, width, url, url_width) {
	for (i = 1; i <= route_count; i++) {
		service = route_service[i]
		if (conf["web_port"] == "none") url[i] = "http://" address_of(service) "/"
		else url[i] = http_url(route_host[i], route_path[i])
		if (length(service) > width) width = length(service)
		if (length(url[i]) > url_width) url_width = length(url[i])
	}
	for (i = 1; i <= route_count; i++) {
		service = route_service[i]
		printf "%-" (width + 0) "s  %-" (url_width + 0) "s  %s\n", service, url[i], address_of(service)
		if (tls == "on") printf "%-" (width + 0) "s  %s\n", "", https_url(route_host[i], route_path[i])
	}
	if (conf["web_port"] != "none") print "All of them, up or down: " (tls == "on" ? https_url(conf["domain"], "/__localdev/") : http_url(conf["domain"], "/__localdev/"))
}

# print_table: of each route the line, the service, host-alias or the container's name, port, host and path
function print_table(    i, service) {
	for (i = 1; i <= route_count; i++) {
		service = route_service[i]
		printf "%s\t%s\t%s\t%s\t%s\t%s\n", route_line[i], service, upstream_of[service], port_of[service], route_host[i], route_path[i]
	}
}

# all_hosts NAMES: fills NAMES with every host that leads to the proxy, returns how many. The project's own domain is one
# even when no route is on it: the dashboard is there.
function all_hosts(names,    i, count) {
	if (!(conf["domain"] in first_of)) names[++count] = conf["domain"]
	for (i = 1; i <= host_count; i++) names[++count] = hosts[i]
	return count
}

# print_hosts: every host, one a line
function print_hosts(    i, count, names) {
	count = all_hosts(names)
	for (i = 1; i <= count; i++) print names[i]
}

# print_names: names.yaml. No name below .localhost, which programs take for their own container, and no wildcard, which Docker has not.
function print_names(    i, count, names, heading) {
	print "# Written by `make dev-up` and `make dev-reload` from routes; commit it. By these names other containers reach the"
	print "# proxy, so a URL of yours works in them, too. Names below .localhost cannot: see README.md."
	print "services:"
	count = all_hosts(names)
	for (i = 1; i <= count; i++) {
		if (names[i] ~ /(^|\.)localhost$|^\*/) continue
		if (!heading++) print "  proxy:\n    networks:\n      default:\n        aliases:"
		# A name such as 1.e5 would be a number.
		print "          - " (names[i] ~ /^[0-9.e-]+$/ ? "\"" names[i] "\"" : names[i])
	}
	if (!heading) print "  proxy: {}"
}

# pages.awk: writes the pages that people see, from the sources in pages/, into the folder `into`. Runs after routes.awk
# and the proxy's own awk file, with the sources as its last arguments. A source is a file as it shall be, in which
#
#   @each service@  @each url@  @each database@    up to @end@, on lines of their own: once for each; urls within a service
#   @when refused@                                 up to @end@: only for this reason (timeout, closed, unknown-name)
#   @service@ @target@ @up@ @url@ @link@ ...       become what value() says
#   @this.service@ @this.target@ @this.reason@     are known when the page is asked for: the proxy fills them in
#
# The proxy's awk file says how: live(service), running(container), variable(name), when(reason), end_when().

FILENAME ~ /(^|\/)pages\// {
	if (FNR == 1) files[++file_count] = FILENAME
	source[FILENAME, FNR] = $0
	lines[FILENAME] = FNR
}

END {
	if (want == "proxy" && !error_count) write_pages()
}

# write_pages: one page for each source with a name that is no part of other pages
function write_pages(    i, name) {
	# LOCALDEV_DATABASES holds name=URL, name=URL: Compose has put the ports in.
	database_count = split(ENVIRON["LOCALDEV_DATABASES"], databases, " ")
	for (i = 1; i <= file_count; i++) {
		name = files[i]
		sub(/.*\//, "", name)
		path_of[name] = files[i]
	}
	for (name in path_of) {
		if (name ~ /\.(css|js)$/) continue
		current = into "/" name
		printf "" >current
		write_lines(path_of[name], 1, lines[path_of[name]])
		close(current)
	}
}

# write_lines FILE, FROM, TO: writes these lines of a source to the current page
function write_lines(file, from, to,    i, end, line, own_comma) {
	for (i = from; i <= to; i++) {
		line = source[file, i]
		if (line ~ /^[ \t]*@(each|when) [a-z-]+@$/) {
			end = end_of(file, i, to)
			gsub(/^[ \t]*@|@$/, "", line)
			own_comma = comma
			if (line ~ /^when /) {
				print when(substr(line, 6)) >current
				write_lines(file, i + 1, end - 1)
				print end_when() >current
			} else write_each(substr(line, 6), file, i + 1, end - 1)
			comma = own_comma
			i = end
		} else print fill(line) >current
	}
}

# end_of FILE, FROM, TO: the number of the line that ends the block that begins on FROM
function end_of(file, from, to,    i, depth) {
	for (i = from; i <= to; i++) {
		if (source[file, i] ~ /^[ \t]*@(each|when) [a-z-]+@$/) depth++
		if (source[file, i] ~ /^[ \t]*@end@$/ && !--depth) return i
	}
	return to
}

# write_each WHAT, FILE, FROM, TO: writes the lines once for each service, URL of the service, or database
function write_each(what, file, from, to,    i, count, found) {
	if (what == "service") {
		for (i = 1; i <= service_count; i++) {
			service = services[i]
			comma = i < service_count ? "," : ""
			write_lines(file, from, to)
		}
	} else if (what == "database") {
		for (i = 1; i <= database_count; i++) {
			database = substr(databases[i], 1, index(databases[i], "=") - 1)
			address = substr(databases[i], index(databases[i], "=") + 1)
			comma = i < database_count ? "," : ""
			write_lines(file, from, to)
		}
	} else {
		count = urls_of(service, found)
		for (i = 1; i <= count; i++) {
			url = found[i]
			comma = i < count ? "," : ""
			write_lines(file, from, to)
		}
	}
}

# urls_of SERVICE, FOUND: fills FOUND with the URLs that lead to SERVICE, returns how many
function urls_of(name, found,    r, count) {
	for (r = 1; r <= route_count; r++) {
		if (route_service[r] != name) continue
		if (tls == "on") found[++count] = https_url(route_host[r], route_path[r])
		found[++count] = http_url(route_host[r], route_path[r])
	}
	return count
}

# fill TEXT: TEXT with its @words@ filled in; what is filled in is not looked at again
function fill(text,    done) {
	while (match(text, /@[a-z.]+@/)) {
		done = done substr(text, 1, RSTART - 1) value(substr(text, RSTART + 1, RLENGTH - 2))
		text = substr(text, RSTART + RLENGTH)
	}
	return done text
}

# value WORD: what stands for @WORD@
function value(word) {
	if (word ~ /^this\./) return variable(substr(word, 6))
	if (word == "style") return contents("style.css")
	if (word == "script") return contents("script.js")
	if (word == "domain") return conf["domain"]
	if (word == "ip") return conf["ip"]
	if (word == "listen") return setting("LOCALDEV_HOST", "") == "" ? conf["ip"] : "0.0.0.0"
	if (word == "service") return service
	if (word == "target") return address_of(service)
	if (word == "up") return live(service)
	if (word == "url") return url
	# A wildcard is no address that a browser can open.
	if (word == "link") return url ~ /\*/ ? url : "<a href=\"" url "\">" url "</a>"
	if (word == "database") return database
	if (word == "address") return address
	if (word == "running") return running(database)
	if (word == "comma") return comma
	return "@" word "@"
}

# contents NAME: the text of a source that is a part of pages
function contents(name,    i, text) {
	for (i = 1; i <= lines[path_of[name]]; i++) text = text source[path_of[name], i] "\n"
	return text
}

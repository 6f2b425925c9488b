# SPDX-License-Identifier: MIT
# pages.awk: writes the pages that people see, from the sources in pages/, into the folder `into`. Runs after routes.awk
# and nginx.awk, with the sources as its last arguments. A source is a file as it shall be, in which
#
#   @each service@  @each route@  @each database@   once for each of them; @each url@: for each URL of a service
#   @if database@  @if no database@                 when there is at least one, or none; so with service, and with
#                                                   alias: the services are reached by the alias IP
#   @when refused native@                           only if all of these are so when the page is asked for:
#                                                     timeout, refused, closed, unknown-name: why there is no answer
#                                                     native, container: what runs the service
#                                                     get, sent: asked for by GET or HEAD, or by any other method
#
# begin a block, on a line of their own; it goes up to its @end@. And anywhere in a line
#
#   @service@ @target@ @up@ @url@ @link@ ...        become what value() says, quoted as the page's format needs it
#   @service.column@                                is filled up with blanks to the longest one's length and two more;
#                                                   so with target, database and address
#   @this.service@ @this.target@ @this.port@        are known when the page is asked for: nginx fills them in; also
#                                                   this.container (of a container its name), this.reason, this.method
#
# nginx fills in by its server-side includes, so a source has no comment that begins with <!--#.

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
	for (i = 1; i <= database_count; i++) {
		widen("database", databases[i])
		widen("address", address_at[i])
	}
	for (i = 1; i <= service_count; i++) {
		widen("service", services[i])
		widen("target", address_of(services[i]))
	}
	# Behind the target stand "up" or "down" and a tab, which leads to the same column after both: it begins at a tab stop.
	while ((width["service"] + width["target"]) % 8) width["target"]++
	for (i = 1; i <= route_count; i++) {
		if (tls == "on") add_url(i, https_url(route_host[i], route_path[i]))
		add_url(i, http_url(route_host[i], route_path[i]))
	}
	quoted["html", "&"] = "&amp;"
	quoted["html", "<"] = "&lt;"
	quoted["html", ">"] = "&gt;"
	quoted["html", "\""] = "&quot;"
	quoted["json", "\\"] = "\\\\"
	quoted["json", "\""] = "\\\""
	for (i = 1; i <= file_count; i++) {
		name = files[i]
		sub(/.*\//, "", name)
		# Without this ending tools that read every JSON file would refuse what is none yet.
		sub(/\.source$/, "", name)
		path_of[name] = files[i]
	}
	for (name in path_of) {
		if (name ~ /\.(css|js)$/) continue
		format = name
		sub(/.*\./, "", format)
		current = into "/" name
		printf "" >current
		write_lines(path_of[name], 1, lines[path_of[name]])
		close(current)
	}
}

# widen WORD, TEXT: the column of WORD holds TEXT, too
function widen(word, text) {
	if (width[word] < length(text) + 2) width[word] = length(text) + 2
}

# add_url ROUTE, URL: another URL, in the order of routes
function add_url(route, url,    name) {
	name = route_service[route]
	url_at[++url_count] = url
	url_service[url_count] = name
	if (name in last_url) next_url[last_url[name]] = url_count
	else first_url[name] = url_count
	last_url[name] = url_count
}

# write_lines FILE, FROM, TO: writes these lines of a source to the current page
function write_lines(file, from, to,    i, end, line, word, own_comma) {
	for (i = from; i <= to; i++) {
		line = source[file, i]
		if (!begins_block(line)) {
			print fill(line) >current
			continue
		}
		end = end_of(file, i, to)
		gsub(/^[ \t]*@|@$/, "", line)
		word = line
		sub(/^[a-z]+ /, "", word)
		own_comma = comma
		if (line ~ /^when /) {
			# $case in pages.conf has all conditions, in the same order.
			gsub(/ /, ".*", word)
			# No newline of its own: in text there shall be no empty lines where conditions were.
			printf "<!--# if expr=\"$case = /%s/\" -->", word >current
			write_lines(file, i + 1, end - 1)
			printf "<!--# endif -->" >current
		} else if (line ~ /^if /) {
			if (holds(word)) write_lines(file, i + 1, end - 1)
		} else write_each(word, file, i + 1, end - 1)
		comma = own_comma
		i = end
	}
}

# begins_block LINE: is LINE the first one of a block?
function begins_block(line) { return line ~ /^[ \t]*@(each|if|when) [a-z -]+@$/ }

# end_of FILE, FROM, TO: the number of the line that ends the block that begins on FROM
function end_of(file, from, to,    i, depth) {
	for (i = from; i <= to; i++) {
		if (begins_block(source[file, i])) depth++
		if (source[file, i] ~ /^[ \t]*@end@$/ && !--depth) return i
	}
	return to
}

# holds CONDITION: is it so that there is any, or no ...?
function holds(condition,    wanted) {
	wanted = !sub(/^no /, "", condition)
	if (condition == "service") return (service_count > 0) == wanted
	if (condition == "database") return (database_count > 0) == wanted
	return has_alias() == wanted
}

# has_alias: are services reached by the alias IP? Otherwise by Docker's host gateway
function has_alias() { return setting("LOCALDEV_HOST", "") == "" }

# write_each WHAT, FILE, FROM, TO: writes the lines once for each service, route, URL of the service, or database
function write_each(what, file, from, to,    i) {
	if (what == "service") {
		for (i = 1; i <= service_count; i++) {
			service = services[i]
			comma = i < service_count ? "," : ""
			write_lines(file, from, to)
		}
	} else if (what == "database") {
		for (i = 1; i <= database_count; i++) {
			database = databases[i]
			address = address_at[i]
			comma = i < database_count ? "," : ""
			write_lines(file, from, to)
		}
	} else if (what == "route") {
		for (i = 1; i <= url_count; i++) {
			service = url_service[i]
			url = url_at[i]
			comma = i < url_count ? "," : ""
			write_lines(file, from, to)
		}
	} else {
		for (i = first_url[service]; i; i = next_url[i]) {
			url = url_at[i]
			comma = next_url[i] ? "," : ""
			write_lines(file, from, to)
		}
	}
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
function value(word,    text) {
	if (word ~ /^this\./) return "<!--# echo var=\"" substr(word, 6) "\" -->"
	if (word == "style") return contents("style.css")
	if (word == "script") return contents("script.js")
	if (word == "up") return "<!--# include virtual=\"/__localdev/up/" service "\" -->"
	if (word == "running") return "<!--# include virtual=\"/__localdev/running/" database "\" -->"
	# A wildcard is no address that a browser can open.
	if (word == "link") return url ~ /\*/ ? quote(url) : "<a href=\"" quote(url) "\">" quote(url) "</a>"
	if (word == "comma") return comma
	if (sub(/\.column$/, "", word)) {
		text = plain(word)
		return quote(sprintf("%-" width[word] "s", text))
	}
	return quote(plain(word))
}

# plain WORD: what stands for @WORD@, unquoted
function plain(word) {
	if (word == "domain") return conf["domain"]
	if (word == "dashboard") return tls == "on" ? https_url(conf["domain"], "/__localdev/") : http_url(conf["domain"], "/__localdev/")
	if (word == "ip") return conf["ip"]
	# Where a native service must listen to be reached.
	if (word == "listen") return has_alias() ? conf["ip"] : "0.0.0.0"
	if (word == "service") return service
	if (word == "target") return address_of(service)
	if (word == "url") return url
	if (word == "database") return database
	if (word == "address") return address
	return "@" word "@"
}

# quote TEXT: TEXT as the format of the current page writes it
function quote(text,    i, character, done) {
	if (text !~ /[&<>"\\]/) return text
	for (i = 1; i <= length(text); i++) {
		character = substr(text, i, 1)
		done = done ((format, character) in quoted ? quoted[format, character] : character)
	}
	return done
}

# contents NAME: the text of a source that is a part of pages
function contents(name,    i, text) {
	for (i = 1; i <= lines[path_of[name]]; i++) text = text source[path_of[name], i] "\n"
	return text
}

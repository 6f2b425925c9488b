# SPDX-License-Identifier: MIT
# env.awk: prints the environment for native services, for eval in sh, bash, zsh or direnv and for fish's source. Runs
# after routes.awk: awk -v want=env -f routes.awk -f sh/env.awk host-alias.conf [.env] routes

END {
	if (want == "env" && !error_count) print_env()
}

# print_env: each variable with who reads it
function print_env(    listen, i) {
	# By the host gateway containers reach any address of the machine but its own loopback ones.
	listen = setting("LOCALDEV_HOST", "") == "" ? conf["ip"] : "0.0.0.0"

	about("your own commands: where to listen so that containers reach you, as in --host \"$HOST_ALIAS_IP\"")
	export("HOST_ALIAS_IP", listen)
	about("Rails: bin/rails server")
	export("BINDING", listen)
	about("Nuxt, Vue CLI, Create React App; servers that Nuxt, SvelteKit and Astro build for Node")
	export("HOST", listen)
	about("Flask: flask run")
	export("FLASK_RUN_HOST", listen)
	about("uvicorn")
	export("UVICORN_HOST", listen)
	about("Laravel: php artisan serve")
	export("SERVER_HOST", listen)
	about("Spring Boot")
	export("SERVER_ADDRESS", listen)

	about("Rails, in development: the names by which services are asked for")
	export("RAILS_DEVELOPMENT_HOSTS", allowed_hosts(conf["domain"]))
	about("Vite, which accepts .localhost anyway: the domain with the most names, for not every version takes two")
	export("__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS", widest_domain())
	about("your own settings: Django's ALLOWED_HOSTS, Next's allowedDevOrigins, webpack's and Vite's allowedHosts")
	export("PROXY_HOSTS", allowed_hosts(""))

	if (!database_count) return
	# Rails in RAILS_ENV=test, Django and Prisma prefer DATABASE_URL to their own settings: a test run would empty the
	# database of development. https://guides.rubyonrails.org/configuring.html#configuring-a-database
	about("your own settings; there is no DATABASE_URL, as test runs would use it, too")
	for (i = 1; i <= database_count; i++) export(toupper(databases[i]) "_URL", address_at[i])
}

# about READER: who reads the next one
function about(reader) { print "# " reader }

# export NAME, VALUE: in single quotes nothing means anything, but the quote itself
function export(name, value,    parts, count, i) {
	# Not by gsub: busybox 1.37 drops the backslash of a replacement.
	count = split(value, parts, "'")
	value = parts[1]
	for (i = 2; i <= count; i++) value = value "'\\''" parts[i]
	print "export " name "='" value "'"
}

# allowed_hosts DOMAIN: every host by which services are asked for, by commas, but of those on DOMAIN or right below it
# only .DOMAIN; "" for all. A dot in front stands for any one name
function allowed_hosts(domain,    list, i, count, names) {
	# By this name containers ask a service directly.
	list = "host-alias"
	if (conf["web_port"] == "none") return list
	if (domain != "") list = "." domain "," list
	count = all_hosts(names)
	for (i = 1; i <= count; i++) {
		if (names[i] == domain || substr(names[i], index(names[i], ".") + 1) == domain) continue
		sub(/^\*/, "", names[i])
		list = list "," names[i]
	}
	return list
}

# widest_domain: of the domains that are not below .localhost the one with the most hosts, all that is below it included
function widest_domain(    best, count, names, i, domain, hosts_below) {
	best = "host-alias"
	if (conf["web_port"] == "none") return best
	count = all_hosts(names)
	for (i = 1; i <= count; i++) {
		if (names[i] ~ /\.localhost$/) continue
		domain = names[i]
		sub(/^(\*\.)?/, ".", domain)
		# Not a whole top-level domain.
		while (domain ~ /\..*\./) {
			if (++hosts_below[domain] > hosts_below[best]) best = domain
			domain = substr(domain, 2)
			domain = substr(domain, index(domain, "."))
		}
	}
	return best
}

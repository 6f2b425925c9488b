# SPDX-License-Identifier: MIT
# ports.awk: which of our ports are busy? POSIX awk: busybox, mawk, gawk and macOS's awk print the same.
#
#   awk -v wanted=' proxy redis ' -f ports.awk part=compose compose.yaml [part=dotenv .env]... part=sockets LISTING
#
# wanted names services, '' all of them. LISTING is what os_listeners of ports.sh prints. Prints PORT|VARIABLE|FREE|SOCKET
# for each port of theirs that something listens on; FREE is the next port that nobody uses, SOCKET is for os_holder.
# A variable that is no port, or two of the same port, are one line each on stderr and exit code 1.

{ sub(/\r$/, "") }

part == "compose" && /^  [A-Za-z0-9_-]+:/ { service = $1; sub(/:.*/, "", service) }
part == "compose" && /^ *[a-z_]+:/ { in_ports = ($1 == "ports:") }
part == "compose" && in_ports && !/^ *#/ { read_ports() }
part == "dotenv" { read_dotenv() }
part == "sockets" { read_socket() }
END { judge() }

# read_ports: adds each "127.0.0.1:${VARIABLE:-USUAL}:..." of this line; one for UDP is in nobody's way
function read_ports(    entry, part_of) {
	while (match($0, /"127[.]0[.]0[.]1:[$][{][A-Z_]+:-[0-9]*[}]:[^"]*"/)) {
		entry = substr($0, RSTART, RLENGTH)
		$0 = substr($0, RSTART + RLENGTH)
		if (entry ~ /\/udp"$/) continue
		split(entry, part_of, /[{]|:-|[}]/)
		variable[++count] = part_of[2]
		usual[count] = part_of[3]
		needed[count] = (wanted == "" || index(wanted, " " service " "))
	}
}

# read_dotenv: takes the variable of this line as Compose does: plain or in quotes, with or without export, the last one wins
function read_dotenv(    name, text, quote, end) {
	if (open_quote != "") {
		if (index($0, open_quote)) open_quote = ""
		return
	}
	sub(/^\357\273\277/, "")
	sub(/^[ \t]*(export[ \t]+)?/, "")
	if (!match($0, /^[A-Za-z_][A-Za-z0-9_.]*[ \t]*[=:][ \t]*/)) return
	name = substr($0, 1, RLENGTH)
	sub(/[ \t]*[=:][ \t]*$/, "", name)
	text = substr($0, RLENGTH + 1)
	quote = substr(text, 1, 1)
	if (quote == "\"" || quote == "'") {
		text = substr(text, 2)
		end = index(text, quote)
		if (end) text = substr(text, 1, end - 1)
		else open_quote = quote
	} else sub(/( +#.*)?[ \t]*$/, "", text)
	dotenv[name] = text
	dotenv_file[name] = FILENAME
	# Other variables are in it: only Compose knows what it becomes.
	unknown[name] = (text ~ /[$]/ && quote != "'")
}

# read_socket: understands a line of `ss -Hltne`, of macOS's `netstat -anv -p tcp` or of /proc/net/tcp and tcp6
function read_socket(    i, address) {
	if ($1 == "LISTEN") {
		# *:80 is all addresses, IPv4 and IPv6; [::]:80 is IPv6 alone.
		for (i = 6; i <= NF; i++) if ($i ~ /^ino:/) break
		listens($4, substr($i, 5))
	} else if ($1 == "Proto") {
		# The header's "Local Address" and "Foreign Address" are one field each in the lines below.
		for (i = 1; i <= NF; i++) if ($i ~ /^(process:)?pid$/) pid_field = i - 2
	} else if ($1 ~ /^tcp/ && $6 == "LISTEN") {
		sub(/^[*]/, $1 == "tcp6" ? "::" : "*", $4)
		listens($4, pid_and_name())
	} else if ($4 == "0A") {
		# Hexadecimal, in this machine's order of bytes. All addresses of IPv6 may be without IPv4: it does not say.
		i = index($2, ":")
		address = substr($2, 1, i - 1)
		if (address ~ /^(0+FFFF0*)?(0100007F|7F000001)$/) address = "127.0.0.1"
		else if (address ~ /^(0+FFFF)?0+$/) address = "*"
		listens(address ":" number(substr($2, i + 1)), $10)
	}
}

# pid_and_name: returns the process of netstat's line, "77" or, since macOS 26, "77 its name", in which there may be blanks
function pid_and_name(    i, text) {
	for (i = pid_field; pid_field && i <= NF; i++) {
		text = text (text == "" ? "" : " ") $i
		gsub(/[|]/, "?", text)
		if ($i ~ /^[0-9]+$/ && i == pid_field) return text
		if (match(text, /:[0-9]+$/)) return substr(text, RSTART + 1) " " substr(text, 1, RSTART - 1)
	}
	return ""
}

# listens WHERE SOCKET: notes the port of WHERE, ADDRESS:PORT or ADDRESS.PORT, and whether it is in the way of 127.0.0.1
function listens(where, socket,    address, port) {
	match(where, /[.:][0-9]+$/)
	address = substr(where, 1, RSTART - 1)
	port = substr(where, RSTART + 1)
	sub(/%.*/, "", address)
	gsub(/^\[?::ffff:|\]$/, "", address)
	used[port] = 1
	if ((address == "127.0.0.1" || address == "0.0.0.0" || address == "*") && !(port in busy)) busy[port] = socket
}

# number HEX: returns the number that HEX is
function number(hex,    i, sum) {
	for (i = 1; i <= length(hex); i++) sum = sum * 16 + index("0123456789ABCDEF", substr(hex, i, 1)) - 1
	return sum
}

# judge: prints what is wrong, or what is busy
function judge(    i, port, name) {
	for (i = 1; i <= count; i++) {
		published[i] = find_port(variable[i], usual[i])
		if (published[i]) used[published[i]] = 1
	}
	for (i = 1; i <= count; i++) {
		port = published[i]
		name = variable[i]
		if (!needed[i] || !port) continue
		if (port in first && first[port] != name)
			fail(first[port] " and " name " are both " port ". Move one of them: " name "=" next_free(port) " make dev-up (or that line in .env)")
		else first[port] = name
	}
	if (failed) {
		close("cat 1>&2")
		exit 1
	}
	for (i = 1; i <= count; i++) {
		port = published[i]
		if (needed[i] && port in busy && !(port in told)) print port "|" variable[i] "|" next_free(port) "|" busy[port]
		if (needed[i]) told[port] = 1
	}
}

# find_port NAME USUAL: returns the port that the variable NAME gives, 0 for any free one, for one that only Compose knows,
# and for none, which is an error
function find_port(name, usual,    text, where) {
	text = usual
	if (name in ENVIRON) {
		if (ENVIRON[name] != "") text = ENVIRON[name]
		where = "the environment"
	} else if (name in dotenv) {
		if (unknown[name]) return 0
		if (dotenv[name] != "") text = dotenv[name]
		where = dotenv_file[name]
	}
	if (text == "") return 0
	if (text ~ /^[0-9]+$/ && text + 0 >= 1 && text + 0 <= 65535) return text + 0
	gsub(/[^ -~]/, "?", text)
	if (length(text) > 60) text = substr(text, 1, 60) "..."
	fail(name " is " text " in " where ", which is no port. Give it a number from 1 to 65535")
	return 0
}

# next_free PORT: returns the first port after PORT that nobody uses; it is used from now on
function next_free(port) {
	port = port + 0
	do port = port < 65535 ? port + 1 : 1024
	while (port in used)
	used[port] = 1
	return port
}

# fail TEXT: says in one line what is wrong
function fail(text) {
	if (!(text in said)) print "localdev: " text | "cat 1>&2"
	said[text] = 1
	failed = 1
}

# SPDX-License-Identifier: MIT
# hosts.awk: where a project's block is in /etc/hosts.
#
#   awk -v begin=LINE -v end=LINE -v file=NAME -f hosts.awk </etc/hosts
#
# Prints its first and its last line's number, 0 0 for none, then the block itself. At a mark without its other half,
# where nobody can tell what belongs to the block, it prints NAME:LINE: what is wrong instead, and exits 1.

# An editor may have made CRLF of our marks, or left blanks behind them.
{
	line = $0
	sub(/[ \t\r]+$/, "", line)
	inside = first && !last
}

line == begin {
	if (inside) lacks(first, begin, end, "below it")
	if (first) refuse(NR, "\"" begin "\" is here a second time")
	first = NR
	text = $0
	next
}

line == end {
	if (!inside) lacks(NR, end, begin, "above it")
	last = NR
}

# Another project's mark inside of our block: our end is missing, or the other's begin would go with our block.
inside && line != end && line ~ /^# (>>>|<<<) localdev / {
	lacks(first, begin, end, "below it, before the next project's mark")
}

inside { text = text "\n" $0 }

END {
	if (refused) exit 1
	if (first && !last) lacks(first, begin, end, "below it")
	printf "%d %d\n%s", first, last, text
}

# lacks NUMBER, MARK, OTHER, WHERE: refuses line NUMBER, the half of a pair whose other half is not there
function lacks(number, mark, other, where) {
	refuse(number, "\"" mark "\" has no \"" other "\" " where)
}

# refuse NUMBER, PROBLEM: prints what is wrong, and ends
function refuse(number, problem) {
	printf "%s:%s: %s", file, number, problem
	refused = 1
	exit 1
}

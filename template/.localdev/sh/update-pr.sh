#!/bin/sh
# SPDX-License-Identifier: MIT
# update-pr.sh: what .github/workflows/localdev-update.yml runs: a new version of the template becomes one pull request.
#
# Needs git, gh, pipx and a clean checkout with its whole history; GitHub's runners have them. Does nothing when there is
# no new version. Never pushes to the branch that is checked out, never pushes a conflict, and never replaces a commit
# that it did not make.
# exit codes: 0 done or nothing to do, 1 a person is needed: the last line says for what
set -eu
unset IFS

branch=localdev-update
answers=.copier-answers.localdev.yml
# The version that the template is tested with.
copier_version=9.19.1
# Whose commits on the branch may be replaced. The address is the one that GitHub shows as github-actions.
name=localdev-update
email='41898282+github-actions[bot]@users.noreply.github.com'

# die TEXT: says in one line, which GitHub shows on the run's page, what a person has to do; exits 1
die() {
	printf '::error::%s\n' "$1"
	exit 1
}

# leave TEXT: says why there is nothing to do; exits 0
leave() {
	printf '::notice::%s\n' "$1"
	exit 0
}

# copier COMMAND...: runs Copier, without the token: what runs is the template's, the token is the repo's
copier() {
	(
		unset GH_TOKEN GITHUB_TOKEN
		exec pipx run --spec "copier==$copier_version" copier "$@"
	)
}

# listed: prints its input's lines as one line
listed() {
	tr '\n' ' ' | sed 's/ *$//; s/ /, /g'
}

# value KEY: prints the value of KEY in the answers file
value() {
	sed -n "s/^$1: *//p" "$answers"
}

# look: sets base, the branch to update, and theirs, the commit that the branch has now, '' for none; exits unless there
# is something to do that no person's work is in the way of
look() {
	for command in gh pipx; do
		command -v "$command" >/dev/null || die "$command is missing. Install it, or run this workflow on a runner by GitHub"
	done
	base=$(git symbolic-ref --quiet --short HEAD) || die 'no branch is checked out. Run this workflow on a branch'
	[ "$base" != "$branch" ] || die "$branch is what this workflow writes. Run it on the default branch"
	[ -z "$(git status --porcelain)" ] || die 'the checkout has changes. Run this in a clean one'
	found=$(copier check-update --output-format json --answers-file "$answers") ||
		die "the template at $(value _src_path) cannot be read here. A private one needs a step that lets git read it; a path of one machine never works"
	case $found in
	*'"update_available": true'*) ;;
	*) leave "localdev is at the newest version, $(value _commit)" ;;
	esac
	theirs=$(git ls-remote origin "refs/heads/$branch" | cut -f 1)
	[ -n "$theirs" ] || return 0
	git fetch --quiet origin "refs/heads/$branch"
	theirs=$(git rev-parse FETCH_HEAD)
	commits=$(git log --format='%an <%ae> %cn <%ce>' "$theirs" --not HEAD)
	if printf '%s' "$commits" | grep -Fqvx "$name <$email> $name <$email>"; then
		leave "$branch has commits that are not by this workflow: it stays as it is. Merge it, then delete the branch"
	fi
}

# update: brings the new version into the checkout; exits when a person has to merge it
update() {
	was=$(value _commit)
	# So that not even the local base gets the commit.
	git checkout --quiet --detach
	copier update --trust --defaults --quiet --answers-file "$answers" || die 'copier update failed, see above. Try: make dev-update'
	# Copier ends with 0 here, too. What is not pushed cannot be merged unseen.
	unmerged=$(git diff --name-only --diff-filter=U && git ls-files --others '*.rej')
	[ -z "$unmerged" ] || die "conflicts in $(printf '%s\n' "$unmerged" | sort -u | listed). Nothing was pushed. On your machine run: make dev-update"
	now=$(value _commit)
	title="Update localdev to $now"
	git add --all
	# GitHub refuses a push by a workflow that changes workflows.
	top=$(git rev-parse --show-toplevel)
	kept=$(git -C "$top" diff --cached --name-only -- .github/workflows | listed)
	[ -z "$kept" ] || git -C "$top" reset --quiet -- .github/workflows
	git commit --quiet --no-verify --message "$title"
}

# publish: pushes the commit unless the branch has it already, with the same parent and the same files
publish() {
	[ -z "$theirs" ] || [ "$(git log -1 --format='%T %P' "$theirs")" != "$(git log -1 --format='%T %P')" ] || return 0
	git push --quiet --force-with-lease="refs/heads/$branch:$theirs" origin "HEAD:refs/heads/$branch" ||
		die "git push to $branch failed, see above. The workflow needs: permissions: contents: write"
}

# body: prints the pull request's text
body() {
	printf 'Brings \140.localdev/\140 from %s to %s of %s.\n\n' "$was" "$now" "$(value _src_path)"
	printf 'After the merge, on every machine: \140make dev-up\140\n\n'
	[ -z "$kept" ] || printf '%s\n\n' "Left out, because GitHub forbids it to workflows: changes of $kept. To have them: check this branch out, run \`make dev-update\`, commit, push."
	printf 'The next run replaces this branch as long as nobody else has committed to it.\n'
}

# ask: sets open to the number of the branch's open pull request, '' for none; exits when somebody closed the one for this
# version without a merge
ask() {
	requests=$(gh pr list --head "$branch" --base "$base" --state all --limit 100 --json number,state,title,isCrossRepository \
		--jq '.[] | select(.isCrossRepository | not) | "\(.state) \(.number) \(.title)"') || die 'gh pr list failed, see above'
	open=$(printf '%s\n' "$requests" | sed -n 's/^OPEN \([0-9]*\) .*/\1/p' | head -n 1)
	[ -z "$open" ] || return 0
	if printf '%s\n' "$requests" | sed -n 's/^CLOSED [0-9]* //p' | grep -Fqx "$title"; then
		leave "somebody closed the pull request for $now: the next version gets a new one"
	fi
}

# request: opens the pull request, or gives the open one the new title and text
request() {
	text=$(body)
	if [ -n "$open" ]; then
		# Not `gh pr edit`: many versions of it fail on the projects of a repo.
		gh api --silent --method PATCH "repos/{owner}/{repo}/pulls/$open" -f title="$title" -f body="$text" ||
			die "pull request $open could not be changed, see above. The workflow needs: permissions: pull-requests: write"
		return 0
	fi
	said=$(gh pr create --head "$branch" --base "$base" --title "$title" --body "$text" 2>&1) || case $said in
	*'not permitted to create'*) die 'GitHub Actions may not open pull requests here. Switch on: Settings > Actions > General > Allow GitHub Actions to create and approve pull requests' ;;
	*) die "the pull request could not be opened: $(printf '%s\n' "$said" | tr '\n' ' ')" ;;
	esac
	printf '%s\n' "$said"
}

# main: exits itself, because the update may have replaced this file, which a shell reads as it goes
main() {
	case $0 in */*) cd "${0%/*}/../.." ;; *) cd ../.. ;; esac
	export GIT_AUTHOR_NAME="$name" GIT_AUTHOR_EMAIL="$email" GIT_COMMITTER_NAME="$name" GIT_COMMITTER_EMAIL="$email"
	look
	update
	ask
	publish
	request
	exit 0
}

main "$@"

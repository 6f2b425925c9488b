# Everything needs only git, make and Python 3.11 or later; the rest is installed into .venv, pinned and hash-checked.
.DEFAULT_GOAL := help
PYTHON ?= python3
.PHONY: help new test test-engine test-all bench recording lint format examples release lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

new: .venv/requirements ## DEST=../my-app: put the stack into a repo (ARGS="-d alias_ip=..." for more of copier's flags)
	@test -n "$$DEST" || { echo 'Say where: make new DEST=../my-app' >&2; exit 2; }
	@.venv/bin/copier copy --trust --vcs-ref HEAD $$(test -t 0 || echo --defaults) $(ARGS) "$$(pwd)" "$$DEST"

# No test chosen is an error (5) but where ARGS chose them.
test: .venv/requirements-test ## run what needs no engine (ARGS="-k routes"; NIGHTLY=1: more of it; NO_SKIPS=1: a skip fails)
	@echo 'make test: 1,000 tests that need no container engine, as many at a time as there are processors'
	@.venv/bin/pytest -n auto -m 'not engine' $(if $(NO_SKIPS),--no-skips) $(ARGS) $(if $(ARGS),|| test $$? = 5)

# They share the engine's ports and this machine's alias.
test-engine: .venv/requirements-test ## run what needs an engine, as root: .ci/engine and .ci/images make one
	@echo 'make test-engine: 200 tests on a container engine, one after the other'
	@.venv/bin/pytest -m engine $(if $(NO_SKIPS),--no-skips) $(ARGS) $(if $(ARGS),|| test $$? = 5)

test-all: test test-engine ## run every test (NO_SKIPS=1, NIGHTLY=1)

# The tests' own stacks and machines, by their conftest, with figures.py of bench/ beside it.
bench: .venv/requirements-test ## measure what everything costs, into bench/RESULTS.md (ARGS="-k doctor"; ARGS=--quick: a try)
	@PYTHONPATH=tests:tests/support:bench .venv/bin/pytest -p conftest -p figures --timeout 3600 $(ARGS) bench/commands.py bench/proxy.py

recording: .venv/requirements-test ## record docs/recording.svg again, after a change of what a newcomer sees
	@PYTHONPATH=tests:tests/support .venv/bin/pytest -p conftest --timeout 900 $(ARGS) docs/recording.py

# Every shell script. .ci/release is Python.
SCRIPTS = $(shell find template/.localdev/host-alias template/.localdev/alias .ci tests/mac tests/support/systemctl \
	-type f \( -name '*.sh' -o ! -name '*.*' \) ! -path .ci/release | sort)

lint: .venv/requirements-test ## check the style of everything
	@.venv/bin/ruff check --config pyproject.toml && .venv/bin/ruff format --config pyproject.toml --check
	@.venv/bin/shellcheck -x $(SCRIPTS) && .venv/bin/shfmt -d $(SCRIPTS)

format: .venv/requirements-test ## format everything
	@.venv/bin/ruff check --config pyproject.toml --fix && .venv/bin/ruff format --config pyproject.toml && .venv/bin/shfmt -w $(SCRIPTS)

# `git clean` removes what an older template made; what git ignores, such as node_modules and a certificate, stays.
examples: .venv/requirements ## render the example repos into examples/rendered/, to look at and to try
	@for answers in examples/*.yml; do own=$${answers%.yml}; repo=examples/rendered/$${own#*/}; \
		git init -q $$repo && git -C $$repo clean -dfq -e .env -e .gitignore && \
		COPIER_SETTINGS_PATH=/dev/null PYTHONWARNINGS=ignore .venv/bin/copier copy --quiet --overwrite --defaults \
			--skip-tasks --vcs-ref HEAD --data-file $$answers "$$(pwd)" $$repo && \
		{ [ ! -d $$own ] || cp -Rp $$own/. $$repo; } && echo $$repo || exit; done

release: .venv/requirements-test ## VERSION=v1.2.3: check that all is ready, test, tag; CONTRIBUTING.md says how
	@.venv/bin/python .ci/release "$$VERSION"

lock: .venv/requirements-test ## pin the newest dependencies, with hashes
	@for group in '' -test; do .venv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url pyproject.toml $${group:+--group test} -o requirements$$group.txt; done

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache

# One stamp per set of dependencies: `make new` does not wait for what only tests need.
.venv/%: %.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or later is needed. Say where it is: make PYTHON=python3.12 ...' >&2; exit 1; }
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo 'python3 -m venv failed (see above). On Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'installs what $< names into .venv'
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# SPDX-License-Identifier: MIT
# Short names for the scripts in this folder; `make dev-help` lists them. Written for GNU make 3.81, which macOS ships.
#   make dev-down ARGS=--volumes     more arguments for the command behind a target: on make's command line, nowhere else
#   LOCALDEV_PREFIX = stack-         before the include: make stack-up and so on, for a Makefile that has a dev-up of its own
#   LOCALDEV_COMPOSE="podman compose" make dev-up, LOCALDEV_COPIER="pipx run copier" make dev-update: other commands
#
# Your Makefile and your environment have variables and settings of make that are meant for yours. None of them steers
# what is here: names begin with LOCALDEV_, recipes are on their rule's line (.RECIPEPREFIX) and have a shell of their own.
# And nothing here changes yours: the last lines put back what an include changes.

LOCALDEV_FILE := $(lastword $(MAKEFILE_LIST))
LOCALDEV_FOLDER := $(patsubst %/,%,$(dir $(LOCALDEV_FILE)))
LOCALDEV_GOAL := $(.DEFAULT_GOAL)
LOCALDEV_COMPOSE ?= docker compose
LOCALDEV_COPIER ?=
LOCALDEV_PREFIX ?= dev-
LOCALDEV_WORDS := help up down status doctor urls env logs reload tls hosts hosts-down alias alias-down update
LOCALDEV_TARGETS := $(addprefix $(LOCALDEV_PREFIX),$(LOCALDEV_WORDS))
# ARGS in `make test ARGS=-v` is for a test, also where it needs dev-up, and so is what a $(MAKE) in a recipe passes on. For
# ours it is where one is asked for, or its short name of the Makefile that came with this: make down.
LOCALDEV_ASKED := $(filter $(LOCALDEV_TARGETS) $(LOCALDEV_WORDS),$(MAKECMDGOALS))
LOCALDEV_ARGS := $(if $(filter command,$(origin ARGS)),$(if $(filter 0,$(MAKELEVEL)),$(if $(LOCALDEV_ASKED),$(ARGS))))
# `include .env` and `export` give Compose what is in .env, its quotes and comments included. Compose reads .env itself.
LOCALDEV_UNSET = $(strip $(foreach name,$(filter COMPOSE_% DOCKER_% %_PORT,$(filter-out LOCALDEV_%,$(.VARIABLES))),$(if \
	$(filter file override,$(origin $(name))),-u $(name))))
# In the folder that .localdev is in, wherever your Makefile is.
LOCALDEV_HERE = CDPATH= cd $(LOCALDEV_FOLDER)/.. &&
# Messages name targets. Not exported: a make of another repo in a recipe of yours has its own.
LOCALDEV_ENV = $(if $(LOCALDEV_UNSET),env $(LOCALDEV_UNSET) )$(if $(filter-out xdev-,x$(LOCALDEV_PREFIX)),LOCALDEV_PREFIX='$(LOCALDEV_PREFIX)' )
LOCALDEV_RUN = $(LOCALDEV_HERE) $(LOCALDEV_ENV)
LOCALDEV_NO_PYTHON = python3 is missing. Install it: xcode-select --install (Debian: sudo apt install python3)
LOCALDEV_STACK = $(LOCALDEV_HERE) { command -v python3 >/dev/null || { echo 'localdev: $(LOCALDEV_NO_PYTHON)' >&2; exit 1; }; } && \
	$(LOCALDEV_ENV)python3 -I -B .localdev/stack

.PHONY: $(LOCALDEV_TARGETS)
ifneq ($(filter undefine,$(.FEATURES)),)
# private: a target of yours that one of these needs keeps its shell. Make 3.81 has neither, and no .SHELLFLAGS.
$(LOCALDEV_TARGETS): private .SHELLFLAGS := -c
$(LOCALDEV_TARGETS): private SHELL := /bin/sh
else
$(LOCALDEV_TARGETS): SHELL := /bin/sh
endif

## dev-help: list these targets
$(LOCALDEV_PREFIX)help: ; @$(LOCALDEV_STACK) help

## dev-up: start the stack, the alias first; asks for root only when the alias is missing
$(LOCALDEV_PREFIX)up: ; @$(LOCALDEV_STACK) up $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-down: stop the stack; data and alias stay (ARGS=--volumes deletes the data: asks first, with --yes it does not)
$(LOCALDEV_PREFIX)down: ; @$(LOCALDEV_STACK) down $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-status: what is there and what is not
$(LOCALDEV_PREFIX)status: ; @$(LOCALDEV_STACK) status $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-doctor: what works, what does not, and the command that fixes it
$(LOCALDEV_PREFIX)doctor: ; @$(LOCALDEV_STACK) doctor $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-urls: which URL leads to which service (ARGS=--json, also of dev-env, dev-status and dev-doctor: for programs)
$(LOCALDEV_PREFIX)urls: ; @$(LOCALDEV_STACK) urls $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-env: the environment for native services, for eval "$(make -s dev-env)"
$(LOCALDEV_PREFIX)env: ; @$(LOCALDEV_STACK) env $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-logs: follow the containers' logs (ARGS=proxy for one)
$(LOCALDEV_PREFIX)logs: ; @$(LOCALDEV_RUN)$(LOCALDEV_COMPOSE) logs --follow --tail 100 $(LOCALDEV_ARGS)

## dev-reload: use an edited .localdev/routes or .localdev/proxy/custom; on an error the old ones stay
$(LOCALDEV_PREFIX)reload: ; @$(LOCALDEV_STACK) reload $(LOCALDEV_COMPOSE)

## dev-tls: serve HTTPS, too, with a certificate by mkcert; again when routes change (ARGS=--off: HTTP only)
$(LOCALDEV_PREFIX)tls: ; @$(LOCALDEV_STACK) tls $(LOCALDEV_COMPOSE) -- $(LOCALDEV_ARGS)

## dev-hosts: point the hosts in .localdev/routes at this machine, in /etc/hosts; asks first (ARGS=--yes: does not)
$(LOCALDEV_PREFIX)hosts: ; @$(LOCALDEV_STACK) hosts -- add $(LOCALDEV_ARGS)

## dev-hosts-down: take the hosts of .localdev/routes out of /etc/hosts again
$(LOCALDEV_PREFIX)hosts-down: ; @$(LOCALDEV_STACK) hosts -- remove $(LOCALDEV_ARGS)

## dev-alias: give this machine the alias IP; asks for root only when it is missing
$(LOCALDEV_PREFIX)alias: ; @$(LOCALDEV_RUN)sh .localdev/host-alias up

## dev-alias-down: remove the alias IP and its boot job from this machine; asks first (ARGS=--yes: does not)
$(LOCALDEV_PREFIX)alias-down: ; @$(LOCALDEV_RUN)sh .localdev/host-alias down $(LOCALDEV_ARGS)

## dev-update: bring fixes from the template, or change an answer (ARGS="-d web_port=8081")
$(LOCALDEV_PREFIX)update: ; @$(LOCALDEV_STACK) update $(LOCALDEV_COPIER) -- $(LOCALDEV_ARGS)

.DEFAULT_GOAL := $(LOCALDEV_GOAL)
# With a second name in this list, `make help` of the kind that greps $(MAKEFILE_LIST) puts file names before the targets.
MAKEFILE_LIST := $(filter-out $(LOCALDEV_FILE),$(MAKEFILE_LIST))

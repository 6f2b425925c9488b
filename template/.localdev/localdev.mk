# Short names for the scripts in this folder; `make dev-help` lists them. Written for GNU make 3.81, which macOS ships.
# Override: COMPOSE="podman compose", COPIER="pipx run copier", ARGS="..." (more arguments for the command behind a target)

LOCALDEV := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
COMPOSE ?= docker compose
COPIER ?= $(if $(shell command -v copier 2>/dev/null),copier,uvx copier)
# An include must not change what a bare `make` does: the default goal is put back at the end.
LOCALDEV_GOAL := $(.DEFAULT_GOAL)

.PHONY: dev-help dev-up dev-down dev-status dev-doctor dev-urls dev-env dev-logs dev-reload dev-tls dev-hosts dev-hosts-down \
	dev-alias dev-alias-down dev-update

dev-help: ## list these targets
	@awk -F ':.*## ' '/^dev-[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(LOCALDEV)/localdev.mk

dev-up: dev-alias ## start the stack: the alias, then proxy and databases
	@sh $(LOCALDEV)/sh/stack.sh up $(COMPOSE) -- $(ARGS)

dev-down: ## stop the stack; data and alias stay (ARGS=--volumes deletes the data)
	@$(COMPOSE) down $(ARGS)

dev-status: ## what is there and what is not
	@sh $(LOCALDEV)/sh/stack.sh status $(COMPOSE) -- $(ARGS)

dev-doctor: ## what works, what does not, and the command that fixes it
	@sh $(LOCALDEV)/sh/stack.sh doctor $(COMPOSE) -- $(ARGS)

dev-urls: ## which URL leads to which service
	@sh $(LOCALDEV)/sh/stack.sh urls

dev-env: ## the environment for native services: eval "$(make -s dev-env)"
	@sh $(LOCALDEV)/sh/stack.sh env

dev-logs: ## follow the containers' logs (ARGS="proxy" for one)
	@$(COMPOSE) logs --follow --tail 100 $(ARGS)

dev-reload: ## use an edited .localdev/routes or .localdev/proxy/custom; on an error the old ones stay
	@sh $(LOCALDEV)/sh/stack.sh reload $(COMPOSE)

dev-tls: ## serve HTTPS, too, with a certificate by mkcert; again when routes change
	@sh $(LOCALDEV)/sh/stack.sh tls $(COMPOSE)

dev-hosts: ## point the hosts in .localdev/routes at this machine, in /etc/hosts; asks first (ARGS=--yes: does not)
	@sh $(LOCALDEV)/sh/hosts.sh add $(ARGS)

dev-hosts-down: ## take the hosts of .localdev/routes out of /etc/hosts again
	@sh $(LOCALDEV)/sh/hosts.sh remove $(ARGS)

dev-alias: ## give this machine the alias IP; asks for root only when it is missing
	@sh $(LOCALDEV)/host-alias up

dev-alias-down: ## remove the alias IP and its boot job from this machine; asks first (ARGS=--yes: does not)
	@sh $(LOCALDEV)/host-alias down $(ARGS)

dev-update: ## bring fixes from the template, or change an answer (ARGS="-d web_port=8081")
	@$(COPIER) update --trust -a .copier-answers.localdev.yml $(ARGS)

.DEFAULT_GOAL := $(LOCALDEV_GOAL)

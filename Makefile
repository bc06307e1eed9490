# The two commands are `make run` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers
WORKERS ?= 2
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup peers run demo test check bench soak mutation lock

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(VENV)/.ready  ## make .venv from the hashed lock (idempotent)

$(VENV)/.ready: requirements/dev.lock pyproject.toml tools/setup.sh
	@PYTHON=$(PYTHON) sh tools/setup.sh $(VENV)

peers: $(PEERS)/python/.ready $(PEERS)/python-v1/.ready $(PEERS)/node/.ready  ## make .peers: other people's clients, servers and suites, from their locks (idempotent)

$(PEERS)/python/.ready: requirements/peers.lock tools/peers.sh | setup
	@sh tools/peers.sh $(VENV) $(@D) python $<

$(PEERS)/python-v1/.ready: requirements/peers-v1.lock tools/peers.sh | setup
	@sh tools/peers.sh $(VENV) $(@D) python $<

$(PEERS)/node/.ready: requirements/node/package-lock.json requirements/node/package.json tools/peers.sh | setup
	@sh tools/peers.sh $(VENV) $(@D) node $(<D)

run: setup  ## start the whole stack on 127.0.0.1:8000, play the demo, serve until Ctrl-C
	@$(BIN)/tausestack up --demo

demo: setup  ## start on a free port, play the demo, stop
	@$(BIN)/tausestack demo

test: setup peers  ## every test
	@$(BIN)/python -m pytest -q -m "not soak" -n $(WORKERS) --dist worksteal

check: setup  ## lint, layers and house rules in under 30 s, then types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/house
	@$(BIN)/pyright

bench: setup peers  ## measure; the README quotes the figures
	@$(BIN)/python -m benchmarks

soak: setup peers  ## the long tests
	@$(BIN)/python -m pytest -q -m soak --timeout=3600

mutation: setup  ## the mutation score of what keeps tenants apart, module by module; fails under 95 %
	@$(BIN)/python -m tools.mutation --children $(WORKERS)

COMPILE := uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock:  ## write the locks of requirements/ anew: the newest that resolve together
	@$(COMPILE) --extra server pyproject.toml -o requirements/server.lock
	@$(COMPILE) --extra server --group dev pyproject.toml -o requirements/dev.lock
	@$(COMPILE) --group pyproject.toml:peers -o requirements/peers.lock
	@$(COMPILE) --group pyproject.toml:peers-v1 -o requirements/peers-v1.lock
	@cd requirements/node && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved=true

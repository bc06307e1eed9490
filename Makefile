# The two commands are `make run` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check bench soak lock

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(VENV)/.ready  ## make .venv from the hashed lock (idempotent)

$(VENV)/.ready: requirements/dev.lock pyproject.toml tools/setup.sh
	@PYTHON=$(PYTHON) sh tools/setup.sh $(VENV)

run: setup  ## start the whole stack on 127.0.0.1:8000, play the demo, serve until Ctrl-C
	@$(BIN)/tausestack up --demo

demo: setup  ## start on a free port, play the demo, stop
	@$(BIN)/tausestack demo

test: setup  ## every test
	@$(BIN)/python -m pytest -q -m "not soak"

check: setup  ## lint, layers and house rules in under 30 s, then types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/house
	@$(BIN)/pyright

bench: setup  ## measure; the README quotes the figures
	@$(BIN)/python -m benchmarks

soak: setup  ## the long tests
	@$(BIN)/python -m pytest -q -m soak --timeout=3600

lock:  ## write requirements/*.lock anew: the newest that resolve together
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra server pyproject.toml -o requirements/server.lock
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra server --group dev pyproject.toml -o requirements/dev.lock

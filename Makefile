# What a person does with fieldgate's source. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_FLAGS := --quiet --disable-pip-version-check --no-input

.PHONY: help demo test test-long conformance check bench wheel docs lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(READY) ## see the whole thing run on this machine, without root, with a throw-away PKI
	@$(BIN)/fieldgate demo

test: $(READY) ## every test, with small counts; as root it installs the Debian packages that some need
	@tests/packages.sh
	@$(BIN)/python -X dev -m pytest

test-long: $(READY) ## the tests whose counts are large, with these counts
	@tests/packages.sh
	@FIELDGATE_TEST_LONG=1 $(BIN)/python -m pytest -m long

conformance: $(READY) ## Modbus/TCP Security, requirement by requirement: what is asked and what became of it
	@tests/packages.sh
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p support.conformance -m requirement

check: $(READY) ## lint, formats, types, import contracts, shell scripts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/shellcheck .ci/run tests/packages.sh

bench: $(READY) ## measure against peers, side by side (bench/README.md tells what it needs)
	@$(BIN)/python bench/run.py

wheel: $(READY) ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

docs: $(READY) ## write the generated parts of docs anew
	@PYTHONPATH=tests $(BIN)/python -m support.function_table

lock: ## write the two hash-locked files anew from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/pip install $(PIP_FLAGS) pip-tools
	@for extra in "" dev; do \
	  $(VENV)-lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    $${extra:+--extra $$extra} --output-file requirements$${extra:+-$$extra}.lock pyproject.toml; \
	done
	@rm -rf $(VENV)-lock

clean: ## remove everything that was made here
	rm -rf $(VENV) $(VENV)-lock dist build bench/build var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements-dev.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing: apt-get install python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: Python's venv module is missing: apt-get install python3-venv" >&2; exit 2; }
	@echo "setting up $(VENV) (once; from requirements-dev.lock, every file checked by its hash)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install $(PIP_FLAGS) --require-hashes --requirement requirements-dev.lock
	@$(BIN)/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

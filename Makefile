# Every target works in $(VENV), with the versions of constraints.txt. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
# Extras of pyproject.toml to install: dev brings the tests and the tools.
EXTRAS ?= dev
# Address of a further package index to take torch from. Empty: the default index, which on Linux serves the CUDA build.
TORCH_INDEX ?=

BIN := $(VENV)/bin
RUN := $(BIN)/python -m
SHELL := /bin/sh
PIP_FLAGS := --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Whole files of tests side by side: their fixtures are made once a file.
SIDE_BY_SIDE := --numprocesses logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SUFFIXES:

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: venv
venv: $(VENV)/.created ## the virtual environment, empty (PYTHON=python3.12 chooses the interpreter)

# The stamps, not bin/python, say that a step was finished: an interrupted one is done again.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: there is no '$(PYTHON)' here; install Python 3.11, 3.12 or 3.13, or name the one to use: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "make: Python 3.11, 3.12 or 3.13 is needed, '$(PYTHON)' is $$($(PYTHON) -c 'import platform; print(platform.python_version())'); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: '$(PYTHON)' has no venv module; install the system package that brings it, on Debian and Ubuntu: apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## the virtual environment with everything in it (TORCH_INDEX=…, EXTRAS=dev,gpu)

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.created
	$(RUN) pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

.PHONY: demo
demo: install ## simulate a fluid → archive → train → register → forecast → score → report, in a few minutes
	$(BIN)/minconv run -c demo
	@echo
	@echo "Paths above start at $(CURDIR). Next: $(BIN)/minconv models -c demo, $(BIN)/minconv --help"

.PHONY: test
test: install ## the tests, without slow ones and those that start Ray
	$(RUN) pytest $(SIDE_BY_SIDE)

.PHONY: test-slow
test-slow: install ## the slow tests and those that start Ray
	$(RUN) pytest $(SIDE_BY_SIDE) --no-loadscope-reorder -m '(slow or cluster) and not services and not gpu'

.PHONY: test-services
test-services: install ## MLflow on PostgreSQL (its programs must be installed) and an S3-compatible server
	$(RUN) pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[$(EXTRAS),services]'
	$(RUN) pytest -m services

.PHONY: bench
bench: install ## the scan and the training step against their floors on this machine's CPU → runs/bench/
	$(BIN)/python tests/bench/cpu.py --out runs/bench

.PHONY: lint
lint: install ## ruff (rules and format) and mypy
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

.PHONY: format
format: install ## rewrite the code in ruff's format, with the fixes that are safe
	$(RUN) ruff check --fix
	$(RUN) ruff format

.PHONY: lock
lock: ## resolve pyproject.toml anew and rewrite constraints.txt
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	grep -e '^torch==' -e '^triton==' constraints.txt > $(VENV)-lock/torch.txt
	$(VENV)-lock/bin/python -m pip install $(PIP_FLAGS) --constraint $(VENV)-lock/torch.txt --editable '.[dev,gpu,services]'
	grep '^#' constraints.txt > $(VENV)-lock/new.txt
	$(VENV)-lock/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/^\(torch==[^+]*\)+.*/\1/' | grep -v -e '^nvidia-' -e '^cuda-' >> $(VENV)-lock/new.txt
	mv $(VENV)-lock/new.txt constraints.txt
	rm -rf $(VENV)-lock

.PHONY: clean
clean: ## remove caches and build products; leaves .venv, runs/ and data/
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find minconv pipeline workflows tests -name __pycache__ -type d -prune -exec rm -rf {} +

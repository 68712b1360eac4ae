# What a newcomer types. The first target that needs Python makes .venv and installs the pinned versions into it.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Real corpora and golden vectors for the tests; they are no part of the project and may be absent.
DARKIT_TEST_DATA ?= $(abspath $(wildcard ../shared/data))
export DARKIT_TEST_DATA
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := $(BIN)/python -m pip install $(if $(CI),--quiet,) --constraint constraints.txt

.PHONY: help setup demo test check check-all bench tools
.DEFAULT_GOAL := help

help:
	@echo "make demo       train a spiking language model on real text, two minutes on a CPU"
	@echo "make test       the test suite"
	@echo "make check      lint, formatting and types"
	@echo "make check-all  all of that, the slow proofs and a quick pass of the benchmarks"
	@echo "make bench      the benchmarks, appended to benchmarks/results/"
	@echo "make setup      only the virtual environment"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "DarKit-NB needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv; the first time this takes a few minutes."
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/darkit-nb demo

# The kernel tests compile C++. Root on Debian gets the compiler; anybody else reads what is missing.
tools:
	@if ! command -v g++ >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++) </dev/null; \
	  fi; \
	  command -v g++ >/dev/null || echo "g++ is missing: the tests that run the CUDA kernels on the CPU will say so." >&2; \
	fi

test: $(READY) tools
	$(BIN)/python -m pytest -m "not slow"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

check-all: check tools
	$(BIN)/python -m pytest
	$(BIN)/python -m benchmarks --quick

bench: $(READY)
	$(BIN)/python -m benchmarks

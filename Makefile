# What a newcomer types. The first target that needs Python makes .venv and installs the pinned versions into it.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Real corpora and golden vectors for the tests; they are no part of the project and may be absent.
DARKIT_TEST_DATA ?= $(abspath $(wildcard ../shared/data))
export DARKIT_TEST_DATA
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_INSTALL := $(BIN)/python -m pip install $(if $(CI),--quiet,) --constraint constraints.txt

# The front end is built when the package is installed, and again when one of these changed.
FRONT := .venv/.front
FRONT_SOURCES := $(shell find extension/src -type f) $(addprefix extension/,build.mjs hatch_build.py install.json \
  package.json package-lock.json tsconfig.json) notebooks/01_quickstart.ipynb
# The CPU library: built where there is a C++ compiler, and everything works without it, slower.
NATIVE := .venv/.native
NATIVE_SOURCES := $(wildcard kernels/cpu/*) darkit_nb/ops/native_build.py
# Where `make lab` works; not in git.
FOLDER ?= playground

.PHONY: help setup demo lab test check check-all bench bench-gpu tools stdlib-llama
.DEFAULT_GOAL := help

help:
	@echo "make demo       train a spiking language model on real text, two minutes on a CPU"
	@echo "make lab        JupyterLab with the quickstart open, in the folder playground"
	@echo "make test       the test suite"
	@echo "make check      lint, formatting and types"
	@echo "make check-all  all of that, the slow proofs and a quick pass of the benchmarks"
	@echo "make bench      the benchmarks, appended to benchmarks/results/"
	@echo "make bench-gpu  those of a GPU; without one they say what is not measured"
	@echo "make setup      only the virtual environment, the front end and the CPU library"
	@echo "make stdlib-llama  train the bundled model anew"
	@echo "make tools      what the tests need besides Python: a compiler, a browser, Graphviz"

setup: $(READY) $(FRONT) $(NATIVE)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "DarKit-NB needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv; the first time this takes a few minutes."
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(READY)

$(FRONT): $(READY) $(FRONT_SOURCES)
	@$(BIN)/python extension/hatch_build.py
	@touch $(FRONT)

$(NATIVE): $(READY) $(NATIVE_SOURCES)
	@if $(BIN)/python darkit_nb/ops/native_build.py; then touch $(NATIVE); fi

demo: $(READY) $(NATIVE)
	$(BIN)/darkit-nb demo

lab: $(READY) $(FRONT) $(NATIVE)
	$(BIN)/darkit-nb lab $(FOLDER) $(OPTIONS)

# The kernel tests compile C++, the widgets are driven in a browser, graphs are drawn by Graphviz. Root on Debian gets
# what is missing; anybody else reads it, and those tests say that they were skipped.
TOOLS := g++:g++ chromium:chromium dot:graphviz
tools:
	@missing() { for pair in $(TOOLS); do command -v "$${pair%%:*}" >/dev/null || echo "$${pair##*:}"; done; }; \
	packages=$$(missing); \
	if [ -n "$$packages" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages) \
	    </dev/null; \
	  packages=$$(missing); \
	fi; \
	[ -z "$$packages" ] || echo "Missing, so some tests will be skipped: $$packages" >&2

# Two files of tests at a time, each test on one core: a machine with two is used whole. JOBS=0 is one after the other.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(READY) $(FRONT) tools
	@$(MAKE) --no-print-directory $(NATIVE)
	$(PYTEST) -m "not slow"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/python extension/hatch_build.py npm run check

check-all: check $(FRONT) tools
	@$(MAKE) --no-print-directory $(NATIVE)
	$(PYTEST)
	$(BIN)/python -m benchmarks --quick

bench: $(READY) $(NATIVE)
	$(BIN)/darkit-nb bench
	$(BIN)/python -m benchmarks.page

bench-gpu: $(READY)
	$(BIN)/darkit-nb bench --device cuda
	$(BIN)/python -m benchmarks.page

# The decoder that comes with the package, trained anew; half an hour on one core.
stdlib-llama: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.stdlib_llama

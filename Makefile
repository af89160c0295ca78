# Works on a fresh clone with Python 3.11 or later and make. `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
# Two workers, one thread each: faster than one worker with two threads, and the same bytes on every machine.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

.DEFAULT_GOAL := help
.PHONY: help env demo test test-fast lint docs bench fuzz clean

help:  ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(READY)  ## the environment in .venv, with the versions of constraints.txt

# torch comes first and by itself, so that a build for the CPU at hand is taken; then nothing replaces it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) pip
	$(PIP) torch
	$(PIP) --group build
	$(PIP) --no-build-isolation --editable '.[all]' --group dev
	touch $@

demo: $(READY)  ## map the cells and genes of real blood cells; no network
	rm -rf demo-run
	$(BIN)/sivae demo -o demo-run
	@echo "Open $(CURDIR)/demo-run/report.html to read, $(CURDIR)/demo-run/explorer.html to explore"

test: lint docs  ## lint, types, import direction, the site, then every test
	$(PYTEST)

test-fast: lint  ## the same without the slow tests
	$(PYTEST) -m "not slow"

lint: $(READY)  ## lint, format, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## the site, in docs/_build/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -j $(WORKERS) -b html docs docs/_build
	@echo "Open $(CURDIR)/docs/_build/index.html"

bench: $(READY)  ## every number that README.md quotes
	@test -d bench || { echo "There is no bench/ in this release."; exit 1; }
	$(BIN)/python -m bench

fuzz: $(READY)  ## readers of saved models and of gene sets, SECONDS each; needs atheris in .venv
	$(BIN)/python scripts/fuzz.py gmt $(or $(SECONDS),300)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py artefact $(or $(SECONDS),300)

clean:  ## remove the environment and everything built
	rm -rf $(VENV) demo-run docs/_build docs/generated .mypy_cache .ruff_cache .pytest_cache

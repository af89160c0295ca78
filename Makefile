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
.PHONY: help env demo test test-fast lint docs bench fuzz build try-wheel audit test-oldest test-newest clean

help:  ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

lint: $(READY)  ## lint, format, types, import direction, licenses of what is brought
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/licenses.py

docs: $(READY)  ## the site, in docs/_build/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "Open $(CURDIR)/docs/_build/index.html"

bench: $(READY)  ## every number that README.md quotes
	@test -d bench || { echo "There is no bench/ in this release."; exit 1; }
	$(BIN)/python -m bench

fuzz: $(READY)  ## readers of saved models and of gene sets, SECONDS each; needs atheris in .venv
	$(BIN)/python scripts/fuzz.py gmt $(or $(SECONDS),300)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py artefact $(or $(SECONDS),300)

# Without isolation, so that nothing is fetched: hatchling is in the environment.
build: $(READY)  ## wheel and sdist, in dist/
	@left=$$(git ls-files --others --exclude-standard 2>/dev/null); test -z "$$left" || \
	  { echo "These files are not tracked, and would be built in: $$left. Add, ignore or remove them."; exit 1; }
	rm -rf dist
	$(BIN)/python -m build --no-isolation

try-wheel: build  ## the wheel in empty environments: bare, and with its extra demo
	PYTHON=$(PYTHON) scripts/try_wheel.sh dist/*.whl

audit: $(READY)  ## known vulnerabilities of what constraints.txt names; needs a network
	$(PIP) --group audit
	$(BIN)/python scripts/audit.py

# Both keep torch at the build of constraints.txt. Deprecations between old and new packages are theirs.
FAST := OMP_NUM_THREADS=1 PYTHONPATH=src
CALM := -m "not slow" -p no:cacheprovider -W ignore::DeprecationWarning -W ignore::FutureWarning
ONLY ?= tests

test-oldest:  ## fast tests with the oldest versions that pyproject.toml allows, in .venv-oldest; ONLY=FILES for some
	scripts/other_versions.sh oldest .venv-oldest $(PYTHON)
	$(FAST) .venv-oldest/bin/python -m pytest $(CALM) $(ONLY)

test-newest:  ## the same with the newest versions, in .venv-newest
	scripts/other_versions.sh newest .venv-newest $(PYTHON)
	$(FAST) .venv-newest/bin/python -m pytest $(CALM) $(ONLY)

clean:  ## remove the environments and everything built
	rm -rf $(VENV) .venv-oldest .venv-newest dist demo-run docs/_build docs/generated .mypy_cache .ruff_cache .pytest_cache

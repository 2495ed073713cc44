# One command for each thing to do. No root, no container engine: Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: demo test fuzz properties soak pictures check fix bench audit sbom
.DEFAULT_GOAL := test

# Done again only when what is to be installed has changed. pip is quiet about what goes well, not about what fails.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, and this is %d.%d: name another one, as in make PYTHON=python3.12" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV), once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## five regions and the broker over them; ARGS=--check runs every read flux once
	@$(BIN)/cds-broker demo $(ARGS)

# Tests wait more than they compute: more workers than processors. One by one, as they go: make test ARGS='-n0 -v …'
# Byte code is kept whatever the environment says: every worker and program that they start would compile it all again.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP)  ## every test
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

fuzz: $(STAMP)  ## hostile requests and answers; FUZZ_SECONDS for each of the two (450), FUZZ_SEED; examples go to fuzz-failures/
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-450} $(BIN)/python -m pytest tests/fuzz -s $(ARGS)

properties: $(STAMP)  ## every property on EXAMPLES (20) times as many examples as make test takes
	@EXAMPLES=$${EXAMPLES:-20} $(BIN)/python -m pytest -n 3 --dist worksteal tests/property tests/unit/core tests/faults/test_bad_input.py $(ARGS)

soak: $(STAMP)  ## hundreds of rounds of kills and restarts, 20 minutes, and SOAK_MINUTES (30) of mixed load; SOAK_SEED, SOAK_ROUNDS
	@$(BIN)/python -m pytest -m soak -s $(ARGS)

pictures: $(STAMP)  ## the README's pictures of the console, taken anew: five minutes; needs Chromium
	@$(BIN)/python -m tests.pictures $(ARGS)

check: $(STAMP)  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP)  ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## the benchmarks: ARGS=--help says what there is; all of them take about half an hour
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-report: $(STAMP)  ## all of them, and deploy/benchmarks.md from it; ARGS='--from FILE…': from results that there are
	@$(BIN)/python -m tests.benchmarks --report $(ARGS)

# What it asks with is installed when it is asked for: nothing else needs it.
$(VENV)/.supply: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[supply]'
	@touch $@

audit: $(VENV)/.supply  ## known vulnerabilities of what is pinned; error 1: some, error 3: they could not be looked up
	@$(BIN)/python deploy/supply/advisories.py $(ARGS)

sbom: $(STAMP)  ## what it is made of, as CycloneDX: dist/cds-broker.cdx.json
	@$(BIN)/python deploy/supply/sbom.py dist/cds-broker.cdx.json

# One command for each thing to do. No root, no container engine: Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: demo test soak check fix bench
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

test: $(STAMP)  ## every test
	@$(BIN)/python -m pytest $(ARGS)

soak: $(STAMP)  ## hundreds of rounds of kills and restarts; SOAK_SEED and SOAK_ROUNDS in the environment, about 20 minutes
	@$(BIN)/python -m pytest -m soak -s $(ARGS)

check: $(STAMP)  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP)  ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## the benchmarks
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# make demo: everything from transcripts to a page you can talk to. make test, make coverage, make lint,
# make format, make setup, make clean.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 7860
BIN    := $(VENV)/bin

.PHONY: setup demo test coverage lint format clean

setup: $(VENV)/.installed

# torch goes first: the other packages must not choose a build of their own.
$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Error: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ".\n  Choose another:  make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(shell grep '^torch==' requirements.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: setup
	@$(BIN)/python scripts/demo.py --port $(PORT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu and not aws" $(ARGS)

coverage: ARGS = --cov --cov-report=term:skip-covered
coverage: test

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What you trained stays: it is under runs/.
clean:
	rm -rf $(VENV) logs .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up its own .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo check check-recorded test evaluate bench lint train schemas clean
.DEFAULT_GOAL := help

help:
	@printf '%s\n' 'make demo      set up, then watch sample sessions being judged on an embedded broker' \
	  'make test      set up, then the whole suite' 'make check     the fast suite, under a minute' \
	  'make setup     the .venv alone' 'make lint      ruff, mypy, import rules, generated documents' \
	  'make evaluate  detection tables and plots on the recorded sessions (DRIFTLINE_DATA)' \
	  'make bench     cost of the core: calls a second, bytes a session'

.venv/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'setting up .venv (once, some 200 MB) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/.installed

demo: setup
	@$(BIN)/driftline demo

check: setup
	@$(BIN)/python -m pytest -q -m 'not slow and not broker and not recorded'

test: setup
	@$(BIN)/python -m pytest -q

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m stream.schemas --check

train: setup
	@$(BIN)/driftline train

evaluate: setup
	@$(BIN)/driftline evaluate

check-recorded: setup
	@DRIFTLINE_SESSIONS=all $(BIN)/python -m pytest -q tests/broker/test_recorded_sessions.py

bench: setup
	@$(BIN)/python benchmarks/core.py

schemas: setup
	@$(BIN)/python -m stream.schemas

clean:
	@rm -rf build .driftline .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

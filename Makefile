# make demo | up | test | proof | lint | format | bench | lock | clean. Each makes the environment .venv first, if need be.
.POSIX:
.SUFFIXES:
SHELL = /bin/sh
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest
# pytest's exit 5 says that nothing was selected: that is not a failure.
OR_NONE = || [ $$? -eq 5 ]
# Analytics and telemetry of every tool stay off, also in tests.
QUIET = DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true DAGSTER_DISABLE_TELEMETRY=yes

.PHONY: help demo up test proof lint format bench lock clean environment environment-test environment-bench

help:
	@echo 'make demo           one night at a simulated site, end to end, checked (BAGS=folder: real recordings too)'
	@echo 'make up             the platform on this machine, until Ctrl-C (PORT_BASE=5000 chooses the ports)'
	@echo 'make test           format, lint, types, import contracts, budgets, tests'
	@echo 'make proof          the long evidence: kill rounds, PostgreSQL, browser, fault worlds'
	@echo 'make lint, format   check or write the house style'
	@echo 'make bench          measured figures with machine and date (PARTS="crashes kills": only these)'
	@echo 'make lock           resolve the locks anew from pyproject.toml'
	@echo 'make clean          remove what was written here (var/, caches, .venv)'

environment:
	@PYTHON='$(PYTHON)' sh requirements/install.sh base

environment-test:
	@PYTHON='$(PYTHON)' sh requirements/install.sh test

environment-bench:
	@PYTHON='$(PYTHON)' sh requirements/install.sh bench

demo: environment
	@$(BIN)/yardmaster demo $(if $(BAGS),--bags '$(BAGS)')

up: environment
	@$(BIN)/yardmaster up $(if $(PORT_BASE),--port-base $(PORT_BASE))

lint: environment-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: environment-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint
	$(QUIET) $(PYTEST) -m 'not proof and not serial' -n 2 --dist loadscope $(OR_NONE)
	$(QUIET) $(PYTEST) -m 'serial and not proof' $(OR_NONE)

proof: environment-test
	$(QUIET) $(PYTEST) -m 'proof and not serial' -n 2 --dist loadscope $(OR_NONE)
	$(QUIET) $(PYTEST) -m 'proof and serial' $(OR_NONE)

bench: environment-bench
	@$(BIN)/python tests/load/bench.py $(PARTS)

lock: environment-test
	sh requirements/lock.sh

clean:
	rm -rf .venv var build yardmaster.egg-info .ruff_cache .mypy_cache .pytest_cache .hypothesis .import_linter_cache

# One screen: `make` prints it. Every target does its own set-up; PYTHON picks the interpreter.
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
.DEFAULT_GOAL := help
.PHONY: help setup demo test tools check format lint types imports deps house contracts bench bench-large soak fuzz fix clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

setup: ## make .venv from the locks; instant when nothing changed
	@command -v $(PYTHON) >/dev/null || { echo "setup: there is no $(PYTHON): install Python 3.11 or newer, or name one: make PYTHON=python3.11 demo" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py

demo: setup ## a day of a real grid: sent, certified, closed, verified, tampered with (ONCE=1, DAYS=7, GRID=…, SPEED=…)
	@$(BIN)/python -m infra.demo

test: setup tools ## every test
	$(BIN)/pytest -n 2 --dist loadgroup

tools: setup ## what some tests need beside Python: the Solidity compiler, JavaScript clients, grid data
	@$(BIN)/python scripts/tools.py

check: setup format lint types imports deps house contracts ## format, lint, types, imports, dependencies, house rules; no test

format:
	$(BIN)/ruff format --check --quiet .
lint:
	$(BIN)/ruff check --quiet .
types:
	$(BIN)/mypy --strict
imports:
	$(BIN)/lint-imports --cache-dir .cache/import-linter
deps:
	$(BIN)/deptry . --per-rule-ignores "DEP002=coincurve|python-pkcs11,DEP004=solcx"
house:
	$(BIN)/pytest -q -p no:cacheprovider tests/test_tidy.py
contracts:
	$(BIN)/python -m contracts.build check

format lint types imports deps house contracts: setup

bench: setup ## the figures of docs/benchmarks.md, as ratios taken in one run
	@$(BIN)/python -m tests.bench

bench-large: setup ## what grows with the log, 10^4 to 10^7 entries: ten minutes and 4 GB of disk
	@$(BIN)/python -m tests.bench.large

soak: setup tools ## the long forms: faults of disks, servers and chains, simulated days with faults by seed; five hours and 6 GB
	GRIDSEAL_SOAK=1 $(BIN)/pytest --timeout=21600 -n 2 --dist loadgroup tests/adapters/kafka tests/adapters/test_chain_faults.py tests/adapters/test_chain_lies.py tests/faults tests/journey/test_servers_die.py tests/journey/test_roles.py
	$(BIN)/python -m tests.simulation --seed 1000 --seeds 100 --meters 100
	$(BIN)/python -m tests.simulation --seed 5 --meters 100000

fuzz: setup ## a million damaged inputs to each parser of outside bytes (N=…, TARGETS="cim der"); hours
	@$(BIN)/python -m tests.fuzz --inputs $(or $(N),1000000) $(TARGETS)

fix: setup ## format, mend what can be mended, write the generated pages anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python scripts/standards.py
	$(BIN)/python scripts/inspect_page.py

clean: ## remove .venv, caches and downloads; data folders stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

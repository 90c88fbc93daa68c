# Every target makes what it needs, .venv included. Needed beforehand: make and Python 3.11+.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EMULATORS := .emulators/.installed

# `make test PYTEST_ARGS='tests/unit -x'` runs a part of the tests.
PYTEST_ARGS ?=
# How many processes share the tests; with 0 they run in one, so that a debugger can be used.
TEST_PROCESSES ?= 2
# `make conformance BACKEND=sqlite`
BACKEND ?= memory
# `make bench BENCH_ARGS='--quick'`
BENCH_ARGS ?=
# `make kill ROUNDS=20 SEED=7`
ROUNDS ?= 200
SEED ?= 1

# Directories with Python in them; those that are not there yet are left out.
CODE := $(foreach dir,src tests benchmarks examples,$(if $(shell find $(dir) -name '*.py' 2>/dev/null | head -n 1),$(dir)))

# The tests start hundreds of processes, which would all compile the same modules.
export PYTHONDONTWRITEBYTECODE :=

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install emulators browser screenshots demo demo-aws test conformance check lint types imports bench bench-durable bench-lists bench-simulation kill format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Create .venv with the package and the development tools

emulators: $(EMULATORS) ## Install the emulators of AWS that tests and demos use

# A browser is the system's, not Python's: as root on Debian and its kin it is installed, elsewhere one
# that is there is used, and without any the tests of pages are left out.
browser: ## See that there is a Chromium for the tests of pages
	@for name in "$$FLOWCRAFT_CHROMIUM" chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v "$$name" >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing chromium ..." >&2; \
	  apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0; fi; \
	echo "There is no Chromium: tests of pages are left out. Install one, or name it: FLOWCRAFT_CHROMIUM=..." >&2

demo: $(STAMP) ## Run an example workflow and show what happens
	@$(PY) -m examples.demo

demo-aws: $(STAMP) $(EMULATORS) ## The same on SQS and DynamoDB, by an emulator on this machine
	@$(PY) -m examples.demo_aws

test: $(STAMP) $(EMULATORS) browser ## Run all tests, the conformance corpus included
	@$(PY) -m pytest -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

conformance: $(STAMP) ## Compare with the recorded corpus alone, case by case (BACKEND=memory)
	@$(PY) -m tests.conformance.check tests/conformance/cases --backend $(BACKEND)

# While one core looks for types the other installs what the tests need. The tests come last and by
# themselves, also under -j, so that their closing line is the last.
check: $(STAMP) ## Everything that must hold: format, lint, types, imports, tests
	@$(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j2) lint types imports emulators browser
	@$(MAKE) test

lint: $(STAMP) ## Check format and lint rules
	@$(VENV)/bin/ruff format --quiet --check $(CODE) || { echo "Run 'make format'." >&2; exit 1; }
	@$(VENV)/bin/ruff check --quiet $(CODE)

types: $(STAMP) ## Check types, strictly
	@$(VENV)/bin/mypy --no-error-summary $(CODE)

imports: $(STAMP) ## Check the direction of imports
	@$(VENV)/bin/lint-imports > $(VENV)/imports.log 2>&1 || { cat $(VENV)/imports.log; exit 1; }

bench: $(STAMP) ## Run the benchmarks in process
	@$(PY) -m benchmarks $(BENCH_ARGS)

bench-simulation: $(STAMP) ## Count the simulated runs that a core plays in a second, three minutes
	@$(PY) -m benchmarks.simulated $(BENCH_ARGS)

bench-durable: $(STAMP) ## Run the benchmarks of durable runs on SQLite, about five minutes
	@$(PY) -m benchmarks.durable $(BENCH_ARGS)

bench-lists: $(STAMP) ## Measure pages of lists among 100,000 runs in SQLite
	@$(PY) -m benchmarks.lists $(BENCH_ARGS)

kill: $(STAMP) ## Kill workers of the demo at seeded moments (ROUNDS=200 SEED=1)
	@$(PY) -m tests.acceptance.killing --rounds $(ROUNDS) --seed $(SEED)

screenshots: $(STAMP) browser ## Take the pictures of the dashboard for the documentation
	@$(PY) -m tests.browser.screenshots

format: $(STAMP) ## Rewrite the code in the common format and mend what can be mended
	@$(VENV)/bin/ruff check --quiet --fix-only $(CODE)
	@$(VENV)/bin/ruff format --quiet $(CODE)

clean: ## Remove .venv, emulators, caches and build products
	@rm -rf $(VENV) .emulators .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist benchmarks/.cache
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is touched last: an installation that broke off is done again.
$(STAMP): pyproject.toml constraints-dev.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot create virtual environments (no ensurepip). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Preparing $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check --no-input -c constraints-dev.txt -e '.[dev]' </dev/null
	@touch $@

$(EMULATORS): constraints-emulators.txt tests/emulators/install.py | $(STAMP)
	@$(PY) -m tests.emulators install
	@touch $@

# `make simulate RUNS=5000 SEED=7 GRAPH=diamond FAULT=lost BACKEND=aws JOBS=2`; GRAPH=random draws
# workflows by lot.
RUNS ?= 5000
GRAPH ?=
FAULT ?=
JOBS ?= 1
.PHONY: simulate
simulate: $(STAMP) ## Simulate workflows while everything goes wrong (RUNS=5000 SEED=1 GRAPH= BACKEND=memory)
	@$(PY) -m flowcraft.testing.simulate --runs $(RUNS) --seed $(SEED) --backend $(BACKEND) --jobs $(JOBS) \
	  $(GRAPH:%=--graph %) $(FAULT:%=--fault %)

# `make soak RUNS=10000 DAYS=7 SEED=7 BACKEND=aws`
DAYS ?= 7
.PHONY: soak
soak: $(STAMP) ## Let a fleet work for days of virtual time (RUNS=5000 DAYS=7 SEED=1 BACKEND=memory)
	@$(PY) -m flowcraft.testing.simulate.soak --runs $(RUNS) --days $(DAYS) --seed $(SEED) --backend $(BACKEND)

# `make chaos RUNS=200 SEED=7 WORKERS=3 KILL_EVERY=2 FAULTS=0.05`
WORKERS ?= 3
KILL_EVERY ?= 2
FAULTS ?= 0.05
CHAOS_RUNS := $(if $(filter file,$(origin RUNS)),2000,$(RUNS))
.PHONY: chaos
chaos: $(STAMP) $(EMULATORS) ## Kill and stop real workers behind a faulty network (RUNS=2000 SEED=1 KILL_EVERY=2 FAULTS=0.05)
	@$(PY) -m tests.acceptance.chaos --runs $(CHAOS_RUNS) --seed $(SEED) --workers $(WORKERS) \
	  --kill-every $(KILL_EVERY) --faults $(FAULTS)

.PHONY: fixtures
fixtures: $(STAMP) ## Write what the runs of this release are like, for those that come after it
	@$(PY) -m tests.fixtures.releases.make

# `make ablate NAME=fencing-token RUNS=2000 SEED=7`
NAME ?=
ABLATE_RUNS := $(if $(filter command line environment,$(origin RUNS)),$(RUNS),2000)
.PHONY: ablate
ablate: $(STAMP) ## Take safeguards away, and see that it is noticed (NAME= RUNS=2000 SEED=1)
	@$(PY) -m tests.ablations $(NAME) --runs $(ABLATE_RUNS) --seed $(SEED)

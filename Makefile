.DEFAULT_GOAL := help
PY := .venv/bin/python
DEMO := adapters/demo
# The tests of one file stay together; two files for each core, for they also wait for each other's
# clocks, disks and processes. Those of the engine run two at once, each with half of the cores: a
# start is little more than imports on one core, and two threads are not twice as fast as one.
PARALLEL := -n $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN)) --dist loadfile
TWO := -n 2 --dist loadfile --no-loadscope-reorder
ENGINE := engine and not services and not matrix and not clients and not models

serve: setup  ## Set everything up and serve the embedded model with the demo adapters
	@exec env VENEER_ADAPTERS__ROOTS='$(if $(VENEER_ADAPTERS__ROOTS),$(VENEER_ADAPTERS__ROOTS),["$(DEMO)"])' .venv/bin/veneer serve

setup:  ## Only set everything up: virtual environment, engine, embedded model
	@scripts/install engine

dev: tools  ## Serve the echo engine: the whole API without a model, in a second
	@exec env VENEER_ADAPTERS__ROOTS='["$(DEMO)"]' .venv/bin/veneer serve --engine echo

tools:
	@scripts/install dev

# Assertions are rewritten and modules compiled once, not by every worker and program of a run.
quick-tests slow-tests engine-tests: export PYTHONDONTWRITEBYTECODE =

check: tools lint  ## Everything that needs no engine: lint, types, layers, unit and service tests
	@$(MAKE) -j 2 --output-sync --no-print-directory types quick-tests

lint:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/hadolint Dockerfile
	$(PY) deploy/grafana/generate.py --check
	$(PY) scripts/lock.py --check
	$(PY) scripts/members.py --check
	cd tests && ../$(PY) -m clients.matrix --check
	cd tests && ../$(PY) -m models.matrix --check
	cd tests && ../$(PY) -m conformance.compatibility --check

types:
	.venv/bin/mypy

quick-tests:
	$(PY) -m pytest $(PARALLEL) --ignore tests/service --ignore tests/tenancy -m "not engine and not services and not slow"

test: test-tools $(if $(filter done,$(QUICK_TESTS)),,quick-tests) slow-tests engine-tests  ## Every test that needs nothing but Python packages, the real engine included

test-tools:
	@scripts/install test

slow-tests: test-tools
	$(PY) -m pytest $(PARALLEL) -m "slow and not engine and not services and not clients"

engine-tests: test-tools
	CORES=apart $(PY) -m pytest $(TWO) --durations=30 -m "$(ENGINE)"

test-services:  ## Tests that need system packages (installed as root on Debian)
	@scripts/install test
	@scripts/install browser
	@scripts/services
	$(PY) -m pytest $(TWO) --durations=10 -m services

clients:  ## 24 client libraries against the real engine, in 12 minutes: CLIENTS=--write records it
	@scripts/install clients
	$(PY) -m pytest -m clients tests/clients $(CLIENTS)

models: test-tools  ## Tiny base models of 20 kinds, each with five adapters, in 11 minutes: MODELS=--record records it
	$(PY) -m pytest tests/models $(MODELS)

# Most of them wait for an engine to start, so three run at once, each test for itself.
faults: test-tools  ## Only the fault matrix: engines killed and stopped, full disks, lost catalogs, hostile clients
	$(PY) -m pytest -n 3 --dist loadgroup --durations=30 -m "not services" tests/faults

soak: test-tools  ## Minutes of clients, changes and faults, and a check of all ledgers: SOAK="--minutes 30"
	@cd tests && ../$(PY) -m soak $(SOAK)

bench:  ## Measure the server against its peers, side by side: BENCH=--quick for some minutes, not an hour
	@scripts/install bench
	@.venv/bin/veneer bench $(BENCH)

gpu-check:  ## On a CUDA machine, 12 minutes: the main job, exactness, speed beside vLLM; needs no network
	$(PY) tests/bench/gpu_check.py $(GPU_CHECK)

dashboards:  ## Write Grafana's files again, after a change of deploy/grafana/*.py
	$(PY) deploy/grafana/generate.py

docs:  ## Write docs/members.md again, after a change of the tables of members
	$(PY) scripts/members.py

lock: tools  ## Write requirements/ again, after a change of dependencies: LOCK=--upgrade for newer versions
	$(PY) scripts/lock.py $(LOCK)

train:  ## Train the demo adapters again
	@scripts/install train
	$(PY) adapters/demo/training/train.py

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: serve setup dev tools check lint types test test-tools quick-tests slow-tests engine-tests test-services clients models faults soak bench gpu-check dashboards docs lock train help

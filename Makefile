# make demo: train, predict, evaluate and report on a synthetic dataset.   make test: all tests.
# Each sets up the environment by itself; VENV=/some/folder uses another one.
# make test EXTRAS=test,spark: with the tests that start Apache Spark, which are skipped without it.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
EXTRAS ?= test
comma := ,
READY := $(VENV)/.segcct-ready-$(subst $(comma),-,$(EXTRAS))
# Test processes side by side, one thread each.
JOBS ?= 2

.PHONY: demo test install lint docs bench

install: $(READY)

# The environment may be shared by several checkouts: each runs its own sources.
export PYTHONPATH := $(CURDIR)
# Compiled modules are kept, so that each process starts faster, whatever the caller's environment says.
unexport PYTHONDONTWRITEBYTECODE

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[$(EXTRAS)]'
	@touch $@

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/segcct demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@# Without a limit, a test process that crashes is replaced, and the run can wait for its tests forever.
	PYTHONUTF8=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --max-worker-restart 0

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python docs/generate_reference.py

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python benchmarks/speed_models.py
	$(BIN)/python benchmarks/metrics.py

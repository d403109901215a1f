# make demo: train, predict, evaluate and report on a synthetic dataset.   make test: all tests.
# Each sets up the environment by itself; VENV=/some/folder uses another one.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.segcct-ready
DEMO := runs/demo
PHANTOM := data/brats_phantom
# Epochs, not minutes, so that the demo gives much the same figures on any machine.
EPOCHS ?= 3
M2I_EPOCHS ?= 6

.PHONY: demo test install lint bench

install: $(READY)

# The environment may be shared by several checkouts: each runs its own sources.
export PYTHONPATH := $(CURDIR)

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[test]'
	@touch $@

$(PHANTOM): | $(READY)
	rm -rf $(PHANTOM).part
	$(BIN)/segcct phantom brats $(PHANTOM).part --cases 16
	mv $(PHANTOM).part $(PHANTOM)

demo: $(READY) $(PHANTOM)
	rm -rf $(DEMO)
	$(BIN)/python scripts/train_seg.py --config configs/brats_cct_unet.yaml \
		--data.root $(PHANTOM) --run.name demo --train.epochs $(EPOCHS)
	$(BIN)/python scripts/predict.py --model $(DEMO)/best --input $(PHANTOM) --split test --output $(DEMO)/predictions
	$(BIN)/python scripts/evaluate.py --prediction $(DEMO)/predictions --reference $(PHANTOM) --scheme brats2021 \
		--output $(DEMO)/evaluation
	$(BIN)/segcct report --evaluation $(DEMO)/evaluation --output $(DEMO)/report \
		--picture $(DEMO)/report/panel.png
	$(BIN)/python scripts/train_m2i.py --config configs/brats_m2i.yaml \
		--data.root $(PHANTOM) --run.root $(DEMO) --run.name m2i --train.budget null \
		--train.epochs $(M2I_EPOCHS) --train.validate_every 3
	$(BIN)/python scripts/compare_i2m_m2i.py --i2m $(DEMO)/best --m2i $(DEMO)/m2i/best --input $(PHANTOM) --split test \
		--precision bf16 --output $(DEMO)/comparison
	@echo "Look at $(DEMO)/report/report.html (scores) and $(DEMO)/comparison/report.html (what the masks explain);"
	@echo "the masks are in $(DEMO)/predictions, the figures in $(DEMO)/evaluation."

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONUTF8=1 $(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python benchmarks/speed_models.py
	$(BIN)/python benchmarks/metrics.py

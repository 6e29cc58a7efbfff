# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(firstword $(wildcard $(foreach n,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(n)))))
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# For every install: such as `--extra-index-url ADDRESS` of PyTorch's CPU builds, where PyPI's torch is gigabytes of CUDA.
PIP_OPTIONS ?=
export PIP_OPTIONS

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-gpu coverage test-peers test-platforms test-packaging test-lowest release-check lint docs evidence mutation clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY)  ## build .venv with everything that demo and test need

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "a2sg needs Python 3.11 or later: '$(PYTHON)' was not found (set PYTHON=...)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP_OPTIONS) -c constraints.txt torch
	$(BIN)/python -m pip install -q $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	touch $@
	@echo "Ready. '. $(BIN)/activate' puts the command a2sg on your path."

demo: $(READY)  ## train a spiking network on real digits with A2SG, against a fixed boxcar
	$(BIN)/a2sg compare digits --arms fixed,a2sg --seeds 0 --out runs/demo --overwrite

# Two workers of one thread each: more threads than cores wait for each other.
test: $(READY)  ## lint, types, and the everyday tests
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

test-all: $(READY)  ## every test, the slow ones too
	$(MAKE) --no-print-directory lint
	A2SG_GPU_TESTS=$${A2SG_GPU_TESTS:-auto} OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Compiling kernels takes most of the time, so there is a process for each core.
test-gpu: $(READY)  ## the tests for a CUDA card
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 12 -m gpu

# Processes that tests start count too. Of the figures, the files with most lines that nothing ran stand first.
coverage: $(READY)  ## the share of src that the everyday tests run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not gpu" --cov --cov-report=
	$(BIN)/coverage report --skip-covered --sort=-miss

# Each version in a process of its own: its folder in front of the environment.
test-peers: $(READY)  ## adapted models of other libraries, which are fetched into .venv-peers
	PYTHON=$(abspath $(BIN)/python) tests/peers/setup
	for name in current spikingjelly-0.0.0.0.14 spikingjelly-0.0.0.0.12; do \
		A2SG_TEST_PEERS=$$name PYTHONPATH=.venv-peers/versions/$$name OMP_NUM_THREADS=1 \
			$(BIN)/python -m pytest -n 2 tests/peers || exit 1; \
	done
	A2SG_TEST_PEERS=onnx PYTHONPATH=.venv-peers/versions/onnx OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest tests/peers/test_peer_onnx.py

# ROWS chooses: names of tests/platforms/platforms.txt, and --core for the core alone.
test-platforms: $(READY)  ## the everyday tests on other Pythons and torches, each a Debian in a folder (root, debootstrap)
	tests/platforms/run $(ROWS)

test-packaging:  ## wheel and source archive, each where torch and numpy alone are installed
	PYTHON=$(PYTHON) tests/packaging/run

test-lowest:  ## the everyday tests with the lowest admitted versions (Python 3.11)
	tests/packaging/lowest

release-check: $(READY)  ## what must hold before a version is tagged (docs/release.md), more than an hour
	$(BIN)/python tests/packaging/release.py

# A copy of the tree is changed, one place at a time. SHARE of all places, drawn by SEED; ONLY in paths with this word.
SHARE ?= 0.1
SEED ?= 0
ONLY ?=
mutation: $(READY)  ## the share of small changes to the source that make a test fail; hours
	test -e .mutation/site/cosmic_ray || $(BIN)/python -m pip install -q --target .mutation/site cosmic-ray==8.7.0
	OMP_NUM_THREADS=1 PYTHONPATH=.mutation/site $(BIN)/python tests/mutation/score.py \
		.mutation/$(or $(ONLY),all)-$(SHARE)-$(SEED).sqlite --share $(SHARE) --seed $(SEED) --only '$(ONLY)'

lint: $(READY)  ## ruff and mypy, spelling and words
	$(BIN)/codespell
	$(BIN)/python tests/support/prose.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

evidence: $(READY)  ## judge every claim by the stored comparisons, into docs/evidence.md
	$(BIN)/python evidence/ledger.py

clean:  ## remove what was built here, runs excepted
	rm -rf $(VENV) .mutation site .coverage .pytest_cache .ruff_cache .mypy_cache .hypothesis

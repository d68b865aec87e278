# On a fresh machine, `make demo` and `make test` need only python3, pip, make and gcc.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
REFERENCE := $(VENV)/world
OUT    ?= runs/demo
MINUTES ?= 14
EVIDENCE ?= runs/evidence
# Starts its own processes, which wait for one another.
ALONE   := tests/fuse/test_wrapped.py

.PHONY: demo test quick check bench dist evidence evidence-pause evidence-weights gpu-evidence insertion experiments catalogue docs clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/\t/' | expand -t 14

demo: $(VENV)/installed  ## train with and without SE on bundled images, and write a report
	$(BIN)/senet compare $(if $(wildcard $(OUT)/comparison.json),--resume,--out) $(OUT)

test: check  ## lint, types, and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --ignore $(ALONE) $(PYTEST_ARGS)
	$(BIN)/python -m pytest $(ALONE)

quick: check  ## lint, types, and the fast half of the tests, within two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow" tests $(PYTEST_ARGS)

check: $(VENV)/developing $(REFERENCE)/installed  ## lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(VENV)/developing $(REFERENCE)/installed  ## time the passes, the tails and whole networks; half an hour
	$(BIN)/python -m benchmarks.ops.passes
	$(BIN)/python -m benchmarks.ops.small
	$(BIN)/python -m benchmarks.ops.early
	$(BIN)/python -m benchmarks.ops.layers
	$(BIN)/python -m benchmarks.ops.pointwise
	$(BIN)/python -m benchmarks.shared
	$(BIN)/python -m benchmarks.ops.tails
	$(BIN)/python -m benchmarks.models.networks
	$(BIN)/python -m benchmarks.models.recording
	$(BIN)/python -m benchmarks.models.gates
	$(BIN)/python -m benchmarks.models.shares
	$(BIN)/python -m benchmarks.models.thresholds
	$(BIN)/python -m benchmarks.models.blocks
	$(BIN)/python -m benchmarks.models.surgery
	$(BIN)/python -m benchmarks.document

evidence: $(VENV)/installed  ## train CIFAR with and without SE on one thread; hours; repeat to continue
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m benchmarks.evidence --folder $(EVIDENCE)

evidence-pause:  ## stop these trainings at once, with a checkpoint
	$(BIN)/python -m benchmarks.evidence.running $(EVIDENCE)

evidence-weights:  ## put the trained networks of the first seed into the package
	$(BIN)/python -m benchmarks.evidence.weights --folder $(EVIDENCE)

gpu-evidence: $(VENV)/developing $(REFERENCE)/installed  ## GPU tests, timings, trainings, within MINUTES=14; repeat to continue
	$(BIN)/python -m benchmarks.gpu --minutes $(MINUTES)
	$(BIN)/python -m benchmarks.document

docs: $(VENV)/installed  ## write the tables of the documents from the newest records
	$(BIN)/python -m benchmarks.document

catalogue: $(VENV)/installed  ## recount the networks, after one was added or changed
	$(BIN)/python -m senet.models.describe.catalogue

insertion: $(VENV)/installed  ## fine-tune networks with SE inserted; needs the development data
	$(BIN)/python -m benchmarks.insertion
	$(BIN)/python -m benchmarks.document

experiments: $(VENV)/installed  ## repeat the experiments of docs/experiments.md; hours
	$(BIN)/python -m benchmarks.experiments

dist: $(VENV)/releasing  ## what pip installs: an sdist, a wheel with the C library and one without, tried, in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist/built
	SENET_PURE=1 $(BIN)/python -m build --wheel --outdir dist
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir dist dist/built/*-linux_*.whl
	mv dist/built/*.tar.gz dist && rm -r dist/built
	$(BIN)/twine check --strict dist/*
	SENET_DIST=$(CURDIR)/dist $(BIN)/python -m pytest tests/test_dist.py tests/test_version.py

clean:  ## remove the environment and all build outputs
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info
	find src -name '*.so' -delete

# --- the environment ---

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml setup.py constraints.txt $(wildcard src/senet/ops/native/*.[ch])
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/releasing: $(VENV)/developing
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[release]'
	touch $@

# The real timm and torchvision, which benchmarks/reference_libraries.py loads. They stay outside the
# environment: with a CPU build of torch, torchvision lacks its compiled operators, and libraries that
# find it there break.
$(REFERENCE)/installed: $(BIN)/python constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --target $(REFERENCE) --upgrade timm torchvision
	touch $@

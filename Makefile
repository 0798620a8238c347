# Everything a developer runs. Needs Python 3.10 or newer with venv and pip; `make PYTHON=python3.12 test` picks one.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
SOURCES := ckpt_core plugins tests examples benchmarks

.PHONY: help venv test lint types imports pytest demo bench architectures format clean

help:
	@echo "make test    set up, then lint, types, import rules, tests with coverage, and the docs' examples"
	@echo "make demo    train a digits classifier in PyTorch and Flax; inspect, convert and compare the checkpoints;"
	@echo "             then stop a run in PyTorch, go on in JAX and back, and draw its loss"
	@echo "make bench   the benchmarks, side by side with what one would write by hand"
	@echo "make architectures  plans found for every architecture of two libraries that have both frameworks, against their own conversion"
	@echo "make format  apply ruff's formatting and its safe fixes"
	@echo "make clean   remove what the above made, the virtual environment included"

venv: $(STAMP)

# torch first, alone: no other package may choose its build. Without build isolation the locked hatchling builds.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

# pytest comes last, so that its summary ends the output.
test: lint types imports pytest

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# The code fences of README.md and docs/ are tests/test_docs.py.
pytest: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term

# Neither session keeps two cores busy, so they run side by side; the second is printed last.
CROSSING := $(VENV)/resume_across.log
demo: $(STAMP)
	@$(BIN)/python examples/resume_across/session.py >$(CROSSING) 2>&1 & crossing=$$!; \
	$(BIN)/python examples/demo/session.py; demo=$$?; \
	wait $$crossing; crossed=$$?; \
	cat $(CROSSING); \
	exit $$((demo | crossed))

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run

# An environment of its own: the libraries still have both frameworks, and work with older ones. CI does not run it.
ARCHITECTURES := benchmarks/out/architectures

architectures: $(STAMP)
	test -x $(ARCHITECTURES)/venv/bin/python || $(PYTHON) -m venv $(ARCHITECTURES)/venv
	$(ARCHITECTURES)/venv/bin/python -m pip install --quiet torch==2.13.0
	$(ARCHITECTURES)/venv/bin/python -m pip install --quiet --requirement benchmarks/architectures/requirements.txt
	$(ARCHITECTURES)/venv/bin/python benchmarks/architectures/dump.py $(ARCHITECTURES)/models 3
	$(ARCHITECTURES)/venv/bin/python benchmarks/architectures/dump_diffusion.py $(ARCHITECTURES)/models
	$(BIN)/python -m benchmarks.architectures.evaluate $(ARCHITECTURES)/models --results $(ARCHITECTURES)/results.json -v
	$(BIN)/python -m benchmarks.architectures.evaluate $(ARCHITECTURES)/models --crossed -v
	$(BIN)/python -m benchmarks.architectures.table $(ARCHITECTURES)/results.json

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf benchmarks/out examples/demo/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

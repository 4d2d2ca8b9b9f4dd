# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROS := $(VENV)/.ros

.DEFAULT_GOAL := help
.PHONY: help install ros demo test test-slow test-ros lint bench docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(STAMP)  ## install into .venv what everything else needs

# Made anew only when what is installed has changed. Without OpenGL on the machine, a wheel brings a software renderer.
$(STAMP): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[sim,models,onnx,train,serve,habitat,dev]'
	@if ! $(BIN)/si-embodied doctor --has-opengl; then \
		echo "No OpenGL renderer on this machine: installing one from a wheel."; \
		$(BIN)/python -m pip install --quiet --no-deps lavavu-osmesa \
			|| echo "That failed; pictures will be traced by rays, which is slow."; \
	fi
	@touch $@

ros: $(ROS)  ## ROS 2 from PyPI and our interfaces into .venv; needs a C++ compiler. An installed ROS 2 needs colcon instead

$(ROS): $(STAMP) $(shell find interfaces -type f -not -name '*.pyc')
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ros]'
	$(BIN)/python interfaces/build.py $(if $(wildcard $(ROS)),--force)
	@touch $@

demo: $(STAMP)  ## both worlds, every policy, a few episodes: a table, records and videos under runs/demo/
	$(BIN)/si-embodied demo

test: $(STAMP)  ## the tests, without the slow ones
	$(BIN)/python -m pytest

test-slow: $(STAMP)  ## the statistical tests: an hour or more
	$(BIN)/python -m pytest -m slow --timeout 7200

test-ros: $(ROS)  ## the statistical tests over ROS: 20 episodes in each world
	$(BIN)/python -m pytest tests/ros -m slow --log-cli-level INFO

lint: $(STAMP)  ## ruff, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## benchmarks, as ratios within one run
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

docs: $(STAMP)  ## links and commands of the documents
	$(BIN)/python -m pytest tests/test_docs.py

clean:  ## remove what was built; .venv stays
	rm -rf build dist install log *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Start with `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROS := $(VENV)/.ros
GPU := $(VENV)/.gpu
SITE := $(VENV)/.site

.DEFAULT_GOAL := help
.PHONY: help install ros demo test test-here test-nodes coverage test-slow test-ros chaos soak reliability fuzz lint bench validate docs reference clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(STAMP)  ## create .venv and install everything that the other commands need

# Runs again only when the dependencies have changed. A machine without OpenGL gets a software renderer from a wheel.
$(STAMP): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[sim,models,onnx,train,serve,habitat,export,dev]'
	@if ! $(BIN)/si-embodied doctor --has-opengl; then \
		echo "No OpenGL renderer on this machine: installing one from a wheel."; \
		$(BIN)/python -m pip install --quiet --no-deps lavavu-osmesa \
			|| echo "That failed; images will be ray traced, which is slow."; \
	fi
	@touch $@

# With an NVIDIA GPU: 8-bit and 4-bit weights, and onnxruntime's build for CUDA in place of the one for the CPU, which are one module. On a
# Jetson, NVIDIA's build of onnxruntime-gpu is installed by hand (docs/onnx.md).
$(GPU): $(STAMP)
	@if command -v nvidia-smi >/dev/null; then \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[quant]'; \
		if test "$$(uname -m)" = x86_64; then \
			$(BIN)/python -m pip uninstall --quiet --yes onnxruntime; \
			$(BIN)/python -m pip install --quiet --force-reinstall --no-deps -c constraints.txt onnxruntime-gpu; \
		fi; \
	fi
	@touch $@

ros: $(ROS)  ## add ROS 2 from PyPI and our interfaces to .venv (needs a C++ compiler; with ROS 2 installed, use colcon instead)

$(ROS): $(STAMP) $(shell find interfaces -type f -not -name '*.pyc')
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ros]'
	$(BIN)/python interfaces/build.py $(if $(wildcard $(ROS)),--force)
	@touch $@

demo: $(STAMP)  ## run a few episodes of every policy in both worlds; results, records and videos go to runs/demo/
	$(BIN)/si-embodied demo

test: test-here test-nodes  ## run the fast tests; make -j2 -O test runs those of the nodes beside the others

test-here: $(STAMP)  # all others, at a lower priority: those of test-nodes, if they run at the same time, measure how fast a robot stops
	nice $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --ignore tests/ros

test-nodes: $(STAMP)  # those, which mostly wait; without ROS all are skipped, which pytest says with status 5
	$(BIN)/python -m pytest tests/ros || test $$? -eq 5

coverage: $(STAMP)  ## print the line coverage of the core, servers, policies and sensing
	$(BIN)/python -m pytest -qq --cov --cov-report= $(filter-out tests/test_docs.py tests/test_packaging.py,$(wildcard tests/test_*.py)) \
		tests/backends tests/calibration tests/sensor_noise tests/skills tests/serving tests/policies tests/ros_nodes
	@$(BIN)/coverage report | awk '$(BY_PACKAGE)' | sort

# Sums coverage's table of files by package, which coverage itself cannot do.
define BY_PACKAGE
$$1 ~ /[.]py$$/ { name = $$1; sub("/[^/]*$$", "", name); lines[name] += $$2; missed[name] += $$3; all += $$2; left += $$3 } \
END { for (name in lines) printf "%-22s %5d lines %4d%% covered\n", name, lines[name], 100 - 100 * missed[name] / lines[name]; \
	printf "total %22d lines %4d%% covered\n", all, 100 - 100 * left / all }
endef

test-slow: $(STAMP)  ## run the statistical tests: an hour or more
	$(BIN)/python -m pytest -m slow --timeout 7200

test-ros: $(ROS)  ## run 20 episodes of each world over ROS, and 3 whose planning server dies
	$(BIN)/python -m pytest tests/ros -m slow -k "not many" --log-cli-level INFO

SEED ?= 0
chaos: $(ROS)  ## inject faults at random into the ROS stack of both robots for 10 minutes: make chaos SEED=1
	PYTHONPATH=tests/ros:tests/chaos $(BIN)/python tests/chaos/chaos.py --seed $(SEED)

soak: $(ROS)  ## run the ROS stack for an hour of simulated time at 30 images a second: nothing may grow
	PYTHONPATH=tests/ros:tests/chaos $(BIN)/python tests/chaos/soak.py

reliability: $(STAMP)  ## run the tests of tests/faults and write docs/reliability.md: what is promised when something fails
	$(BIN)/python -m pytest tests/faults --write-reliability

fuzz: $(STAMP)  ## feed a million damaged inputs to the readers of files, messages and answers: ten minutes
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/fuzz/fuzz.py

lint: $(STAMP)  ## check style, formatting, types, insecure calls and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit -q -r si_embodied envs policies ros_nodes launch interfaces -c pyproject.toml
	$(BIN)/hadolint deploy/docker/*.Dockerfile
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(BIN)/mypy; \
		else echo "Skipping mypy: scipy's type stubs need Python 3.11."; fi

bench: $(STAMP)  ## run the benchmarks; they compare within one run, so read the ratios
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

MODEL ?=
EPISODES ?= 50
validate: $(GPU)  ## measure a checkpoint on this machine's GPU, in one report to send back: make validate MODEL=DIR
	$(BIN)/si-embodied validate --model '$(MODEL)' --episodes $(EPISODES) $(ARGS)

docs: $(SITE)  ## check the documents and build a site of them in build/docs, which needs no network
	$(BIN)/python -m pytest tests/test_docs.py tests/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open build/docs/index.html"

$(SITE): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

reference: $(STAMP)  ## write docs/reference: every flag, ROS parameter, message and code
	$(BIN)/python docs/site/write_reference.py

clean:  ## delete build results and caches; keep .venv
	rm -rf build dist install log *.egg-info .coverage .test-ros.txt .pytest_cache .mypy_cache .ruff_cache

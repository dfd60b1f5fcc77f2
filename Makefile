# Everything a developer types. Each target builds its own environment in .venv when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint bench docs docs-check wheel test-browser gpu-check clean setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "nsightkit needs Python 3.11 or newer, and \
	$(PYTHON) is $$($(PYTHON) -V 2>&1); name another one:  make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,browser]'
	touch $(STAMP)

# Profiles a small decode workload with what this machine has, and renders the report.
demo: $(STAMP)
	$(BIN)/nsightkit profile --tool auto --tokens 16

test: lint docs-check $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/browser

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

docs: $(STAMP)
	$(BIN)/python docs/generate.py

docs-check: $(STAMP)
	$(BIN)/python docs/generate.py --check

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/pytest tests/test_wheel.py

# Chromium is a system package: root installs it here, anybody else is told the command.
test-browser: $(STAMP)
	@command -v chromium >/dev/null || if [ "$$(id -u)" = 0 ]; then \
	  apt-get -qq update && apt-get -qq install -y chromium >/dev/null; \
	else echo "chromium is missing; as root: apt-get install chromium"; exit 1; fi
	$(BIN)/pytest tests/browser

# For the day a GPU is there: checks filters, joins and verdicts against kernels of known work. Unverified until then.
gpu-check: $(STAMP)
	$(BIN)/nsightkit selfcheck --gpu

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

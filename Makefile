# The four commands: make demo, make test, make check, make bench. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE ?= 1
PORT ?= 8000
# Modules are compiled when they are first imported: compiling all of them at install takes longer than the rest.
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --no-compile

.PHONY: demo test check bench format clean

demo: $(VENV)/.pipeline
	$(BIN)/monosema demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve)

test: $(VENV)/.dev $(VENV)/.browser
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("Monosema needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.pipeline: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what the pipeline and the server need (about two minutes) ..."
	$(INSTALL) -e '.[pipeline]'
	@touch $@

$(VENV)/.dev: $(VENV)/.pipeline
	@echo "Installing what the tests need ..."
	$(INSTALL) -e '.[dev]'
	@touch $@

# Browser tests drive the system's Chromium; CHROMIUM names another one.
$(VENV)/.browser: $(VENV)/.made
	@sh tests/browser/install.sh
	@touch $@

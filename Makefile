# The commands: make demo, make test, make check, make bench; make test-formats installs other libraries; make
# check-container is slow and needs root.
PYTHON ?= python3
VENV := .venv
FORMATS := .venv-formats
BIN := $(VENV)/bin
SERVE ?= 1
PORT ?= 8000
WORKERS ?= 2
# Modules are compiled when they are first imported: compiling all of them at install takes longer than the rest.
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --no-compile

# Where the environment says that no bytecode be written, every process compiles torch and transformers anew: 5 s each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-formats check bench check-container format clean

demo: $(VENV)/.pipeline
	$(BIN)/monosema demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve)

# TESTS names some of them, WORKERS=0 runs them in one process. Tests of a file stay together; the order of files is that
# of tests/conftest.py.
test: $(VENV)/.dev $(VENV)/.programs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

# SAEs against sae-lens, sparsify and dictionary-learning themselves, which have an environment of their own.
test-formats: $(VENV)/.dev $(FORMATS)/.made
	MONOSEMA_FORMATS_PYTHON=$(CURDIR)/$(FORMATS)/bin/python $(BIN)/python -m pytest tests/pipeline/formats/test_libraries.py \
		tests/pipeline/formats/test_registry.py tests/pipeline/commands/test_show_libraries.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --collect-only -qq >/dev/null

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks $(BENCH)

# Installs the container's image into a clean Debian, and runs it there as its user.
check-container: $(VENV)/.dev $(VENV)/.programs
	$(BIN)/python -m pytest tests/backend/container/check_image.py

clean:
	rm -rf $(VENV) $(FORMATS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.made:
	@$(PYTHON) pipeline/machine.py
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

$(FORMATS)/.made: constraints.txt tests/support/libraries/requirements.txt
	@echo "Installing sae-lens, sparsify and dictionary-learning (about two minutes) ..."
	$(PYTHON) -m venv $(FORMATS)
	PIP_CONSTRAINT=constraints.txt $(FORMATS)/bin/pip install --quiet --no-compile -r tests/support/libraries/requirements.txt
	$(FORMATS)/bin/pip install --quiet --no-compile --no-deps dictionary-learning==0.1.0 nnsight==0.3.7
	@touch $@

# Programs of the system that tests drive: Chromium (CHROMIUM names another one), nginx (NGINX), PostgreSQL.
$(VENV)/.programs: $(VENV)/.made tests/install.sh
	@sh tests/install.sh
	@touch $@

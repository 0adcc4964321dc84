# Two commands: `make demo` and `make test`. Everything they need is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONCE ?=
# Small matrices: BLAS threads spin longer than they work.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test check format train-setup clean

# An environment per purpose, made again when pyproject.toml changes. The demo needs no torch.
$(VENV)/.device: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[device,server]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[device,server,postgres,s3,mdns,search,train,dev]'
	touch $@ $(VENV)/.device

demo: $(VENV)/.device
	$(BIN)/beheld demo $(if $(ONCE),--once,)

train-setup: $(VENV)/.dev

test: $(VENV)/.dev
	$(BIN)/pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info

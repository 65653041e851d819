# Every daily task is one word. `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2

# The tests start hundreds of programs: none of them should compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: venv demo test lint bench docs system-packages clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/drbackup demo

# Debian packages the tests drive for real; needs root, and does nothing where all are there.
system-packages:
	tests/install-system-packages

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: venv system-packages lint
	DRBACKUP_MUST_RUN=$${DRBACKUP_MUST_RUN-$$(tests/install-system-packages --have)} \
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report= --durations=10
	$(BIN)/coverage report --skip-covered --sort=cover | tail -n 25

bench: venv
	$(BIN)/python -m tests.bench.run

# Rewrites every generated page; CI fails if one is stale.
docs: venv
	$(BIN)/python -m tests.generated_docs --write

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* dist

# Every daily task is one word. `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2

# The tests start hundreds of programs: none of them should compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: venv demo test coverage lint bench docs system-packages clean

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
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=10

# The same tests with coverage: slower by about a third, so not part of every run.
coverage: venv system-packages
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=
	$(BIN)/coverage report --skip-covered --sort=cover

bench: venv
	$(BIN)/python -m tools.bench.run $(BENCH)

# Rewrites every generated page; CI fails if one is stale.
docs: venv
	$(BIN)/python -m tools.docs.generate --write

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* dist

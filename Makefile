# Every daily task is one word. `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
SHELL  := bash
.SHELLFLAGS := -o pipefail -c
VENV   := .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runs
STAMP  := $(VENV)/.installed
JOBS   ?= 2

# The tests start hundreds of programs: none of them should compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

INSTALL := $(BIN)/pip install --disable-pip-version-check --progress-bar off --constraint constraints.txt

.PHONY: venv demo test coverage lint lock bench docs system-packages clean

venv: $(STAMP)

# What drbackup itself needs, and nothing of the tests. A line for each package: a slow network should not look dead.
# Compiled when first imported: most of it never is.
$(RUNS): pyproject.toml constraints.txt
	@echo 'Installing drbackup into $(VENV): a minute or two. Nothing outside this folder changes.'
	@echo '      a Python environment of its own'
	@$(PYTHON) -m venv $(VENV)
	@echo '      fetching what drbackup needs'
	@$(INSTALL) --no-compile --editable . 2>&1 | tee $(VENV)/install.log | while read -r first second third rest; do \
	  case "$$first $$second" in \
	    Collecting*) count=$$((count + 1)); printf '  %2d  %s\n' $$count "$$second" ;; \
	    'Installing build') [ "$$third" != dependencies: ] || echo '      the tool that builds drbackup itself' ;; \
	    'Installing collected') echo "      all fetched; unpacking them" ;; \
	  esac; \
	done || { cat $(VENV)/install.log; exit 1; }
	@touch $@

# The tests' tools on top; and all is compiled, because tests run it as accounts that may not write there.
$(STAMP): $(RUNS)
	@echo "Installing the tests' tools into $(VENV)."
	@$(INSTALL) --quiet --editable '.[dev]'
	@$(BIN)/python -m compileall -q $(VENV)/lib >$(VENV)/compile.log || true  # some packages hold templates
	@touch $@

demo: $(RUNS)
	@$(BIN)/drbackup demo

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

# Rewrites the operators' lock file from pyproject.toml and constraints.txt; asks the package index for every file's hash.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	$(VENV)-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	  --no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --constraint constraints.txt --output-file requirements.lock pyproject.toml
	sed -i -e "s/^# The following packages are considered.*/# pip-compile sets these apart; shiv, which makes the agent's file, requires them./" \
	  -e '1i # Exactly what drbackup needs to run, and the hash of every file it may come as. Written by "make lock".' requirements.lock
	rm -rf $(VENV)-lock

# Rewrites every generated page; CI fails if one is stale.
docs: venv
	$(BIN)/python -m tools.docs.generate --write

clean:
	rm -rf $(VENV) $(VENV)-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* dist

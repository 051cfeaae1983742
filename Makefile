# `make run` starts the service with six demo models; `make test` runs every check. Both need Python 3.11 or
# later. `make help` lists all targets.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := run
.PHONY: help venv run test accept bench screenshots lock clean postgres tools

help:
	@echo "make run          start the service with six demo models (the default)"
	@echo "make test         run all checks; ARGS=tests/engine runs some of the tests"
	@echo "make accept       measure every figure that the documentation promises; CHECKS=… selects some"
	@echo "make bench        measure the speed"
	@echo "make screenshots  take the pictures in the README"
	@echo "make lock         update the locked versions of all dependencies"
	@echo "make clean        remove the environment and all caches"

venv: .venv/installed

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv

.venv/installed-dev: requirements-dev.lock .venv/installed
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	@touch $@

run: venv
	$(BIN)/ostinato up --demo

# ruff, mypy and the import contracts are tests too: tests/test_architecture.py
test: .venv/installed-dev postgres tools
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

# every promised figure, measured here; may take hours. ACCEPT_DATA: the folder of data sets that some checks need
accept: .venv/installed-dev postgres tools
	$(BIN)/python -m benchmarks.accept $(CHECKS)

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.bench $(ARGS)

# the pictures in the README, from the service that `make run` has started; ARGS="--all FOLDER": every view
screenshots: .venv/installed-dev
	$(BIN)/python -m benchmarks.screenshots $(ARGS)

# the tests start PostgreSQL servers of their own; where its programs cannot be had, they say so and are skipped
postgres:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null \
	  || echo "PostgreSQL could not be installed: its tests are skipped"; \
	else echo "PostgreSQL is not here: its tests are skipped"; fi

# generators of clients and schemathesis, which tests/clients runs: in an environment of their own, because they need
# older versions of what the service uses. The tests that need a missing one say so and are skipped
tools: build/tools/installed

build/tools/installed: requirements-tools.lock tests/clients/typescript/package-lock.json
	@mkdir -p build/tools/typescript
	@{ $(PYTHON) -m venv build/tools && build/tools/bin/python -m pip install --quiet --requirement $<; } \
	|| echo "schemathesis and openapi-python-client could not be installed: their tests are skipped"
	@cp tests/clients/typescript/package.json tests/clients/typescript/package-lock.json build/tools/typescript/
	@{ command -v npm >/dev/null && npm ci --silent --prefix build/tools/typescript; } \
	|| echo "npm is not here, or could not install: the test of a TypeScript client is skipped"
	@touch $@

# take the newest versions that pyproject.toml allows
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[dev]'
	build/lock/bin/python .ci/lock.py
	rm -rf build/lock-tools && $(PYTHON) -m venv build/lock-tools
	build/lock-tools/bin/python -m pip install --quiet packaging $$(build/lock/bin/python .ci/lock.py list-tools)
	build/lock-tools/bin/python .ci/lock.py tools

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app models tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

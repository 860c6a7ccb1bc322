# Two commands: `make dev` and `make test`. Both set up what they need in .venv, once.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
# Most tests wait for servers, so there are more of these than cores. JOBS=0 runs one after the other.
JOBS   ?= 5
SIDE_BY_SIDE = -n $(JOBS) --dist worksteal

# What has been installed, and when: newer than pyproject.toml means nothing to do. The second holds
# the first: the test tools come on top of the server's dependencies.
RUN_STAMP  := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
NPM_STAMP  := tests/browser/node_modules/.installed

.PHONY: help dev test lint types fmt unit integration explore chaos peers bench redis7 node-clients audit fuzz clean
.DELETE_ON_ERROR:

help: ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: $(RUN_STAMP) ## Run everything on this machine: server, gateway, demo page (ARGS="--port 8081")
	@exec $(BIN)/fanlight dev $(ARGS)

test: lint types node-clients ## Run ruff, mypy and all tests, on Valkey and on an installed Redis
	$(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)
	@$(MAKE) --no-print-directory redis7

lint: $(TEST_STAMP) ## Check the style (ruff)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(TEST_STAMP) ## Check the types (mypy --strict)
	$(BIN)/mypy

fmt: $(TEST_STAMP) ## Format, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

unit: $(TEST_STAMP) ## Run the tests that need no server
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/unit $(ARGS)

integration: $(TEST_STAMP) ## Run the tests against the default server
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/integration tests/chaos $(ARGS)

# The ordinary tests draw the same examples each time; these are others, and more of them.
explore: $(TEST_STAMP) ## Run the property tests on examples that nobody has seen
	FANLIGHT_TEST_EXAMPLES=explore $(BIN)/pytest $(SIDE_BY_SIDE) tests/unit tests/integration/test_openapi.py $(ARGS)

# What runs is drawn by SEED; without one, a new seed is taken and printed.
chaos: $(TEST_STAMP) ## Break it at random, under load: make chaos SECONDS=600 SEED=1
	@$(BIN)/python -m tests.chaos.schedule --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

# Two other setups; the second needs Debian's nginx and libnginx-mod-nchan. See bench/peers.
peers: $(TEST_STAMP) ## Put sse-starlette and Nchan through the same faults (ARGS="--runs 1 nchan")
	@$(BIN)/python -m venv $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip --disable-pip-version-check --quiet install -r bench/peers/requirements.txt
	PEERS_PYTHON=$(CURDIR)/$(VENV)/peers/bin/python $(BIN)/python -m bench.peers.table $(ARGS)

# Needs two cores and a C compiler; see bench/README.md. SETUPS=1 installs sse-starlette to compare with.
bench: $(TEST_STAMP) ## Measure what it costs, and other setups (ARGS="--short", ARGS="--only storm")
	@if [ -n "$(SETUPS)" ]; then $(BIN)/python -m venv $(VENV)/peers && \
	    $(VENV)/peers/bin/python -m pip --disable-pip-version-check --quiet install -r bench/peers/requirements.txt; fi
	@$(BIN)/python -m bench.run $(ARGS)

# The default server is the bundled Valkey (tests/support/redis_server.py); what the server decides is
# asked of a real Redis too. Tests in which it decides nothing are marked `once`.
redis7: $(TEST_STAMP) ## Run the integration tests again on the installed redis-server
	@if server=$$(command -v redis-server); then \
	    echo "== once more on $$("$$server" --version | cut -d ' ' -f 1-3)"; \
	    FANLIGHT_TEST_REDIS="$$server" $(BIN)/pytest $(SIDE_BY_SIDE) -m 'not once' tests/integration tests/chaos $(ARGS); \
	else \
	    echo "== no redis-server on PATH: the tests ran on the bundled Valkey only"; \
	fi

# Clients from npm decode our streams too, where node is installed; without it those tests are skipped.
node-clients:
	@if ! command -v npm >/dev/null; then echo "== no npm on PATH: the tests with clients from npm are skipped"; \
	else $(MAKE) --no-print-directory --silent $(NPM_STAMP); fi

$(NPM_STAMP): tests/browser/package.json tests/browser/package-lock.json
	@echo "== installing the clients from npm into tests/browser/node_modules"
	@cd tests/browser && npm ci --loglevel=error
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Fanlight needs Python 3.11 or newer; name one with make PYTHON=python3.x"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	@echo "== installing the gateway and a server into $(VENV)"
	@$(PIP) install -e '.[gateway,embedded]'
	@touch $@

$(TEST_STAMP): pyproject.toml | $(BIN)/python
	@echo "== installing the gateway, a server and the test tools into $(VENV)"
	@$(PIP) install -e '.[dev]'
	@touch $(RUN_STAMP) $@

# Asks PyPI's index of flaws, so it is no part of `make test`. A mirror may have the packages and not the flaws:
# what it doesn't know is left out by pip-audit, which then finds nothing, and is happy; not so with --strict.
audit: $(RUN_STAMP) ## Look up known flaws of the installed packages (pip-audit)
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install pip-audit
	@$(PIP) freeze --exclude-editable >$(VENV)/audit/installed.txt
	@$(VENV)/audit/bin/pip-audit --strict --requirement $(VENV)/audit/installed.txt --no-deps --disable-pip || \
	    { echo "== flaws, as listed above; or an ERROR above, and nothing is known: the index of flaws was not asked"; exit 1; }

# Needs `pip install 'fanlight[fuzz]'`. A crash is kept in a file, and is to become an example of its parser.
fuzz: $(TEST_STAMP) ## Fuzz the parsers of untrusted bytes, SECONDS each (60): make fuzz PARSERS="payload query"
	@$(PIP) install -e '.[fuzz]'
	@for parser in $(or $(PARSERS),$$($(BIN)/python -m tests.fuzz.parsers)); do \
	    echo "== $$parser"; $(BIN)/python -m tests.fuzz.parsers $$parser -max_total_time=$(or $(SECONDS),60) || exit 1; done

clean: ## Remove the environment, the caches and what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf tests/browser/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

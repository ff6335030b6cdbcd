# Every target sets up what it needs; PYTHON names the interpreter (3.11 or newer) the environment is made from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/servicekit auth-service user-service gateway
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

.PHONY: run test bench-tokens bench-flood bench-gateway lint types lock clean
.DEFAULT_GOAL := run

$(RUNTIME): requirements.lock $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another with PYTHON=…") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUNTIME)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

run: $(RUNTIME) ## the whole stack on this machine, with an embedded PostgreSQL
	@exec $(BIN)/python -m dev

test: $(DEVELOPMENT) ## unit, integration and end-to-end tests
	$(BIN)/python -m pytest

bench-tokens: $(RUNTIME) ## logins against bare argon2id, refreshes, verifications; about a minute and a half
	$(BIN)/python -m bench.tokens

bench-flood: $(RUNTIME) ## verifications beside ten times as many logins as can be hashed; about a minute and a half
	$(BIN)/python -m bench.flood

ROUNDS ?= 3
SECONDS ?= 5

bench-gateway: $(RUNTIME) ## the gateway against nginx, HAProxy, Envoy, Caddy, Go and aiohttp; about fifteen minutes
	$(BIN)/python -m bench.gateway --rounds $(ROUNDS) --seconds $(SECONDS)

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEVELOPMENT)
	$(BIN)/mypy

lock: $(DEVELOPMENT) ## writes the lock files anew
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev -c requirements.lock $(LOCK_OPTIONS) -o requirements-dev.lock
	for service in gateway auth-service user-service; do \
		$(BIN)/uv pip compile $$service/pyproject.toml -c requirements.lock $(LOCK_OPTIONS) \
			-o requirements-$$service.lock || exit; \
	done

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	--no-emit-package servicekit --no-emit-package parley-auth-service \
	--no-emit-package parley-user-service --no-emit-package parley-gateway

clean: ## removes the environment and the embedded stack's data
	rm -rf $(VENV) .data

# Every target sets up what it needs. PYTHON is the interpreter (3.11 or newer) for the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/servicekit auth-service user-service gateway
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

.PHONY: run test bench-tokens bench-sizes bench-flood bench-gateway lint types lock clean
.PHONY: secrets pin up down logs ps scale deploy admin client test-compose test-faults
.DEFAULT_GOAL := run

$(RUNTIME): requirements.lock $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Parley needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another with PYTHON=…") if sys.version_info < (3, 11) else None'
	@echo "setting up Python in $(VENV), once; 1 of 3: a virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@echo "2 of 3: the packages in requirements.lock"
	@$(BIN)/python dev/install.py requirements.lock
	@echo "3 of 3: Parley's own packages"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUNTIME)
	@echo "the tools for tests: the packages in requirements-dev.lock"
	@$(BIN)/python dev/install.py requirements-dev.lock
	@touch $@

run: $(RUNTIME) ## run the whole stack on this machine, with an embedded PostgreSQL
	@exec $(BIN)/python -m dev

test: $(DEVELOPMENT) ## run unit, integration and end-to-end tests
	$(BIN)/python -m pytest -rs

bench-tokens: $(RUNTIME) ## measure logins against bare argon2id, refreshes, verifications; about a minute and a half
	$(BIN)/python -m bench.tokens

bench-sizes: $(RUNTIME) ## measure the size of a user, a session and a token in PostgreSQL; a quarter of a minute
	$(BIN)/python -m bench.row_sizes

bench-flood: $(RUNTIME) ## measure what honest clients get during attacks; ten minutes; ONLY=name,name
	$(BIN)/python -m bench.flood --only "$(ONLY)"

ROUNDS ?= 3
SECONDS ?= 5

bench-gateway: $(RUNTIME) ## compare the gateway with nginx, HAProxy, Envoy, Caddy, Go and aiohttp; about fifteen minutes
	$(BIN)/python -m bench.gateway --rounds $(ROUNDS) --seconds $(SECONDS)

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(DEVELOPMENT)
	$(BIN)/mypy

lock: $(DEVELOPMENT) ## rewrite the lock files
	$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev -c requirements.lock $(LOCK_OPTIONS) -o requirements-dev.lock
	for service in gateway auth-service user-service; do \
		$(BIN)/uv pip compile $$service/pyproject.toml -c requirements.lock $(LOCK_OPTIONS) \
			-o requirements-$$service.lock || exit; \
	done

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	--no-emit-package servicekit --no-emit-package parley-auth-service \
	--no-emit-package parley-user-service --no-emit-package parley-gateway

# The stack in containers. All of these targets use the settings in `.env`.
COMPOSE := docker compose

secrets: ## create the secrets of the stack in containers, once
	@deploy/make-secrets.sh

pin: ## pin the base images by digest in `.env`
	@deploy/pin-images.sh

up: ## build and start the stack in containers, and wait until it is healthy
	@test -e secrets/AUTH_MASTER_KEYS || { echo 'there are no secrets yet: run `make secrets`' >&2; exit 1; }
	@deploy/keep-logs.sh || true
	$(COMPOSE) up --detach --build --wait

down: ## stop it; databases and logs are kept
	$(COMPOSE) stop
	@deploy/keep-logs.sh || true
	$(COMPOSE) down

logs: ## follow the logs of running containers; those of earlier ones are in logs/
	$(COMPOSE) logs --follow --tail 100

ps:
	$(COMPOSE) ps --all

scale: ## set the number of replicas: SERVICE=user-service N=3
	@deploy/scale.sh "$(SERVICE)" "$(N)"

deploy: ## build, migrate, and replace one replica after another
	@deploy/rolling-update.sh

admin: ## add an administrator: EMAIL=you@example.com; prompts for the password
	@deploy/add-administrator.sh "$(EMAIL)"

client: ## add a client: ID=shop DIALECT=rfc6749, with further options of `clients add` in OPTIONS
	@test -n "$(ID)" -a -n "$(DIALECT)" || { echo 'usage: make client ID=shop DIALECT=rfc6749 [OPTIONS=…]' >&2; exit 2; }
	@$(COMPOSE) exec -T auth-service python -m auth_service clients add "$(ID)" --dialect "$(DIALECT)" $(OPTIONS)

test-compose: $(DEVELOPMENT) ## run the end-to-end tests against containers, and the tests of containers
	$(BIN)/python -m pytest -rs tests-compose

FORM ?= whole

test-faults: $(DEVELOPMENT) ## inject faults under load: takes over an hour and writes docs/faults.md; FORM=short, ONLY=row,row
	$(BIN)/python -m pytest tests-faults -rs --form $(FORM) --only "$(ONLY)" $(if $(filter whole,$(FORM)),--record)

clean: ## remove the virtual environment and the embedded stack's data
	rm -rf $(VENV) .data

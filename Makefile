# Every target sets up what it needs; PYTHON names the interpreter (3.11 or newer) the environment is made from.
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
	@echo "setting up Python in $(VENV), once; 1 of 3: an empty environment"
	@$(PYTHON) -m venv $(VENV)
	@echo "2 of 3: what requirements.lock names"
	@$(BIN)/python dev/install.py requirements.lock
	@echo "3 of 3: Parley's own packages"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUNTIME)
	@echo "the tools for tests: what requirements-dev.lock names"
	@$(BIN)/python dev/install.py requirements-dev.lock
	@touch $@

run: $(RUNTIME) ## the whole stack on this machine, with an embedded PostgreSQL
	@exec $(BIN)/python -m dev

test: $(DEVELOPMENT) ## unit, integration and end-to-end tests
	$(BIN)/python -m pytest -rs

bench-tokens: $(RUNTIME) ## logins against bare argon2id, refreshes, verifications; about a minute and a half
	$(BIN)/python -m bench.tokens

bench-sizes: $(RUNTIME) ## what a user, a session and a token take in PostgreSQL; a quarter of a minute
	$(BIN)/python -m bench.row_sizes

bench-flood: $(RUNTIME) ## attacks from one network, and what honest clients get meanwhile; ten minutes; ONLY=name,name
	$(BIN)/python -m bench.flood --only "$(ONLY)"

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

# The stack in containers. What is set in `.env` holds for all of these.
COMPOSE := docker compose

secrets: ## makes the secrets of the stack in containers, once
	@deploy/make-secrets.sh

pin: ## writes the base images' digests to `.env`: from then on no others are used
	@deploy/pin-images.sh

up: ## builds and starts the stack in containers, and waits until it is healthy
	@test -e secrets/AUTH_MASTER_KEYS || { echo 'there are no secrets yet: run `make secrets`' >&2; exit 1; }
	@deploy/keep-logs.sh || true
	$(COMPOSE) up --detach --build --wait

down: ## stops it; the databases stay, and what was logged
	$(COMPOSE) stop
	@deploy/keep-logs.sh || true
	$(COMPOSE) down

logs: ## of the containers there are; those of earlier ones are in logs/
	$(COMPOSE) logs --follow --tail 100

ps:
	$(COMPOSE) ps --all

scale: ## SERVICE=user-service N=3
	@deploy/scale.sh "$(SERVICE)" "$(N)"

deploy: ## builds, migrates, and replaces one replica after the other
	@deploy/rolling-update.sh

admin: ## EMAIL=you@example.com; asks for the password
	@deploy/add-administrator.sh "$(EMAIL)"

client: ## ID=shop DIALECT=rfc6749, and further options of `clients add` in OPTIONS
	@test -n "$(ID)" -a -n "$(DIALECT)" || { echo 'usage: make client ID=shop DIALECT=rfc6749 [OPTIONS=…]' >&2; exit 2; }
	@$(COMPOSE) exec -T auth-service python -m auth_service clients add "$(ID)" --dialect "$(DIALECT)" $(OPTIONS)

test-compose: $(DEVELOPMENT) ## the end-to-end tests against containers, and what only containers show
	$(BIN)/python -m pytest -rs tests-compose

FORM ?= whole

test-faults: $(DEVELOPMENT) ## faults under load: the whole takes over an hour and writes docs/faults.md; FORM=short, ONLY=row,row
	$(BIN)/python -m pytest tests-faults -rs --form $(FORM) --only "$(ONLY)" $(if $(filter whole,$(FORM)),--record)

clean: ## removes the environment and the embedded stack's data
	rm -rf $(VENV) .data

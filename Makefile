# `make` alone explains every target. Everything below needs Python 3.11 or newer and make, and nothing else:
# the environment makes itself in .venv the first time, and again when a lock file changes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python that is new enough. A name alone proves nothing (pyenv has shims of versions it does not run).
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)

PY := .venv/bin/python
READY := .venv/.ready
SUPPLY_READY := .venv-supply/.ready
SCRIPTS := .ci/run $(shell find . -name '*.sh' -not -path './.venv*/*' -not -path './.local/*' -not -path '*/node_modules/*')
YAML := $(shell find . \( -name '*.yaml' -o -name '*.yml' \) -not -path './.venv*/*' -not -path './.local/*' -not -path '*/node_modules/*')

.PHONY: help
help: ## Explain every target (this list)
	@awk 'BEGIN { FS = ":.*## " } /^# ---- / { gsub(/^# -+ | -+$$/, ""); heading = $$0 } \
		/^[a-z0-9-]+:.*## / { if (heading != "") { printf "\n%s\n", toupper(substr(heading, 1, 1)) substr(heading, 2); heading = "" } \
		printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings: PORT, HOST, DATA_DIR for run and seed;  ARGS=\"...\" for admin, test, bench, fuzz, browser;  PYTHON=/path/to/python3"

# ---- every day -------------------------------------------------------------------------------------------------------

.PHONY: run
run: $(READY) ## Start everything on this machine: PostgreSQL, Valkey, the API, the worker, a mail catcher (PORT=8000 HOST=127.0.0.1 DATA_DIR=.local)
	@$(PY) -m dev.run

.PHONY: seed
seed: $(READY) ## Fill a demo account with a few hundred todos, while `make run` is running (the stack: make ca, then URL=https://localhost:8443)
	@$(PY) -m dev.seed

.PHONY: admin
admin: $(READY) ## Run todo-admin beside `make run` (ARGS="users list"; the stack: docker compose exec api todo-admin ...)
	@settings="$(or $(DATA_DIR),.local)/settings"; [ -f "$$settings" ] || { echo "\`make run\` is not running (no $$settings)." >&2; exit 2; }; \
	set -a; . "$$(realpath "$$settings")"; exec .venv/bin/todo-admin $(or $(ARGS),--help)

.PHONY: test
test: $(READY) ## Run all tests that need no Docker, on throw-away servers, two files at a time (ARGS="-k cursor -x")
	@$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: coverage
coverage: $(READY) ## Run the same tests and measure what they cover (others' servers: TEST_DATABASE_URL=..., TEST_REDIS_SERVER=/usr/bin/redis-server)
	@$(PY) -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: test-unit
test-unit: $(READY) ## Run the tests that need no server at all
	@$(PY) -m pytest tests/unit $(ARGS)

.PHONY: test-integration
test-integration: $(READY) ## Run the tests on PostgreSQL and Redis
	@$(PY) -m pytest tests/integration $(ARGS)

.PHONY: check
check: $(READY) ## Check format, lint, types, the walls between packages, lock files, migrations, YAML and shell: seconds
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PY) -m dev.locks check
	@$(PY) -m dev.migration_lint
	@$(PY) -m yamllint --strict $(YAML)
	@.venv/bin/shellcheck --external-sources --source-path=SCRIPTDIR $(SCRIPTS)

.PHONY: format
format: $(READY) ## Format the code and repair what the linter can
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

# ---- the database ----------------------------------------------------------------------------------------------------

.PHONY: migrate
migrate: ## Apply the migrations: to DATABASE_URL where it is set, otherwise to the container stack's database
	@if [ -n "$(DATABASE_URL)" ]; then $(MAKE) $(READY) && .venv/bin/todo-admin migrate; \
	else docker compose run --rm --no-TTY migrate; fi

.PHONY: migration
migration: $(READY) ## Write a new migration from what changed in the models: make migration m="add a colour"
	@$(PY) -m dev.migration "$(m)"

# ---- containers ------------------------------------------------------------------------------------------------------

# They need Docker with Compose, bash, and no Python. COMPOSE_PROJECT_NAME, HTTPS_PORT and HTTP_PORT keep several stacks apart.

.PHONY: up
up: ## Start the container stack and wait until it is healthy (HTTPS_PORT=8443 HTTP_PORT=8080 PROFILES=mail,monitoring)
	@$(if $(PROFILES),COMPOSE_PROFILES=$(PROFILES)) ops/up.sh

.PHONY: down
down: ## Stop the container stack; with DATA=1 remove its database as well
	@docker compose --profile '*' down --remove-orphans $(if $(filter 1,$(DATA)),--volumes)

.PHONY: ps
ps: ## List the stack's containers and how they are
	@docker compose ps --all

.PHONY: logs
logs: ## Follow the stack's logs (SERVICE=api for one)
	@docker compose logs --follow --tail 100 $(SERVICE)

.PHONY: shell
shell: ## Open a shell in a service's container (SERVICE=api; with SERVICE=db, psql)
	@docker compose exec $(or $(SERVICE),api) $(if $(filter db,$(SERVICE)),psql --username todo todo,sh)

.PHONY: ca
ca: ## Write the development certificate authority to .local/ca.pem
	@ops/ca.sh

.PHONY: watch
watch: ## Start the stack and carry every change of code into it (needs no read-only root: for development alone)
	@docker compose -f compose.yaml -f compose.watch.yaml watch

.PHONY: deploy
deploy: ## Build or pull, migrate, and replace API, worker and beat without a failed request (ARGS=--no-build)
	@ops/deploy.sh $(ARGS)

.PHONY: rollback
rollback: ## Put the images of before the last deploy back, the same way; the database stays as it is
	@ops/deploy.sh --rollback

.PHONY: replace-proxy
replace-proxy: ## Start nginx anew from its image, and measure the gap (a deploy only reloads it)
	@ops/replace-proxy.sh

.PHONY: backup
backup: ## Back up the stack's database now (every day: make up PROFILES=backup)
	@ops/backups.sh make

.PHONY: backups
backups: ## List the backups there are, with age and size
	@ops/backups.sh list

.PHONY: restore
restore: ## Put a backup in place of what the database holds: make restore BACKUP=todo-... CONFIRM=yes (none named: the newest)
	@CONFIRM=$(CONFIRM) ops/backups.sh restore "$(BACKUP)"

.PHONY: rehearse-restore
rehearse-restore: ## Back up, restore into an empty stack beside this one, compare rows and checksums, see damaged copies refused
	@ops/rehearse-restore.sh "$(BACKUP)"

.PHONY: secrets
secrets: ## Make production's secrets in ./secrets, those that are not there yet
	@ops/make-secrets.sh

.PHONY: rotate-secrets
rotate-secrets: ## Sign with a new token key, sessions go on; 15 minutes later the same with DROP_OLD=1 (WHAT=database: its password)
	@DROP_OLD=$(DROP_OLD) WHAT=$(WHAT) ops/rotate-secrets.sh

.PHONY: build
build: ## Build the images of the API, the worker and `acme`, labelled with the commit (REGISTRY=host/name/ TAG=1.2.3)
	@REVISION=$$(git rev-parse HEAD) SOURCE=$${SOURCE:-$$(git remote get-url origin 2>/dev/null)} docker compose --profile acme build api worker acme

.PHONY: push
push: ## Push them to the registry (REGISTRY=host/name/ TAG=1.2.3)
	@$(if $(and $(REGISTRY),$(TAG)),,echo "Say where to and which: make push REGISTRY=registry.example/todo/ TAG=1.2.3" >&2; exit 1;) \
	docker compose --profile acme push api worker acme

.PHONY: sbom
sbom: $(SUPPLY_READY) ## Write the bill of materials of each image to .local/sbom (CycloneDX; Python packages)
	@mkdir -p .local/sbom
	@for image in api worker acme; do .venv-supply/bin/cyclonedx-py requirements requirements/$$image.lock \
		$$([ ! -d services/$$image ] || echo --pyproject services/$$image/pyproject.toml) --output-reproducible --of JSON -o .local/sbom/todo-$$image.cdx.json || exit 1; \
		echo "Wrote .local/sbom/todo-$$image.cdx.json"; done

.PHONY: scan
scan: $(SUPPLY_READY) ## Look for known vulnerabilities in what the images install (asks the Python package index)
	@for image in api worker acme; do .venv-supply/bin/pip-audit --strict --disable-pip --require-hashes \
		--requirement requirements/$$image.lock || exit 1; done

.PHONY: public-images
public-images: ## List every public image that the stack and its builds name, one a line (make -s public-images)
	@ops/public-images.sh

.PHONY: stack-lint
stack-lint: $(READY) .venv-lint/.ready ## Check Dockerfiles, Compose files, nginx's configuration and the workflows (hadolint, compose-lint, gixy, nginx -t, zizmor)
	@$(PY) -m dev.stack_lint

.PHONY: monitoring-check
monitoring-check: ## Check the configuration of Prometheus and Alertmanager, and test the alert rules (needs Docker)
	@ops/monitoring-check.sh

.PHONY: test-stack
test-stack: $(READY) .venv-lint/.ready .venv-clients/.ready ## Test a container stack of its own through nginx over TLS: build, journeys, proxy, TLS, one fault
	@$(PY) -m pytest tests/stack -m "not soak" $(ARGS)

.PHONY: soak
soak: $(READY) .venv-lint/.ready ## Break a container stack of its own: every kill and outage, deploys under load, restores, certificates
	@$(PY) -m pytest tests/stack -m soak $(ARGS)

# ---- ECS without containers ---------------------------------------------------------------------------------------------

.PHONY: ecs-deploy
ecs-deploy: .venv-ecs/.ready ## Install or upgrade a host without containers by SSH (HOST=user@host; only says what it would do without CONFIRM=yes)
	@HOST="$(HOST)" CONFIRM="$(CONFIRM)" deploy/ecs/deploy.sh deploy $(ARGS)

.PHONY: ecs-rollback
ecs-rollback: .venv-ecs/.ready ## Serve the release before again, or RELEASE=name (the same way); the database stays as it is
	@HOST="$(HOST)" CONFIRM="$(CONFIRM)" RELEASE="$(RELEASE)" deploy/ecs/deploy.sh rollback $(ARGS)

.PHONY: test-ecs
test-ecs: $(READY) .venv-ecs/.ready ## Carry out that road on a bare Debian 12 in a container: install, serve, upgrade under load, roll back
	@$(PY) -m pytest tests/deploy $(ARGS)

# ---- Kubernetes -------------------------------------------------------------------------------------------------------

OVERLAY ?= dev
K8S_READY := .venv-k8s/.ready

.PHONY: k8s-render
k8s-render: $(K8S_READY) ## Print the Kubernetes manifests (OVERLAY=dev or vke, TAG=1.2.3)
	@ops/k8s.sh render $(OVERLAY)

.PHONY: k8s-check
k8s-check: $(READY) $(K8S_READY) ## Render every overlay; check schemas, policies, and that all is as the images and Compose have it
	@$(PY) -m pytest tests/k8s -m "not engine" $(ARGS)

.PHONY: k8s-pods
k8s-pods: $(READY) $(K8S_READY) ## Run the rendered pods on the Docker engine, under load and while they are stopped
	@$(PY) -m pytest tests/k8s -m engine $(ARGS)

.PHONY: k8s-diff
k8s-diff: $(K8S_READY) ## Show what k8s-deploy would change in the cluster
	@ops/k8s.sh diff $(OVERLAY)

.PHONY: k8s-deploy
k8s-deploy: $(K8S_READY) ## Apply settings, migrate, roll out (OVERLAY=vke TAG=1.2.3; only says what it would do without CONFIRM=yes)
	@ops/k8s.sh deploy $(OVERLAY)

.PHONY: k8s-rollback
k8s-rollback: $(K8S_READY) ## Put the release before back (the same way); the database stays as it is
	@ops/k8s.sh rollback $(OVERLAY)

# ---- measuring and hunting -------------------------------------------------------------------------------------------

.PHONY: bench
bench: $(READY) ## Measure what the pages quote (ARGS chooses)
	@$(PY) -m bench $(ARGS)

.PHONY: bench-guard
bench-guard: $(READY) ## Hold the hot routes against hand-written ones, in a minute: fails where a ratio is beyond its bound
	@$(PY) -m bench routes --quick

.PHONY: bench-reminders
bench-reminders: $(READY) ## Measure the reminder engine: throughput, punctuality, 30 receivers that hang (ARGS=--quick)
	@$(PY) -m bench.reminders $(ARGS)

.PHONY: bench-sign-ins
bench-sign-ins: $(READY) ## Measure sign-in and list beside storms on passwords, through nginx (needs Docker; ARGS="--seconds 60")
	@$(PY) -m tests.stack.storms $(ARGS)

.PHONY: bench-containers
bench-containers: $(READY) ## Measure images, cold start and idle memory of each container, and a rebuild (needs Docker)
	@$(PY) -m bench.containers

.PHONY: chaos
chaos: $(READY) ## Kill workers, beat, Valkey and PostgreSQL while reminders come due, and check that none is lost or doubled (ARGS="--seconds 120 --seed 7")
	@$(PY) -m tests.chaos $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Let Schemathesis attack the API by its own description (ARGS="--max-examples 100 --max-time 120 --seed 1")
	@$(PY) -m dev.fuzz $(ARGS)

.PHONY: browser
browser: $(READY) .venv-browser/.ready ## Drive Swagger UI and examples/web in headless Chromium: register, authorise, create, complete, list (ARGS=--start without `make run`)
	@.venv-browser/bin/python -m dev.browser $(ARGS)

.PHONY: openapi
openapi: $(READY) ## Write docs/openapi.json and the pages of problem codes anew after a change of what the API says
	@$(PY) -m dev.openapi

.PHONY: clients
clients: $(READY) .venv-clients/.ready ## Generate clients in TypeScript, Python and Java, compile and walk them; hold docs/openapi.json to the last release's
	@.venv-clients/bin/python -m dev.clients $(ARGS)

# ---- housekeeping ----------------------------------------------------------------------------------------------------

.PHONY: lock
lock: | .venv/bin/uv ## Write the lock files anew after a change of dependencies (UPGRADE=1 takes the newest versions)
	@.venv/bin/python -m dev.locks compile $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove .venv and caches; with DATA=1 also .local, the data of `make run`
	@if kill -0 "$$(cat .local/lock 2>/dev/null)" 2>/dev/null; then echo "Stop \`make run\` first." >&2; exit 1; fi
	@rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis schemathesis-report
	@rm -f .coverage .coverage.*
	@rm -rf clients/typescript/node_modules clients/typescript/dist clients/typescript/src/schema.ts
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ "$(DATA)" = 1 ]; then rm -rf .local; \
	elif [ -d .local ]; then echo "Kept .local, the data of \`make run\`; \`make clean DATA=1\` removes it as well."; fi

# The services' own lists count too: an editable install remembers its entry points.
$(READY): dev/bootstrap.py requirements/build.lock requirements/dev.lock $(wildcard services/*/pyproject.toml)
	@$(call need-python)
	@"$(PYTHON)" dev/bootstrap.py
	@touch $(READY)

# Tools whose dependencies clash with the others, each in an environment of its own.
.venv-%/.ready: dev/tools.py requirements/%.lock | .venv/bin/uv
	@.venv/bin/python -m dev.tools $*
	@touch $@

.venv/bin/uv:
	@$(call need-python)
	@"$(PYTHON)" dev/bootstrap.py --only-uv

need-python = "$(or $(PYTHON),false)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$(if $(PYTHON),$(PYTHON) is not Python 3.11 or newer.,No Python 3.11 or newer was found.)" >&2; \
	echo "Install one (Debian and Ubuntu: apt install python3 python3-venv)" >&2; \
	echo "or name the one you have: make PYTHON=/path/to/python3.11" >&2; exit 1; }

# `make` lists the commands. All of them run in .venv, created from requirements-dev.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The list has everything that is needed, so nothing is installed that is not in it (see tool.uv in pyproject.toml).
INSTALL := $(BIN)/python -m uv pip install --quiet --no-deps --python $(BIN)/python --require-hashes -r requirements-dev.txt
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
STACK := PYTHONPATH=plugins $(BIN)/python -m include.demo
export UV_PYTHON_DOWNLOADS := never
# What a command does and which variables it takes: make run HELP=1
HELP_OPTION := $(if $(HELP),--help)
EXECUTOR_OPTIONS := $(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(WORKERS),--workers $(WORKERS))
# `.env` is for Docker; dbt would load it.
export PYTHON_DOTENV_DISABLED := 1
# From the command line (`make up AIRFLOW_PORT=8090`) or the environment; without a port, a free one is chosen.
export AIRFLOW_PORT POSTGRES_PORT KAFKA_PORT WEATHER_PORT VALKEY_PORT SCHEDULE STACK_DIR

.DEFAULT_GOAL := help
.PHONY: help setup demo up down restart reset status logs run backfill replay rollback erase prune verify dsn preview shop-check migrate airflow dbt test test-mutants check-real truth lint bench screenshots lock outdated pythons sbom contracts

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.complete ## create the environment (.venv) from the lock

$(VENV)/.complete: requirements-dev.txt requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
		|| { echo "error: Python 3.11, 3.12, 3.13 or 3.14 is needed, and $(PYTHON) is none of these; choose one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "error: python3 cannot create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@# uv has its own certificates; behind a proxy with a certificate of its own, those of the system are needed.
	@$(INSTALL) 2>$(VENV)/uv.log || $(INSTALL) --system-certs
	@touch $@

demo: setup ## start the stack, fill the shop, run the warehouse over its range [DATA=folder] [FROM= TO=] [EXECUTOR=celery WORKERS=2]
	@$(STACK) demo $(if $(DATA),--data "$(DATA)") $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO)) $(EXECUTOR_OPTIONS)

up: setup ## start the stack [EXECUTOR=celery WORKERS=2, or local] (ports: AIRFLOW_PORT= POSTGRES_PORT= KAFKA_PORT= WEATHER_PORT= VALKEY_PORT=)
	@$(STACK) up $(HELP_OPTION) $(EXECUTOR_OPTIONS)

down: setup ## stop the stack; its data stays
	@$(STACK) down

restart: setup ## stop Airflow and start it again, with the code as it is now [SERVICE=scheduler] [FORCE=1]
	@$(STACK) restart $(HELP_OPTION) $(if $(SERVICE),--service $(SERVICE)) $(if $(FORCE),--force)

reset: setup ## stop the stack and delete its data
	@$(STACK) reset

status: setup ## show what is running, and the addresses
	@$(STACK) status

logs: setup ## print the end of a service's log: SERVICE=scheduler [LINES=50] [FOLLOW=1]
	@$(STACK) logs $(HELP_OPTION) $(if $(SERVICE),--service $(SERVICE)) $(if $(LINES),--lines $(LINES)) $(if $(FOLLOW),--follow)

run: setup ## trigger the warehouse and follow it: FROM= TO= [SOURCES=a,b] [FULL_REFRESH=1] [ALLOW_COLUMN_CHANGES=1] [ALLOW_MASS_REMOVAL=1] [DRY_RUN=1]
	@$(STACK) run $(HELP_OPTION) $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO)) $(if $(SOURCES),--sources $(SOURCES)) \
		$(if $(FULL_REFRESH),--full-refresh) $(if $(ALLOW_COLUMN_CHANGES),--allow-column-changes) \
		$(if $(ALLOW_MASS_REMOVAL),--allow-mass-removal) $(if $(DRY_RUN),--dry-run)

backfill: setup ## run Airflow's backfill, one run per day, and follow it: FROM= TO=
	@$(STACK) backfill $(HELP_OPTION) --from "$(FROM)" --to "$(TO)"

replay: setup ## load rejected rows again, and follow it: [SOURCE=sales_fact] [BATCH=] [REASON=] [DRY_RUN=1]
	@$(STACK) replay $(HELP_OPTION) $(if $(SOURCE),--source $(SOURCE)) $(if $(BATCH),--batch $(BATCH)) \
		$(if $(REASON),--reason "$(REASON)") $(if $(DRY_RUN),--dry-run)

rollback: setup ## restore all marts to an earlier publication, say what changes, and follow it: [PUBLICATION=12] [DRY_RUN=1]
	@$(STACK) rollback $(HELP_OPTION) $(if $(PUBLICATION),--publication $(PUBLICATION)) $(if $(DRY_RUN),--dry-run)

erase: setup ## erase a customer for good, and follow it; DRY_RUN=1 only lists where: CUSTOMER=CUST001 [DRY_RUN=1]
	@$(STACK) erase $(HELP_OPTION) $(if $(CUSTOMER),--customer "$(CUSTOMER)") $(if $(DRY_RUN),--dry-run)

prune: setup ## delete what is older than include/retention.yml says, and follow it; DRY_RUN=1 only lists it [DRY_RUN=1]
	@$(STACK) prune $(HELP_OPTION) $(if $(DRY_RUN),--dry-run)

verify: setup ## build a second time from raw, compare, and follow it: [DAYS=7] [SEED=] [FULL=1]
	@$(STACK) verify $(HELP_OPTION) $(if $(DAYS),--days $(DAYS)) $(if $(SEED),--seed $(SEED)) $(if $(FULL),--full)

dsn: setup ## print the warehouse's libpq URI [DB=shop] [ROLE=reader] [WITH_PASSWORD=1 for programs without libpq]
	@$(STACK) dsn $(if $(DB),--db $(DB)) $(if $(ROLE),--role $(ROLE)) $(if $(WITH_PASSWORD),--with-password)

preview: setup ## show what a change of the dbt project does to the marts, in exact figures, and change nothing: [BASE=main] [MARTS=a,b] [OUT=report.md] [NAME=]
	@$(STACK) preview $(HELP_OPTION) $(if $(BASE),--base "$(BASE)") $(if $(MARTS),--marts $(MARTS)) $(if $(OUT),--out "$(OUT)") $(if $(NAME),--name "$(NAME)")

shop-check: setup ## read some days of each source of the shop's profile, and change nothing [FROM= TO=]
	@$(STACK) shop-check $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO))

migrate: setup ## bring the warehouse's roles and tables up to date with the code; a run does the tables by itself
	@$(STACK) migrate

airflow: setup ## run Airflow's command line on the stack: make airflow ARGS="dags list"
	@$(STACK) airflow $(ARGS)

dbt: setup ## run dbt's command line on the stack's warehouse: make dbt ARGS="build --select marts"
	@$(STACK) dbt $(ARGS)

test: setup ## run all tests in two processes; some tests in one process: make test ARGS="tests/unit -k windows"
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n 2 tests)

test-mutants: setup ## make mistakes in a copy of the code, count those that the tests notice, show the others: [AREA=lease,pages] [SAMPLE=20] [SEED=1] [SINCE=main] [JOBS=2] [LIST=1]
	@PYTHONPATH=plugins:. $(BIN)/python -m tests.mutants $(if $(AREA),--area $(AREA)) $(if $(SAMPLE),--sample $(SAMPLE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(SINCE),--since $(SINCE)) $(if $(JOBS),--jobs $(JOBS)) $(if $(LIST),--list)

check-real: setup ## compare the marts with an independent computation: DATA=folder FROM= TO= [TIME_ZONE= SOURCE_TIME_ZONE=]
	@$(BIN)/python -m tests.oracle "$(DATA)" --from "$(FROM)" --to "$(TO)" --dsn "$$($(STACK) dsn)" \
		$(if $(TIME_ZONE),--time-zone $(TIME_ZONE)) $(if $(SOURCE_TIME_ZONE),--source-time-zone $(SOURCE_TIME_ZONE))

truth: setup ## compare the marts with what generated shops have on purpose, and print the table [LONG=1 for two and three years]
	@$(if $(LONG),ECOMMERCE_TEST_LONG=1) $(BIN)/python -m tests.truth

lint: setup ## run ruff, import-linter, mypy, sqlfluff, dbt-score
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYTHONPATH=plugins $(BIN)/lint-imports --no-logo
	@$(BIN)/mypy benchmarks dags plugins include tests
	@$(BIN)/sqlfluff lint --quiet include/dbt/models include/dbt/tests
	@$(BIN)/dbt --quiet --warn-error parse --project-dir include/dbt --profiles-dir include/dbt --target-path $(CURDIR)/$(VENV)/dbt
	@$(BIN)/dbt-score lint --manifest $(VENV)/dbt/manifest.json --show failing-items

bench: setup ## run a benchmark: NAME=main_job [ARGS="--runs 5"]; without NAME, list all of them
	@PYTHONPATH=plugins $(BIN)/python -m benchmarks $(NAME) $(ARGS)

screenshots: setup ## take screenshots of the running demo's pages for docs/screenshots; needs chromium
	@PYTHONPATH=plugins $(BIN)/python -m tests.browser.screenshots

lock: ## compile pyproject.toml into the requirements files, with the hash of each package [UPGRADE=1 for newer ones]
	@$(COMPILE) pyproject.toml -o requirements.txt
	@$(COMPILE) pyproject.toml --extra celery --group dev -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) --group installer -o requirements-uv.txt

outdated: setup ## show which locked packages are behind, what holds them back, and whether a newer lock can be made
	@$(BIN)/python .ci/outdated.py

pythons: ## run the unit and dbt tests on each Python from 3.11 to 3.14 that is installed [VERSIONS="3.12 3.13"]
	@.ci/pythons $(VERSIONS)

contracts: setup ## write a data contract (ODCS) of each mart and source to contracts/ [FOLDER=elsewhere]
	@$(BIN)/dbt --quiet parse --project-dir include/dbt --profiles-dir include/dbt --target-path $(CURDIR)/$(VENV)/dbt
	@$(BIN)/python .ci/contracts.py --manifest $(VENV)/dbt/manifest.json $(if $(FOLDER),--folder "$(FOLDER)")

sbom: setup ## write the image's packages to sbom.json (CycloneDX)
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file sbom.json

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: help setup run test check fmt bench chaos package migrate deploy-check zoho

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## install everything into .venv, and nothing anywhere else

run: $(INSTALLED) ## start Tidemark, show what it does, keep serving (PORT=8080, DEMO=0 only serves)
	@exec $(BIN)/python -m deploy.local.run

test: $(INSTALLED) ## run the tests (TESTS="tests/flows", ARGS="-k name" for some of them)
	@$(BIN)/python -m pytest -n auto $(TESTS) $(ARGS)

check: $(INSTALLED) ## lint, check the types and the floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/squawk sql/migrations/*.sql

fmt: $(INSTALLED) ## put the code into its form
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## measure, next to peers and limits in the same run
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(INSTALLED) ## break everything that can be broken, for 240 s (ARGS="--bugs": ten seeded bugs, each must be caught)
	@$(BIN)/python -m tests.chaos.campaign $(ARGS)

package: $(INSTALLED) ## package for AWS without speaking to it, as serverless.yml says
	@AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none npx --yes osls@4.3.1 package --package .tidemark/package

migrate: $(INSTALLED) ## bring the database of DATABASE_URL, or of make run, to the schema of this code
	@$(BIN)/tidemark migrate

deploy-check: $(INSTALLED) ## ask what is deployed what it serves, how it is, and for its log (ARGS="web --forbidden Traceback")
	@$(BIN)/tidemark deploy check $(ARGS)

zoho: $(INSTALLED) ## serve a stand-in for Zoho's API (PORT=8090, ARGS="--items 50000"); webhooks alone: tidemark webhook send
	@exec $(BIN)/python -m deploy.local.zoho --port $(or $(PORT),8090) $(ARGS)

# The stamp is written last: an installation that was interrupted is taken up again.
$(INSTALLED): requirements.txt deploy/local/requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tidemark needs Python 3.11 or newer: install it, or name it with make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment here: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement deploy/local/requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# Everything here works in .venv/, which `make setup` builds once from requirements.lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export GIT_PYTHON_REFRESH := quiet

BIRDS ?=
RECIPE ?= recipes/birds-demo.toml

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## The main job: data to a registered champion; BIRDS=caltech, or an archive or folder of your own
	@linnet ingest recipes/birds-demo.toml $(if $(BIRDS),--source "$(BIRDS)")
	@dvc repro
	@linnet results build/*

.PHONY: setup
setup: $(READY) ## Build .venv/ from requirements.lock (other targets do it when it is needed)

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --quiet -r requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

.PHONY: check
check: $(READY) ## Style, types, import contract, recipes, contract tests
	@ruff format --check
	@ruff check
	@mypy
	@lint-imports
	@linnet check recipes/*.toml
	@pytest tests/contract

.PHONY: test
test: $(READY) ## All tests that need no GPU and no servers
	@pytest -m "not gpu and not stack"

.PHONY: test-fast
test-fast: $(READY) ## Unit and contract tests only
	@pytest tests/unit tests/contract -m "not gpu and not stack"

.PHONY: test-gpu
test-gpu: $(READY) ## Tests that need a CUDA GPU
	@pytest -m gpu

.PHONY: test-stack
test-stack: $(READY) ## Tests against real servers (an MLflow server on this machine)
	@pytest -m stack

.PHONY: describe
describe: $(READY) ## What RECIPE is and what it will cost here
	@linnet describe $(RECIPE)

.PHONY: ui-mlflow
ui-mlflow: $(READY) ## Open the runs and models of this workspace at http://127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "Your runs are at $$MLFLOW_TRACKING_URI";; \
	*) mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}" --port 5000;; esac

.PHONY: bench
bench: $(READY) ## Speed against named peers, in the same run
	@for script in benchmarks/bench_*.py; do python $$script; done

.PHONY: lock
lock: $(READY) ## Renew requirements.lock from pyproject.toml
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --quiet -o requirements.lock

.PHONY: clean
clean: ## Remove results and caches (not .venv/, data/ or the MLflow store)
	@rm -rf build .work .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

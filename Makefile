# Everything here works in .venv/, which `make setup` builds once from requirements.lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= true
export GIT_PYTHON_REFRESH := quiet

BIRDS ?=
MUSIC ?=
VOCALS ?=
SOURCE ?= $(BIRDS)
SWEEP ?= sweeps/birds-demo.toml
RECIPE ?= recipes/birds-demo.toml
ENGINE ?= docker
ACCELERATOR ?= cuda
PUSH ?=
UPLOAD ?=
CLUSTER ?= $(LINNET_CLUSTER)
ARGS ?=
ifneq ($(CLUSTER),)
export LINNET_CLUSTER := $(CLUSTER)
endif
# A file stays in one worker: its fixtures are made once.
IN_PARALLEL = -n logical --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(READY) ## The main job: data to registered champions; BIRDS, MUSIC, VOCALS: an archive or folder of your own
	@linnet check --server recipes/birds-demo.toml recipes/music-demo.toml recipes/vocals-demo.toml
	@linnet ingest recipes/birds-demo.toml $(if $(BIRDS),--source "$(BIRDS)")
	@linnet ingest recipes/music-demo.toml $(if $(MUSIC),--source "$(MUSIC)")
	@linnet ingest recipes/vocals-demo.toml $(if $(VOCALS),--source "$(VOCALS)")
	@dvc repro register@birds-demo
	@dvc repro
	@linnet results build/*

.PHONY: setup
setup: $(READY) ## Build .venv/ from requirements.lock (other targets do it when it is needed)

MADE_HERE := $(shell test "$$(cat $(READY) 2>/dev/null)" = "$$(pwd -P)" && echo yes)
$(READY): requirements.lock pyproject.toml deploy/venv.sh deploy/package_index.py $(if $(MADE_HERE),,another-place)
	@PYTHON="$(PYTHON)" UV_VERSION="$(UV_VERSION)" deploy/venv.sh

.PHONY: another-place
another-place: # .venv/ is missing, or was made for another folder

.PHONY: kfp-local
kfp-local: $(READY) ## The pipeline's DAG for RECIPE, as processes of this machine; SOURCE names its data
	@python -m pipelines.local $(RECIPE) --runner subprocess --source "$(SOURCE)" $(ARGS)

.PHONY: image
image: ## Build the image; ENGINE=docker (with BuildKit: docker-buildx-plugin)|podman, ACCELERATOR=cuda|cpu; PUSH=registry/linnet also pushes it
	@ENGINE="$(ENGINE)" ACCELERATOR="$(ACCELERATOR)" PUSH="$(PUSH)" deploy/image/build.sh

.PHONY: kfp-containers
kfp-containers: $(READY) image ## The same DAG with every task in a container of the image (DOCKER_HOST may be podman's)
	@python -m pipelines.local $(RECIPE) --runner containers --image "$$(cat build/image.id)" --source "$(SOURCE)" $(ARGS)

.PHONY: pipeline
pipeline: $(READY) ## Compile the DAG for LINNET_IMAGE and CLUSTER into build/; UPLOAD=1: a version for Kubeflow's page
	@python -m pipelines.package $(if $(UPLOAD),--upload) $(ARGS)

.PHONY: cluster-check
cluster-check: $(READY) ## What a cluster has of what a run needs, each row with its remedy: CLUSTER, KFP_HOST, KUBECONFIG
	@python -m pipelines.cluster_check $(ARGS)

.PHONY: submit
submit: $(READY) ## Run RECIPE on a cluster: KFP_HOST, KFP_TOKEN, LINNET_IMAGE by digest, CLUSTER; more in ARGS
	@python -m pipelines.submit $(RECIPE) $(ARGS)

.PHONY: schedule
schedule: $(READY) ## Change the cluster's recurring runs to match pipelines/schedule.toml
	@python -m pipelines.schedule $(ARGS)

.PHONY: check
check: $(READY) ## Style, types, import contract, recipes, contract tests
	@ruff format --check
	@ruff check
	@mypy
	@lint-imports
	@linnet check recipes/*.toml
	@pytest $(IN_PARALLEL) tests/contract

.PHONY: test
test: $(READY) ## All tests that need no GPU and no servers
	@pytest $(IN_PARALLEL) -m "not gpu and not stack and not containers and not cluster"

.PHONY: test-fast
test-fast: $(READY) ## Unit and contract tests only
	@pytest $(IN_PARALLEL) tests/unit tests/contract -m "not gpu and not stack and not containers and not cluster"

.PHONY: test-gpu
test-gpu: $(READY) ## Tests that need a CUDA GPU
	@pytest -m gpu

.PHONY: test-stack
test-stack: $(READY) ## Tests against real servers: MLflow, and S3 where AWS_ENDPOINT_URL_S3 names one
	@pytest -m stack

.PHONY: test-containers
test-containers: $(READY) ## Tests that build the image and run tasks in it (a docker or podman engine)
	@pytest -m containers

.PHONY: test-cluster
test-cluster: $(READY) ## Tests on a real cluster, for an hour or two: KFP_HOST, LINNET_IMAGE, KUBECONFIG, MLFLOW_TRACKING_URI
	@pytest -n0 -m cluster -rs tests/cluster $(ARGS)

.PHONY: describe
describe: $(READY) ## What RECIPE is and what it will cost here
	@linnet describe $(RECIPE)

.PHONY: sweep
sweep: $(READY) ## Run SWEEP, a grid of settings and seeds or an Optuna search, as DVC experiments in one table
	@python -m pipelines.sweep $(SWEEP) $(ARGS)

.PHONY: ui
ui: $(READY) ## A page to generate with the trained models, at http://127.0.0.1:8501
	@linnet ui

.PHONY: ui-mlflow
ui-mlflow: $(READY) ## Open the runs and models of this workspace at http://127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) echo "Your runs are at $$MLFLOW_TRACKING_URI";; \
	*) python -m linnet.tracking && MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false exec mlflow ui --port 5000 \
	--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlflow.db}";; esac

.PHONY: bench
bench: $(READY) ## Speed against named peers, in the same run; numbers also as JSON in build/bench/
	@mkdir -p build/bench
	@for name in train_step sample preprocess loading processes neighbours; do \
	python benchmarks/bench_$$name.py --json build/bench/$$name.json || exit; done

.PHONY: bench-gpu
bench-gpu: $(READY) ## The same for training steps and sampling on a CUDA GPU (compiling takes minutes)
	@mkdir -p build/bench
	@for name in train_step sample; do \
	python benchmarks/bench_$$name.py --device cuda --json build/bench/$$name-gpu.json || exit; done

.PHONY: mutants
mutants: $(READY) ## Break the core in many ways and see that tests notice (ARGS: words of the faults to try)
	@python tests/mutants.py $(ARGS)

.PHONY: kills
kills: $(READY) ## Kill a training at twenty random moments and compare the bytes it ends with (ARGS: --kills, --seed)
	@python tests/kills.py $(ARGS)

.PHONY: soak
soak: $(READY) ## Train for an hour and see that memory does not grow (ARGS: --minutes)
	@python tests/soak.py $(ARGS)

# uv asks the index that pip has.
INDEX := eval "$$(python deploy/package_index.py)"
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --quiet
.PHONY: lock
lock: $(READY) ## Renew requirements.lock from pyproject.toml, the image's two parts of it, and versions.toml
	@$(INDEX); $(COMPILE) pyproject.toml --all-extras -o requirements.lock
	@$(INDEX); printf 'torch\ntorchaudio\ntorchvision\n' | $(COMPILE) -c requirements.lock - -o deploy/image/torch.lock
	@$(INDEX); $(COMPILE) -c requirements.lock pyproject.toml --extra build --extra dvc --extra kfp --extra server --extra text \
		$$(grep -oE '^(torch|torchaudio|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' deploy/image/torch.lock \
		| sed 's/==//; s/^/--no-emit-package /') -o deploy/image/linnet.lock
	@{ echo "# The libraries whose version decides a result, from requirements.lock by \`make lock\`; dvc.yaml depends on them."; \
	for name in $$(python -c 'from linnet.stages import STAGES; print(*sorted({x for s in STAGES for x in s.libraries}))'); \
	do sed -nE "s/^($$name)==([^ ;]+).*/\1 = \"\2\"/p" requirements.lock; done; } > versions.toml

.PHONY: clean
clean: ## Remove results and caches (not .venv/, data/ or the MLflow store)
	@rm -rf build .work .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

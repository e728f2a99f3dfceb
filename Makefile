# Every target sets up what is missing. PYTHON chooses the interpreter: make repro PYTHON=python3.11
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport CONDA_PREFIX PYTHONHOME
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
SETUP := .venv/.ready

.PHONY: help setup repro test check serve ui lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(SETUP) ## make .venv and install the locked requirements

$(SETUP): requirements/lock.txt requirements/bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "ferflow needs Python 3.11; say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	uv pip sync --python .venv/bin/python --quiet --require-hashes requirements/lock.txt
	uv pip install --python .venv/bin/python --quiet --no-deps --no-build-isolation -e .
	@touch $@

repro: setup ## run the whole pipeline (dvc repro) and print what came out
	dvc repro
	@ferflow results

test: setup ## run the tests, a file a core
	OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: setup ## format, lint, types, layers
	ruff format --check .
	ruff check .
	mypy
	lint-imports

serve: setup ## answer predictions on http://127.0.0.1:3000
	bentoml serve

ui: setup ## MLflow on http://127.0.0.1:5000 and Prefect on http://127.0.0.1:4200
	python -m flows.ui

lock: setup ## resolve the requirements again
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --python-version 3.11 \
		--override requirements/overrides.txt --quiet --upgrade --output-file requirements/lock.txt --custom-compile-command "make lock"
	uv pip compile requirements/tensorflow.in --generate-hashes --no-emit-index-url --python-version 3.11 \
		--quiet --upgrade --output-file requirements/tensorflow.txt --custom-compile-command "make lock"

clean: ## remove caches and the state of local servers; data, models and reports stay
	rm -rf .ferflow .prefect .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dvc_plots

# Every target sets up what is missing. PYTHON chooses the interpreter: make repro PYTHON=python3.11
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport CONDA_PREFIX PYTHONHOME
unexport PYTHONDONTWRITEBYTECODE # some containers set it: then every process compiles PyTorch, MLflow and Prefect again
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
SETUP := .venv/.ready

.PHONY: help setup repro test test-long coverage check serve ui retrain schedule drill docs reference lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

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

test-long: setup ## the tests that take minutes each: clusters, killed workers, schedules, real servers (an hour at most)
	python -m pytest -m long

coverage: setup ## the tests, with the lines that they run (slower), and which take longest
	OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile --durations=20 --cov=ferflow --cov-report=term:skip-covered --cov-fail-under=90

check: setup ## format, lint, types, layers, dependencies
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	deptry .

serve: setup ## answer predictions on http://127.0.0.1:3000
	bentoml serve

ui: setup ## MLflow on http://127.0.0.1:5000 and Prefect on http://127.0.0.1:4200
	python -m flows.ui

docs: setup ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo site/index.html

reference: setup ## write the tables of docs/reference from the code
	python -m ferflow.reference

retrain: setup ## fold feedback, train, and promote what passes the gate, now
	python -m flows.retraining

schedule: setup ## monitoring, retraining and the pipeline on schedules and events, until Ctrl-C
	python -m flows.schedule

drill: setup ## the whole loop on drawn faces in a copy of the project, as a timeline (five minutes on two cores of your own)
	python -m flows.drill

lock: setup ## resolve the requirements again
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --python-version 3.11 \
		--override requirements/overrides.txt --quiet --upgrade --output-file requirements/lock.txt --custom-compile-command "make lock"
	uv pip compile pyproject.toml --extra serve --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
		--override requirements/overrides.txt --constraints requirements/lock.txt \
		--quiet --output-file requirements/serve.txt --custom-compile-command "make lock"
	uv pip compile requirements/tensorflow.in --generate-hashes --no-emit-index-url --python-version 3.11 \
		--quiet --upgrade --output-file requirements/tensorflow.txt --custom-compile-command "make lock"

clean: ## remove caches and the runs of local servers; data, models, reports, the log and its keys stay
	rm -rf .ferflow/results .ferflow/runs .ferflow/pipeline .ferflow/*.log .ferflow/companion-* .prefect .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dvc_plots

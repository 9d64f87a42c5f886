# Two commands do everything on a fresh machine: `make demo` makes music, `make test` checks the house.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q
PACKAGE = $(VENV)/.package
TOOLS = $(VENV)/.tools

.PHONY: demo studio lab test check lint types widgets notebooks lessons pictures docs coverage canary schemas hooks clean

demo: $(PACKAGE)            ## set up, compose from a sentence, write FLAC and a page
	$(VENV)/bin/acestep-lab demo --out demo

studio: $(PACKAGE)          ## open the studio page
	$(VENV)/bin/acestep-lab serve --show

lab: $(TOOLS)               ## open the lessons in Jupyter
	$(VENV)/bin/jupyter lab notebooks

test: $(TOOLS)              ## set up and run every test, a process for each core
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: lint types widgets   ## what .ci/run looks at before the tests

lint: $(TOOLS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check acestep_lab tests

types: $(TOOLS)
	$(VENV)/bin/mypy

widgets:                    ## check types and layout of the browser halves (needs node)
	sh .ci/widgets

notebooks: $(TOOLS)         ## write the .ipynb beside each py:percent source
	$(VENV)/bin/jupytext --sync notebooks/*.py

lessons: $(TOOLS)           ## run the lessons whose source has changed, and keep what came out in their notebooks
	$(VENV)/bin/python .ci/lessons.py

pictures: $(TOOLS)          ## what README.md shows and lets hear: notebooks/pictures (needs a Chromium)
	$(VENV)/bin/python .ci/pictures.py

docs: $(TOOLS)              ## the reference and the lessons as pages: build/docs/index.html
	$(VENV)/bin/python .ci/docs.py build/docs

coverage: $(TOOLS)          ## every test, and which lines none of them ran; fails under 90 %
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest
	$(VENV)/bin/coverage combine -q
	$(VENV)/bin/coverage report

canary: $(TOOLS)            ## the oracle tests against the newest diffusers, transformers and torch
	$(VENV)/bin/python .ci/canary.py

schemas: $(TOOLS)           ## the JSON schemas of recipe, plan and manifest, from their readers
	$(VENV)/bin/python -m acestep_lab.schemas --write

hooks: $(TOOLS)             ## the same checks before every commit
	$(PIP) install pre-commit
	$(VENV)/bin/pre-commit install

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "acestep_lab needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time this takes a minute or two …"

$(PACKAGE): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt "torch==2.13.0"
	$(PIP) install -c constraints.txt -e .
	touch $@

$(TOOLS): $(PACKAGE)
	$(PIP) install -c constraints.txt -e ".[lab,listen,test]"
	touch $@

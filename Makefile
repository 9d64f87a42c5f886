# Two commands do everything on a fresh machine: `make demo` makes music, `make test` checks the house.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q
PACKAGE = $(VENV)/.package
TOOLS = $(VENV)/.tools

.PHONY: demo studio test lint types widgets notebooks clean

demo: $(PACKAGE)            ## set up, compose from a sentence, write FLAC and a page
	$(VENV)/bin/acestep-lab demo --out demo

studio: $(PACKAGE)          ## open the studio page
	$(VENV)/bin/acestep-lab serve --show

test: $(TOOLS)              ## set up and run every test
	$(VENV)/bin/python -m pytest

lint: $(TOOLS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check acestep_lab tests

types: $(TOOLS)
	$(VENV)/bin/mypy

widgets:                    ## type-check the browser halves (needs node)
	sh .ci/widgets

notebooks: $(TOOLS)         ## write the .ipynb beside each py:percent source
	$(VENV)/bin/jupytext --sync notebooks/*.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(PACKAGE): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt "torch==2.13.0"
	$(PIP) install -c constraints.txt -e .
	touch $@

$(TOOLS): $(PACKAGE)
	$(PIP) install -c constraints.txt -e ".[lab,listen,test]"
	touch $@

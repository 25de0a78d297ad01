# Needs make and Python >= 3.11, nothing else. Everything is installed into virtual environments inside this folder.
# Another Python: make demo PYTHON=/path/to/python3.12

.SUFFIXES:
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test format lint types unit test-vendor verify-all budget bench docs clean

ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$python; break; fi; done)
endif

# The CPU build comes from naming this very version by itself: a looser request may resolve to gigabytes of CUDA.
TORCH := torch==2.13.0

BASE := .venv/bin
TEST := .venv-test/bin
VENDOR := .venv-vendor/bin
DOCS := .venv-docs/bin
PIP := python -m pip --disable-pip-version-check install

help:
	@echo "make demo     analyse the sample document in examples/ with a base install (no torch)"
	@echo "make test     everything below up to budget: what has to pass before a change is kept"
	@echo "make lint     formatting and lint (ruff)        make format   apply both"
	@echo "make types    static types (mypy)"
	@echo "make unit     the tests (pytest); one of them: make unit ARGS='tests/structure -k import'"
	@echo "make test-vendor   the tests that need transformers 4.46, in an environment of their own"
	@echo "make verify-all    the twins against the real model at 60 random points: make verify-all ARGS='--seed 7'"
	@echo "make budget   size of the wheel and of a base install"
	@echo "make bench    speed (pytest-benchmark)"
	@echo "make docs     the documentation as a web site"
	@echo "make clean    remove the environments and everything built"

# -- environments ---------------------------------------------------------------------------------------------------

define need_python
@if [ -z "$(PYTHON)" ]; then echo "No Python >= 3.11 found: install one, or name it with PYTHON=..." >&2; exit 1; fi
endef

define create
$(need_python)
@echo "==> $(1): $(2)"
@$(PYTHON) -m venv $(3) $(1)
endef

.venv/installed: pyproject.toml src/modelmeter/_version.py
	$(call create,.venv,a new environment with the base install of modelmeter (no torch),--clear)
	@$(BASE)/$(PIP) --quiet --editable .
	@touch $@

.venv-test/torch:
	$(call create,.venv-test,an environment for the tests. The first time takes some minutes)
	@echo "==> .venv-test: installing $(TORCH)"
	@$(TEST)/$(PIP) $(TORCH)
	@touch $@

.venv-test/installed: .venv-test/torch pyproject.toml src/modelmeter/_version.py
	@echo "==> .venv-test: installing modelmeter and what its tests need"
	@$(TEST)/$(PIP) --quiet --editable '.[dev]'
	@touch $@

# The vendor's code needs a transformers of another time: the two cannot live in one environment.
.venv-vendor/torch:
	$(call create,.venv-vendor,an environment for the tests of the vendor's code. The first time takes some minutes)
	@echo "==> .venv-vendor: installing $(TORCH)"
	@$(VENDOR)/$(PIP) $(TORCH)
	@touch $@

.venv-vendor/installed: .venv-vendor/torch pyproject.toml src/modelmeter/_version.py
	@echo "==> .venv-vendor: installing modelmeter, transformers 4.46.3 and what its tests need"
	@$(VENDOR)/$(PIP) --quiet --editable . 'transformers==4.46.3' 'pytest>=8.3' 'hypothesis>=6.112' $(TORCH)
	@touch $@

.venv-docs/installed: pyproject.toml src/modelmeter/_version.py
	$(call create,.venv-docs,a new environment for the documentation,--clear)
	@$(DOCS)/$(PIP) --quiet --editable '.[docs]'
	@touch $@

# -- what people ask for --------------------------------------------------------------------------------------------

demo: .venv/installed
	@mkdir -p build/demo
	@echo "==> Analysing examples/sample.pdf: what DeepSeek-OCR costs on its pages"
	$(BASE)/modelmeter analyze examples/sample.pdf --markdown build/demo/sample.md --json build/demo/sample.json
	@echo "Demo done. The report is in build/demo/sample.md, the same figures for programs in build/demo/sample.json"

test: lint types unit test-vendor budget
	@echo "All checks passed. The test results are in build/test/junit.xml"

format: .venv-test/installed
	$(TEST)/ruff check --fix .
	$(TEST)/ruff format .

lint: .venv-test/installed
	@echo "==> Checking formatting and lint"
	$(TEST)/ruff format --check .
	$(TEST)/ruff check .

types: .venv-test/installed
	@echo "==> Checking static types (a first run reads torch's types too: about half a minute)"
	$(TEST)/mypy

unit: .venv-test/installed
	@echo "==> Running the tests"
	@mkdir -p build/test
	$(TEST)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal --junitxml=build/test/junit.xml $(ARGS)

test-vendor: .venv-vendor/installed
	@echo "==> Running the tests of the vendor's code"
	@mkdir -p build/test
	$(VENDOR)/python -m pytest tests/vendor --junitxml=build/test/vendor.xml $(ARGS)

verify-all: .venv-test/installed
	@echo "==> Verifying random points: image sizes, modes, batches, contexts, cache lengths, configurations"
	$(TEST)/python tools/verify_all.py $(ARGS)

budget:
	$(need_python)
	@echo "==> Building the wheel and checking sizes in a throw-away environment"
	@$(PYTHON) tools/check_budget.py

bench: .venv-test/installed
	@echo "==> Measuring speed"
	@mkdir -p build
	$(TEST)/python -m pytest bench --benchmark-only --benchmark-json=build/bench.json $(ARGS)
	$(TEST)/python bench/summarise.py build/bench.json
	@echo "Benchmarks done. The figures are in build/bench.json"

docs: .venv-docs/installed
	@echo "==> Building the documentation"
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict
	@echo "Documentation done. Open site/index.html"

clean:
	rm -rf .venv .venv-test .venv-vendor .venv-docs build dist site .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

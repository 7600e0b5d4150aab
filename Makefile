# Each target is one readable line; `make` alone lists them. They share the environment .venv, made when first needed.
PYTHON ?= python3

.PHONY: help venv slicer demo rollout test slow long lint docs

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' Makefile

venv: .venv/installed ## make .venv with the package (editable) and the tools its tests need

.venv/installed: pyproject.toml nnactive_ext/__init__.py
	@echo "installing nnU-Net and torch (6 GB, a few minutes; a minute with uv and a warm cache)"
	@if uv --version >/dev/null 2>&1; then $(WITH_UV); else $(WITH_PIP); fi && touch $@

WITH_UV = uv venv --quiet --allow-existing --python "$(PYTHON)" .venv && uv pip install --quiet --compile-bytecode --python .venv --editable '.[dev]'
WITH_PIP = $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --editable '.[dev]'

slicer: .venv/installed ## 3D Slicer without its windows, for the tests that run it (1 GB)
	@if uv --version >/dev/null 2>&1; then uv pip install --quiet --python .venv --editable '.[test-slicer]'; else .venv/bin/python -m pip install --quiet --editable '.[test-slicer]'; fi

demo: .venv/installed ## a whole simulated experiment on synthetic images
	@.venv/bin/python -m nnactive_ext.demo

rollout: .venv/installed ## the same images, which you annotate in the browser
	@.venv/bin/python -m nnactive_ext.demo --rollout

# A file's tests share fixtures, so they run in one process; the longest files start first (tests/conftest.py).
test: .venv/installed ## all tests but the slow and the long ones, on all cores
	@.venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder

slow: .venv/installed ## proofs and real trainings of at most two minutes each
	@.venv/bin/pytest -m slow -n auto --dist loadfile --no-loadscope-reorder

long: .venv/installed ## full trainings and kills at every moment: an hour and more
	@.venv/bin/pytest -m long

docs: .venv/installed ## the documentation as HTML, in docs/_build
	@.venv/bin/sphinx-build -E -W --keep-going -q docs docs/_build

# mypy does not see through setuptools' editable installs, so it is given the package laid out as the wheel has it.
lint: .venv/installed ## ruff; mypy and import-linter on the package as installed
	@.venv/bin/ruff check && .venv/bin/ruff format --check
	@d=$$(mktemp -d) && trap "rm -r $$d" EXIT && cp -r nnactive_ext $$d && cp -r trainers query_methods $$d/nnactive_ext && cd $$d && "$(CURDIR)/.venv/bin/mypy" --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p nnactive_ext && "$(CURDIR)/.venv/bin/lint-imports" --no-logo --no-cache "$(CURDIR)/pyproject.toml"

# Each target is one readable line; `make` alone lists them. They share the environment .venv, made when first needed.
PYTHON ?= python3

.PHONY: help venv demo test slow lint

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' Makefile

venv: .venv/installed ## make .venv with the package (editable) and the tools its tests need

.venv/installed: pyproject.toml
	@echo "installing nnU-Net and torch (6 GB, a few minutes)"
	@$(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --editable '.[dev]' && touch $@

demo: .venv/installed ## a whole experiment on made-up data
	@.venv/bin/python -m nnactive_ext.demo

test: .venv/installed ## all tests but the slow ones, on all cores
	@.venv/bin/pytest -n auto --dist loadfile

slow: .venv/installed ## full trainings and long proofs
	@.venv/bin/pytest -m slow

# mypy does not see through setuptools' editable installs, so it is given the package laid out as the wheel has it.
lint: .venv/installed ## ruff; mypy and import-linter on the package as installed
	@.venv/bin/ruff check && .venv/bin/ruff format --check
	@d=$$(mktemp -d) && trap "rm -r $$d" EXIT && cp -r nnactive_ext $$d && cp -r trainers query_methods $$d/nnactive_ext && cd $$d && "$(CURDIR)/.venv/bin/mypy" --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p nnactive_ext && "$(CURDIR)/.venv/bin/lint-imports" --no-logo --no-cache "$(CURDIR)/pyproject.toml"

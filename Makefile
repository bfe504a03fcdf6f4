# Whatever a target needs it makes first; nothing is done twice.

PYTHON ?= $(firstword $(foreach name,python3.11 python3,\
	$(shell $(name) -c 'print("$(name)")' 2>/dev/null)) python3.11)
BIN := .venv/bin

.DEFAULT_GOAL := help
PRECISION := fp32
.PHONY: help setup demo page test lint docs clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: ## Make .venv with everything in it (PYTHON=python3.11)
	@$(PYTHON) tools/setup

demo: setup ## Draw the demo data, train, evaluate, draw the detections
	$(BIN)/python tools/demo.py

page: demo ## Export the demo detector into a page for a browser (PRECISION=int8)
	$(BIN)/python tools/deployment/export.py configs/demo/fcos_tresnet-m_fpn_demo.py \
		"$$(cat work_dirs/demo/train/last_checkpoint)" \
		work_dirs/demo/$(PRECISION).onnx --precision $(PRECISION)
	$(BIN)/python tools/deployment/make_page.py work_dirs/demo/$(PRECISION).onnx \
		work_dirs/demo/page

test: setup ## Run the test suite
	$(BIN)/python -m pytest

lint: setup ## Run ruff, codespell and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy

docs: setup ## Build the documentation in docs/_build/html
	$(BIN)/python -W ignore -m sphinx -W --keep-going -q docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

clean: ## Delete .venv and what tools cache here; keep data and work_dirs
	rm -rf .venv .setup.log build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
		docs/_build docs/generated

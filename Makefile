# Each target sets up what it needs in .venv and calls one command.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
CONFIG ?= demo16
BOARD ?= ulx3s-85f
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow lint verilog sim formal fpga docs bench train clean

help:
	@echo "make run | test | test-slow | lint | verilog | sim | formal | fpga | docs | bench | train | clean"

$(VENV)/run.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[fpga]"
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/train.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[train]"
	@touch $@

setup: $(VENV)/dev.stamp

run: $(VENV)/run.stamp
	systolith run -o build/run

test: $(VENV)/dev.stamp
	pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-slow: $(VENV)/dev.stamp
	pytest -n $(WORKERS) --dist worksteal -m slow

lint: $(VENV)/dev.stamp
	ruff format --check .
	ruff check .
	mypy
	lint-imports

verilog: $(VENV)/run.stamp
	systolith generate --config $(CONFIG) -o build/$(CONFIG)

sim: $(VENV)/run.stamp
	systolith simulate --config $(CONFIG) --gemm 4,128,128 --split auto

formal: $(VENV)/dev.stamp
	pytest -n $(WORKERS) --dist worksteal -m formal

fpga: $(VENV)/run.stamp
	systolith fpga --config $(if $(filter icebreaker,$(BOARD)),tiny,demo8) --board $(BOARD)

docs: $(VENV)/run.stamp
	python -c "from systolith.emit.manual import engine_manual as page; \
	from systolith.config.presets import demo16_mx; print(page(demo16_mx), end='')" > docs/engine.md

bench: $(VENV)/dev.stamp
	python tests/bench.py -o build/bench.json

train: $(VENV)/train.stamp
	python -m systolith.models.charlm.train --out build/charlm

clean:
	rm -rf build

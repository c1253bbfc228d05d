# `make help` lists the targets. PYTHON=python3 uses an interpreter that has everything already.
VENV := .venv
PYTHON := $(VENV)/bin/python
OUT ?= gpu-results
INPUTS ?= 1000000
RUNS := longbench-runs
GPU_SWEEP := --impl dilated,vanilla --seq 8k:128k --pass fwd,bwd --dtype bf16 --device cuda

STAMP := $(VENV)/.installed
READY := $(if $(filter $(VENV)/bin/python,$(PYTHON)),$(STAMP))
LONGBENCH := $(PYTHON) -m longbench_cli

.PHONY: help demo test faults fuzz lint audit bench gpu gpu-present clean

help:
	@echo "make demo   measure this machine (profile quick), write the run file and its HTML report"
	@echo "make test   the whole test suite"
	@echo "make faults real faults injected into sweeps, and a table of what was lost; FAULT_TABLE=FILE writes Markdown"
	@echo "make fuzz   odd axes, profiles and run files, led by atheris: INPUTS=$(INPUTS) of all kinds together, and a table"
	@echo "make lint   ruff, mypy --strict, import-linter, and make audit"
	@echo "make audit  known vulnerabilities in what constraints.txt pins (pip-audit); without a network it says so"
	@echo "make bench  the benchmarks that fit this machine, as one table; TORCHSCALE=PATH compares with a checkout"
	@echo "make gpu    GPU tests, an A/A gate, CUDA benchmarks and a short sweep; everything under OUT=$(OUT)"
	@echo "make clean  remove $(VENV), caches and build outputs (not $(RUNS) or $(OUT))"

$(STAMP): pyproject.toml constraints.txt
	@python3 -m venv $(VENV) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv"; exit 1; }
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(LONGBENCH) run --profile quick
	$(LONGBENCH) report
	@echo "run file: $$(ls -t $(CURDIR)/$(RUNS)/*.jsonl | head -n 1)"
	@echo "report:   $$(ls -t $(CURDIR)/$(RUNS)/*.html | head -n 1)"

test: $(READY)
	$(PYTHON) -m pytest

faults: $(READY)
	$(PYTHON) -m pytest tests/faults

fuzz: $(READY)
	$(if $(READY),$(PYTHON) -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,fuzz]')
	$(PYTHON) tests/fuzz/atheris_run.py --inputs $(INPUTS)

lint: $(READY)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_logo=True))"
	@$(MAKE) --no-print-directory audit

audit: $(READY)
	$(PYTHON) .ci/audit.py

bench: $(READY)
	$(PYTHON) -m benchmarks.run $(if $(TORCHSCALE),--torchscale $(TORCHSCALE))

gpu:
	@if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then \
		$(MAKE) --no-print-directory gpu-present; \
	else \
		echo "make gpu: no NVIDIA GPU found on this machine"; \
	fi

gpu-present: GPU_RUN := $(OUT)/run-$(shell date -u +%Y%m%dT%H%M%SZ)
gpu-present: export PYTHONPATH := $(CURDIR)
gpu-present: $(READY)
	mkdir -p $(OUT)
	$(LONGBENCH) doctor > $(OUT)/doctor.txt
	@cat $(OUT)/doctor.txt
	$(PYTHON) -m pytest tests/gpu --junitxml=$(OUT)/tests.xml
	$(LONGBENCH) gate --aa --profile ci --device cuda --keep $(GPU_RUN)-gate --json $(GPU_RUN)-gate.json
	$(PYTHON) -m benchmarks.run --device cuda --out $(OUT) $(if $(TORCHSCALE),--torchscale $(TORCHSCALE))
	status=0; $(LONGBENCH) run $(GPU_SWEEP) -o $(GPU_RUN).jsonl || status=$$?; \
	$(LONGBENCH) report $(GPU_RUN).jsonl -o $(GPU_RUN).html && exit $$status

clean:
	rm -rf $(VENV) build dist fuzz-findings .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

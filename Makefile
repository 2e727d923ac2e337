# Each target makes the virtual environment that it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# DVC starts the stages as `python`; this makes it the one of the virtual environment. The commands
# below name it all the same, since make on macOS looks them up in the PATH from before.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: git-repository repro test check pictures chaos reproducible bench bench-224 scaling bench-gpu bench-99 clean

repro: $(VENV)/users
	$(BIN)/python -m vit_hk.dvc.repair
	$(BIN)/dvc repro

test: $(VENV)/developers
	$(BIN)/pytest

check: $(VENV)/developers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pictures: $(VENV)/developers
	$(BIN)/python docs/record_page.py

chaos: $(VENV)/developers
	$(BIN)/python tests/faults/chaos.py $(SEED)

reproducible: $(VENV)/developers
	$(BIN)/python tests/faults/reproducible.py $(SEED)

bench: $(VENV)/benchmarks
	$(BIN)/python -m benchmarks.speed

bench-224: $(VENV)/benchmarks
	$(BIN)/python -m benchmarks.speed 224

scaling: $(VENV)/benchmarks
	$(BIN)/python -m benchmarks.scaling

bench-gpu: $(VENV)/gpu
	$(BIN)/python -m benchmarks.gpu

bench-99: $(VENV)/benchmarks
	$(BIN)/python -m benchmarks.time_to_99

clean:
	rm -rf $(VENV)

# Checked before the installation, which takes minutes: DVC works in a Git repository only.
git-repository:
	@git rev-parse --git-dir >/dev/null 2>&1 || \
		{ echo 'error: this folder is no Git repository, which DVC needs; run: git init' >&2; exit 1; }

$(VENV)/users: requirements.txt constraints.txt | git-repository
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python -m vit_hk.dvc.plots_page
	$(BIN)/dvc config --local plots.html_template plots_page.html
	touch $@

$(VENV)/developers: $(VENV)/users requirements-dev.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/benchmarks: $(VENV)/users requirements-bench.txt
	$(BIN)/pip install --quiet -r requirements-bench.txt
	touch $@

$(VENV)/gpu: $(VENV)/benchmarks requirements-gpu.txt
	$(BIN)/pip install --quiet -r requirements-gpu.txt
	touch $@

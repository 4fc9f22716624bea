# make demo: from a fresh clone to a report. make test: the whole test suite.
# PYTHON=python3.12 chooses the interpreter of .venv, OUT= the folder of the demo's results.

PYTHON ?= python3
OUT ?= out/wind

.PHONY: demo test

demo: .venv
	.venv/bin/python examples/wind_from_leaf.py --out $(OUT)
	@echo "report: $(abspath $(OUT))/report.html"

test: .venv
	.venv/bin/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.venv: .venv/.installed

.venv/.installed: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON) is missing or not Python 3.10 to 3.13: install one and name it, for example make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

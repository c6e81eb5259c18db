# make demo | test | docs | bench | clean        needs make and Python 3.11 or newer; another one: make PYTHON=/path/to/python

.POSIX:
.SUFFIXES:

PYTHON =
PYTEST =
BENCH =
DOCS =
VENV = .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

help:
	@echo "make demo    fit real data, print the tables, draw pictures into out/"
	@echo "make test    ruff, mypy, lint-imports and pytest"
	@echo "make docs    the documentation, into docs/_build/html (DOCS='-D plot_gallery=0' leaves out the gallery's pictures)"
	@echo "make bench   all benchmarks and their pages in docs/benchmarks, some hours; BENCH=--quick: some minutes (BENCH=--help)"
	@echo "make clean   remove what the others made, except $(VENV); make distclean removes that too"

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST)

docs: $(VENV)/.installed-docs
	MPLBACKEND=Agg $(BIN)/python -m sphinx -W --keep-going -q $(DOCS) docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/all.py $(BENCH)

clean:
	rm -rf out build dist docs/_build docs/gallery docs/sg_execution_times.rst .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# A stamp for each set of extras: nothing is installed again until pyproject.toml changes.
$(VENV)/.installed: pyproject.toml $(BIN)/pip
	@echo "Installing extremal ..."
	@$(PIP) install --editable . && touch $@

$(VENV)/.installed-test: pyproject.toml $(BIN)/pip
	@echo "Installing extremal with its test extras ..."
	@$(PIP) install --editable ".[test]" && touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml $(BIN)/pip
	@echo "Installing extremal with what the documentation is built with ..."
	@$(PIP) install --editable ".[docs]" && touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml $(BIN)/pip
	@echo "Installing extremal with PyTorch, CVXPY and pyscnn for the benchmarks ..."
	@$(PIP) install --editable ".[bench]"
	@$(PIP) install --no-deps pyscnn linalg_backends opt_einsum tqdm && touch $@ $(VENV)/.installed

$(BIN)/pip:
	@found=; seen=; \
	for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { seen="$$seen $$python is $$version;"; continue; }; \
	  $$python -c 'import venv, ensurepip' 2>/dev/null || { seen="$$seen $$python $$version has no venv module;"; continue; }; \
	  found=$$python; break; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Extremal needs Python 3.11 or newer with its venv module; found:$${seen:- no python at all}" >&2; \
	  echo "(Debian and Ubuntu: apt install python3-venv; Fedora: dnf install python3; macOS: brew install python)" >&2; \
	  echo "Another Python can be named: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Creating $(VENV) with $$found ($$version)"; \
	$$found -m venv $(VENV)

.PHONY: help demo test docs bench clean distclean

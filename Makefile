# The only commands. Everything they need is made in .venv and in the user's cache.
#   make eval   first the shipped suites on models with a known failure, which they must catch, then on the embedded
#               default model; exits 0 when all was caught, no control was, and the model's record is whole
#   make gate   the same on MODEL=..., exits with the verdict
#   make test   the project's own tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MODEL  ?= smollm2
REPORT ?= reports/latest
CERTIFIED ?= reports/certification
SUITES ?= evals
# Nothing here talks to a model hub; nothing that imports transformers should try.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: env eval gate test lint bench bench-gpu docs
.DEFAULT_GOAL := eval

$(VENV)/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tells needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

env: $(VENV)/.done

eval: env
	@$(BIN)/python -m harness.engines.transformers.smollm2
	@rm -f $(CERTIFIED)/run.json $(REPORT)/run.json  # a run that dies at once must not be judged by yesterday's record
	@echo "1 of 2: do the suites catch what was planted? Organisms, with twins and decoys that must pass"
	@$(BIN)/pytest $(SUITES) --report $(CERTIFIED); \
	  $(BIN)/tells verdict $(CERTIFIED)/run.json
	@echo "2 of 2: what do they say of $(MODEL)?"
	@$(BIN)/pytest $(SUITES) --model $(MODEL) --report $(REPORT); \
	  $(BIN)/tells verdict --whole $(REPORT)/run.json

gate: env
	@rm -f $(REPORT)/run.json
	@$(BIN)/pytest $(SUITES) --model $(MODEL) --report $(REPORT); \
	  $(BIN)/tells verdict $(REPORT)/run.json

# Two processes for the fast tests; the real weights get the machine for themselves.
test: env
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not model"
	$(BIN)/pytest -m model

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/tells validate evals

# BENCH='--workloads W1,W2 --peer lmeval=/path/to/python ...' says what runs; see bench/README.md
bench: env
	$(BIN)/python bench/speed.py $(BENCH)
	$(BIN)/python bench/accuracy.py

bench-gpu: env
	$(BIN)/python bench/gpu.py

docs: env
	$(BIN)/python -m tests.make_docs
	$(BIN)/python -m tests.browser.shots
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

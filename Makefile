# make demo   install, then build and ask the demo model (minutes, two CPU cores)
# make test   install, then run every test
# make prove  the vocabulary's proof on every shared text, every code point and 200,000 strings; all of CMMLU's questions
# make check  lint, types, layers and tests: what a change must pass
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# One thread a test process: two that wait for each other are slower than one that does not.
TEST   := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: venv demo test quick prove check lint types clean

venv: $(STAMP)

# torch comes first and alone: a later package would otherwise choose a build with CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llama,dev]'
	touch $(STAMP)

demo: venv
	$(BIN)/zhllm run recipes/demo -o runs/demo

test: venv
	$(TEST)

quick: venv
	$(TEST) -m 'not slow'

# The vocabulary's promises at full size: every shared line, every code point, 200,000 strings; and the likelihoods of
# all 1,463 CMMLU questions beside one forward pass an option.
prove: venv
	ZHLLM_FULL=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/parity/test_every_text.py tests/parity/test_evals_choice.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check zhllm tests

types: venv
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# make demo    set everything up and run the main job; open demo-output/report.html afterwards
# make test    set everything up and run all tests
# make lint    style and import rules
# make figures writes README.md's figures and the models' MODEL_CARD.md anew from their cards
# make clean   remove the environment and what the demo wrote
#
# make demo CT=chest.nii.gz           the same with your CT
# On Linux without a GPU, PIP_EXTRA_INDEX_URL set to PyTorch's index of CPU builds spares the CUDA build.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo-output
CT ?=
PYTEST_OPTIONS ?=
PYTEST_PROCESSES ?= 2

BIN := $(VENV)/bin
INPUTS := pyproject.toml requirements-dev.lock XReconSlicer/Resources/requirements.txt

.PHONY: demo test lint figures clean

demo: $(VENV)/demo.stamp
	$(BIN)/xrecon demo $(if $(CT),--ct "$(CT)") --output "$(OUTPUT)"

# Tests use small arrays: threads would only wait for each other.
test: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --dist loadfile $(PYTEST_OPTIONS)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .

figures: $(VENV)/demo.stamp
	$(BIN)/python -c 'from xrecon.assessment.readme import refresh; refresh("README.md")'

clean:
	rm -rf $(VENV) demo-output test-output build dist .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "XRecon needs Python >= 3.11: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# The demo needs neither Slicer's packages nor pytest: pins from the lock, packages from the project.
$(VENV)/demo.stamp: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --constraint requirements-dev.lock --editable ".[torch]"
	touch $@

$(VENV)/test.stamp: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --requirement requirements-dev.lock --editable ".[torch]"
	touch $@

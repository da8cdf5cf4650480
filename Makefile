# `make run` and `make test` each do everything, from nothing: Python 3.11 or later and make suffice.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN ?= build/run
RECORDING := toy_s4_d01_u03
WORDS := I am waiting for the house from my brother.
# Of the 24 rows two: the frames of VGGish and those of wav2vec 2.0, fused with cross-attention.
SLOW_FIXED := tests/test_cli.py tests/recognize/test_long.py tests/test_training.py tests/test_evaluation.py tests/test_experiment.py tests/test_rows.py -k "not rows or III.6 or V.8"
CORPUS := $(RUN)/toy/manifest.csv
SETTINGS := --config examples/toy.toml
SYSTEMS := text audio server mersa-cross

# These networks are small: several threads only wait for each other.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help run test slow slow-fixed check clean

help:
	@echo "make run    prepare the embedded corpus, train, score and recognise on it"
	@echo "make test   the tests: offline, CPU only"
	@echo "make slow   the tests that take long"
	@echo "make check  format, lint, types"
	@echo "make clean  remove the virtual environment and what was built"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev -e ".[onnx,asr,serve,demo]"
	@# The published VGGish front end is a witness in the tests; what it asks for is not needed there.
	$(BIN)/python -m pip install --quiet --no-deps torchvggish==0.2
	@touch $@

run: $(VENV)/installed
	@rm -rf $(RUN)
	$(call verb,prepare toy --out $(RUN)/toy)
	$(call verb,train $(CORPUS) $(SETTINGS) --set network.system=text --out $(RUN)/text,$(TO_CACHE))
	$(call verb,train $(CORPUS) $(SETTINGS) --set network.system=audio --out $(RUN)/audio,$(TO_CACHE))
	$(call verb,train $(CORPUS) $(SETTINGS) --row IV.1 --out $(RUN)/server,$(TO_CACHE))
	$(call verb,train $(CORPUS) $(SETTINGS) --row IV.6 --out $(RUN)/mersa-cross,$(TO_CACHE))
	@for system in $(SYSTEMS); do \
	  echo "$$ mersa evaluate $(RUN)/$$system"; \
	  $(BIN)/mersa evaluate $(RUN)/$$system $(TO_CACHE) || exit; done
	$(call verb,report $(SYSTEMS:%=$(RUN)/%) --out $(RUN)/report)
	$(call verb,predict $(RUN)/mersa-cross $(RUN)/toy/audio/$(RECORDING).ogg --text "$(WORDS)" --format csv)

# Say a command, then do it; the second argument is done and not said.
define verb
	@echo '$$ mersa $(1)'
	@$(BIN)/mersa $(1) $(2)
endef
TO_CACHE := --cache $(RUN)/cache --quiet > /dev/null

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n auto -m "not slow"

slow: $(VENV)/installed
	$(BIN)/python -m pytest -q -n auto -m slow

# The part of the slow tests that every change must pass.
slow-fixed: $(VENV)/installed
	$(BIN)/python -m pytest -q -n auto -m slow $(SLOW_FIXED)

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist

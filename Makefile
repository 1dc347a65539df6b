# Every target sets up what it needs: .venv with ppghost in it, made by python3 (3.9 to 3.13).
# Another interpreter: make PYTHON=/path/to/python3.11 demo

PYTHON ?= python3
PY := .venv/bin/python
COMPILER := $(shell for c in $$CC cc gcc clang; do command -v $$c && break; done 2>/dev/null)
NATIVE := $(if $(COMPILER),,CC="$(PY) -m ziglang cc")
RUN := $(NATIVE) $(PY)

DEMO_CONFIG := configs/demo/GhostNet_x1_0_shapes.yaml
DEMO_DATA := dataset/shapes
DEMO_OUTPUT := output/demo
DEMO_MODEL := inference/demo
DEMO_PICTURE := $(DEMO_DATA)/val/star/00000.jpg

.DEFAULT_GOAL := help
.PHONY: help demo serve apk test check bench clean

help:
	@echo "make demo    draw pictures, train GhostNet_x1_0 on them, evaluate, export, verify, predict (minutes)"
	@echo "make serve   serve the demo's model over HTTP and gRPC with Paddle Serving, until Ctrl-C"
	@echo "make apk     build the Android app with Debian's packages; deploy/lite/android/README.md names them"
	@echo "make test    run every test"
	@echo "make check   format, lint, types, import contracts"
	@echo "make bench   speed of the input pipeline, of inference and of a training step: ours alone"
	@echo "make clean   remove .venv and what tools left; keeps dataset/, output/ and inference/"
	@echo
	@echo "PYTHON=/path/to/python3.11 chooses the interpreter (now: $(PYTHON))."

.venv/ready-user: pyproject.toml setup.py tools/make_environment.sh
	@tools/make_environment.sh "$(PYTHON)" ""
	@touch $@

.venv/ready-dev: pyproject.toml setup.py tools/make_environment.sh
	@tools/make_environment.sh "$(PYTHON)" dev
	@touch $@

demo: .venv/ready-user
	$(PY) tools/make_shapes_dataset.py --output $(DEMO_DATA) --train-per-class 700 --replace
	$(RUN) tools/train.py -c $(DEMO_CONFIG)
	$(PY) tools/eval.py -c $(DEMO_CONFIG) -o Global.pretrained_model=$(DEMO_OUTPUT)/best_model
	$(PY) tools/export_model.py -c $(DEMO_CONFIG) -o Global.pretrained_model=$(DEMO_OUTPUT)/best_model \
	  -o Global.save_inference_dir=$(DEMO_MODEL)
	.venv/bin/ppghost verify $(DEMO_MODEL)
	.venv/bin/ppghost infer --artifact $(DEMO_MODEL) $(DEMO_PICTURE)
	@echo
	@echo "pictures          $(DEMO_DATA)"
	@echo "log, checkpoints  $(DEMO_OUTPUT)"
	@echo "exported model    $(DEMO_MODEL)"
	@echo "classify yours    .venv/bin/ppghost infer --artifact $(DEMO_MODEL) PICTURE..."

serve: .venv/ready-user
	@test -d $(DEMO_MODEL) || { echo "There is no $(DEMO_MODEL) yet: make demo" >&2; exit 2; }
	PYTHON="$(PY)" $(NATIVE) bash deploy/serving/run.sh $(DEMO_MODEL)

apk:
	deploy/lite/android/build.sh apk

# A file of tests stays in one process, where its fixtures are made once. One process: make TESTERS=0 test
TESTERS ?= 2

test: .venv/ready-dev
	$(RUN) -m pytest -n $(TESTERS) --dist loadfile

check: .venv/ready-dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest tests/house/test_imports.py

bench: .venv/ready-user
	$(PY) tools/make_shapes_dataset.py --output $(DEMO_DATA) --train-per-class 700 --replace
	$(RUN) tools/bench_input.py -c $(DEMO_CONFIG)
	$(NATIVE) .venv/bin/ppghost bench --programs ours --batches 1 8 --rounds 5 --minutes 1
	$(NATIVE) .venv/bin/ppghost bench --train --programs ours --rounds 3

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find ppghost tools tests -name __pycache__ -prune -exec rm -rf {} +

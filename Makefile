# Two commands are enough: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
JOBS ?= auto
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-alone test-vm check soak chaos format bench bench-against train \
  obs-plugin clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## create .venv and install Driftcam with its pinned dependencies

demo: setup ## stylise the shipped clip, write demo/, then serve the live page (DEMO_SERVE=0 ends instead)
	$(BIN)/python -m scripts.demo

run: setup ## live test picture on the page; ARGS="--source webcam --style great-wave" for your own
	$(BIN)/driftcam run --source test --sink page $(ARGS)

test: check ## lint, types and every test, in as many processes as there are cores (SEED=2 for another order)
	$(BIN)/python -m pytest -m "not serial" --randomly-seed=$(SEED) -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m serial --randomly-seed=$(SEED)

test-alone: $(VENV)/.installed-dev ## every test file in a process of its own, in random order (SEED=2 for another one)
	$(BIN)/python -m scripts.test_alone --seed $(SEED) $(ARGS)

test-vm: $(VENV)/.installed-dev ## the virtual camera with real v4l2loopback, in a small virtual machine (as root)
	tests/system/vm/run.sh $(abspath $(BIN))/python

check: $(VENV)/.installed-dev ## ruff, mypy, and which way imports go
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

soak: $(VENV)/.installed-dev ## the long forms of the tests on memory, loss and slow engines
	DRIFTCAM_SOAK=1 $(BIN)/python -m pytest tests/webrtc/test_faults.py

chaos: $(VENV)/.installed-dev ## ten minutes each of what can go wrong with the daemon, and with live sources (SEED=1 SECONDS_LONG=600)
	$(BIN)/python -m scripts.chaos --seed $(or $(SEED),1) --seconds $(or $(SECONDS_LONG),600)
	$(BIN)/python -m scripts.chaos.live --seed $(or $(SEED),1) --seconds $(or $(SECONDS_LONG),600)

format: $(VENV)/.installed-dev ## let ruff put the sources in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## measure engine, noise, WebRTC and daemon (prints tables)
	$(BIN)/python -m scripts.bench_engine
	$(BIN)/python -m scripts.bench_noise
	$(BIN)/python -m scripts.bench_webrtc
	$(BIN)/python -m scripts.bench_daemon

bench-against: $(VENV)/.installed-dev ## frame time over that of another revision, in turn: REV=main~3 BENCH_ARGS=--json
	@$(BIN)/python -m scripts.bench_against "$(REV)" $(BENCH_ARGS)

train: setup ## train the embedded model from nothing (about two and a half hours on two cores)
	$(PIP) -e '.[train]'
	$(BIN)/python -m scripts.train_embedded

obs-plugin: ## build the OBS plugin and its release archive below build/obs-plugin (needs cmake, gcc and libobs-dev)
	cmake -S obs_plugin -B build/obs-plugin -DCMAKE_INSTALL_PREFIX=$(CURDIR)/build/obs-plugin/stage
	cmake --build build/obs-plugin --target install
	cd build/obs-plugin && cpack -G TGZ

clean: ## remove what the other targets made
	rm -rf $(VENV) build demo *.egg-info

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) -e .  # some minutes and 2 GB of disk, torch and OpenVINO most of it
	$(BIN)/python -c "from driftcam import Engine; Engine()"  # kernels and networks are compiled once on a machine
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev,checkpoints]'
	-$(PIP) -e '.[rtx]'  # 150 MB, for Linux and Windows on x86; the tests that want it are skipped without it
	@touch $@

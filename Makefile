# `make eval` and `make test` work from a bare clone: both first set up .venv, once.
PYTHON ?= python3
# Extra arguments for pip when it installs torch, for example an index of CPU builds.
TORCH_PIP_ARGS ?=
POLICY ?= spatialvla_small
TASKS ?= reach,push,pick,place
EPISODES ?= 5
OUTPUT ?= runs/eval
PYTEST_ARGS ?= -n 2

# Where it is set, as in many containers, each process that is started would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# No bytecode for what is never imported: writing it would take a good part of the set-up time.
PIP_INSTALL := install --quiet --no-compile -c constraints.txt
READY := $(VENV)/.ready
COLCON := colcon-bash colcon-core colcon-library-path colcon-package-selection colcon-python-setup-py colcon-recursive-crawl colcon-ros
EXTRAS := ros,sim,record,memory,train,remote,ray,menagerie,dev

.PHONY: setup eval test bench bench-simulation bench-policies bench-representation lint format clean

setup: $(READY)

$(READY): setup.py constraints.txt .ci/install_system_libraries
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "expected Python 3.11 or newer, found $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	.ci/install_system_libraries $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip $(PIP_INSTALL) $(TORCH_PIP_ARGS) torch
	$(BIN)/pip $(PIP_INSTALL) -e ".[$(EXTRAS)]"
	# colcon wants an older setuptools than the rest, so it lives apart.
	$(PYTHON) -m venv $(VENV)/colcon
	$(VENV)/colcon/bin/pip $(PIP_INSTALL) $(COLCON)
	touch $@

eval: setup
	$(BIN)/python -m ros_nodes.evaluate --policy $(POLICY) --task $(TASKS) --episodes $(EPISODES) --output $(OUTPUT)

test: setup
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

bench: setup
	$(BIN)/python -m sim.bench simulation_speed

bench-simulation: setup
	$(BIN)/python -m sim.bench

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-policies: setup
	$(BIN)/python -m policies.bench

bench-representation: setup
	test -f runs/renders/frames.json || $(BIN)/python -m sim.renders --size 48 --output runs/renders
	test -f runs/one_block/frames.json || $(BIN)/python -m sim.renders --vary color position turn --count 334 --output runs/one_block
	test -f runs/renders_64/frames.json || $(BIN)/python -m sim.renders --size 64 --output runs/renders_64
	test -f runs/piles/scene_graphs.jsonl || $(BIN)/python -m sim.scene_graphs --output runs/piles
	test -f runs/posed/frames.json || $(BIN)/python -m sim.posed_objects --output runs/posed
	test -f runs/clouds/frames.json || $(BIN)/python -m sim.renders --count 10 --size 96 --points 1024 --output runs/clouds
	test -f runs/grasp_clouds/frames.json || $(BIN)/python -m sim.object_clouds --output runs/grasp_clouds
	test -d runs/narrated || $(BIN)/python -m sim.narrated_episodes --output runs/narrated
	test -f runs/tables/frames.json || $(BIN)/python -m sim.segmented_scenes --tasks sort transfer_cube lift_tray --size 64 \
	    --count 1000 --output runs/tables
	test -f runs/sensor_scenes/frames.json || $(BIN)/python -m sim.sensor_scenes --output runs/sensor_scenes
	test -f runs/scenes/scenes.jsonl || $(BIN)/python -m sim.scene_descriptions --output runs/scenes
	test -f runs/held_tools/windows.npz || $(BIN)/python -m sim.held_tools --output runs/held_tools
	test -d runs/task_frames || $(BIN)/python -m sim.collect --task all --episodes 110 --cameras front --size 64 --seed 7000 \
	    --output runs/task_frames
	test -f runs/actions/frames.json || $(BIN)/python -m sim.arm_actions --output runs/actions
	test -f runs/reported/frames.json || $(BIN)/python -m sim.reported_scenes --output runs/reported
	test -f runs/subjects/frames.json || $(BIN)/python -m sim.subject_views --output runs/subjects
	test -f runs/appearances/frames.json || $(BIN)/python -m sim.appearances --output runs/appearances
	test -f runs/workspace_tracks/new.npz || $(BIN)/python -m sim.workspace_tracks --seed 1 --output runs/workspace_tracks
	$(BIN)/python -m representation.bench --write

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache

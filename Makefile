# Every target makes the environment first; where it is as it should be, that takes a fraction of a second.
PYTHON ?= python3
# Loading TFX takes 20 s without bytecode and 8 s with it.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-trixie bench-quality bench-peers bench-serving lint lock

help:  ## Shows the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1  /p' $(MAKEFILE_LIST)

setup:  ## Makes the environment in .venv
	@$(PYTHON) bootstrap.py

demo: setup  ## Trains on MovieLens-100K, serves the model and asks it (ARGS="..." goes to cetnet demo)
	.venv/bin/cetnet demo $(ARGS)

test: setup  ## Runs the tests, the fast ones first, two at a time (ARGS="-k word" goes to pytest)
	.venv/bin/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

test-trixie:  ## Runs the tests on the newest stack, on Debian 13 in a chroot (as root, with debootstrap)
	@tests/trixie.sh make test PYTHON=python3 || [ $$? = 77 ]

bench-quality: setup  ## Trains members, ensembles and CETNet on real data and writes benchmarks/quality/RESULTS.md (DATA=folder, ARGS=--quick)
	.venv/bin/python -m benchmarks.quality --data $(DATA) $(ARGS)

bench-peers: setup  ## Trains FuxiCTR's models on the same rows, in .venv-peers, for bench-quality to compare with (DATA=folder, ARGS=--quick)
	.venv/bin/python -m benchmarks.quality.peers.rows --data $(DATA) $(ARGS)
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/quality/peers/requirements.txt
	.venv-peers/bin/python -m benchmarks.quality.peers $(ARGS)

bench-serving: setup  ## Puts a served model under load, after make demo (ARGS=--quick), and writes benchmarks/serving/RESULTS.md
	.venv/bin/python -m benchmarks.serving $(ARGS)

lint: setup  ## Checks style, format and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lock: setup  ## Pins the requirements anew from setup.py (ARGS=--upgrade takes newer releases)
	@$(PYTHON) bootstrap.py lock $(ARGS)

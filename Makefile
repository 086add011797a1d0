# Each target is complete from a fresh clone: it sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: studies-figures setup setup-browser demo reproduce test test-slow lint types bench docs

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Debian's Chromium with its driver, for the tests that look at the page; elsewhere put both on PATH.
setup-browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver; }

demo: setup
	$(BIN)/python -m scaling.sweep sweeps/quickstart.yaml --runtime.out=out/quickstart/runs
	$(BIN)/python -m analysis.report out/quickstart/runs --out out/quickstart

# One run of each study with committed tables, or of STUDY=name, again; each goes on where it was stopped.
STUDY ?= $(sort $(foreach table,$(wildcard results/*/evals.parquet results/*/parts/*/evals.parquet),$(word 2,$(subst /, ,$(table)))))
reproduce: setup
	@code=0; for study in $(STUDY); do \
		$(BIN)/python -m scaling.reproduce results/$$study || code=$$?; \
		test $$code -lt 128 || break; \
	done; exit $$code

lint: setup types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy's strict rules on what pyproject.toml names; what did not change since the last time comes out of a cache.
types: setup
	$(BIN)/python -m mypy

# With CI=true nothing that needs a browser may be skipped.
# Three processes on two cores, since tests of agents and servers wait; files in their own order: xdist would else begin
# with those of most tests, and end on one process with the longest.
test: lint $(if $(filter true,$(CI)),setup-browser)
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Others' code runs in an environment of its own: it needs torchvision, which drags in a torch of its own.
.venv-bench/installed: benchmarks/peers-requirements.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r benchmarks/peers-requirements.txt
	touch $@

bench: setup .venv-bench/installed
	$(BIN)/python -m benchmarks

# README, docs/ and the reference of every module as a site in out/docs/site; a warning fails it.
docs: setup
	$(BIN)/python -m mkdocs build --quiet --strict

# Every number and figure of results/ from its committed tables, and the pages that quote them.
studies-figures: setup
	$(BIN)/python -m analysis.studies

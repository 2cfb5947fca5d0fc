# Headwater. `make` alone prints what there is to do.
#
# Python 3.11 or newer is all that must be on the machine; PYTHON names another one. Values of
# SECONDS and the like are put into commands by make, not read by the shell: SECONDS is a special
# variable of bash.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := stream consumers state models local evaluation clients/headwater_client
CODE := $(ROOMS) tests benchmarks

# For `make demo`: how long in s, events per second, times real time, 1 for no live view.
SECONDS ?=
EVENTS ?=
SPEED ?=
HEADLESS ?=
# For `make test` and `make check`: more words for pytest (PYTEST="-k snapshot -x").
PYTEST ?=
# Processes that share the tests, a file at a time, each with servers of its own; 0: none.
WORKERS ?= logical
TESTS = $(BIN)/python -m pytest tests $(ROOMS) -q $(IN_PARALLEL)
IN_PARALLEL = -n $(WORKERS) --maxprocesses 4 --dist loadfile
# For `make chaos`: more words for the runner (CHAOS="--only 4 --seed 17").
CHAOS ?=

DEMO_FLAGS := $(if $(SECONDS),--seconds $(SECONDS)) $(if $(EVENTS),--events $(EVENTS)) \
  $(if $(SPEED),--speed $(SPEED)) $(if $(filter-out 0,$(HEADLESS)),--headless --json)

.DEFAULT_GOAL := help
.PHONY: help demo test check fix test-integration chaos chaos-full chaos-mutants bench install lint style audit
# bash would take an exported SECONDS as its clock; nothing below reads these from the environment.
unexport SECONDS EVENTS SPEED HEADLESS
# Where nothing may be kept each process of a run compiles every module anew, tests twice.
unexport PYTHONDONTWRITEBYTECODE

help: ## print this
	@echo "Headwater: streaming recommendations. Usage: make TARGET [NAME=VALUE]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | awk -F'|' '{ printf "  make %-17s %s\n", $$1, $$2 }'
	@echo
	@echo "  make demo SECONDS=60 EVENTS=200 SPEED=1 HEADLESS=1   (each may be left out)"
	@echo "  make test PYTEST='-k snapshot -x' WORKERS=0; HEADWATER_KAFKA, HEADWATER_REDIS name your servers"

demo: $(STAMP) ## everything at once: Kafka, Redis, one worker, simulated users, a live view
	@$(BIN)/headwater demo $(DEMO_FLAGS)

# Types are checked beside the tests, half a minute of one core where nothing is cached. Either of
# the two fails the target; mypy speaks, last, where it has something to say. Ctrl-C ends both.
define with_types
$(info $(BIN)/mypy, beside) $(info $(1)) @said=$$(mktemp); \
  $(BIN)/mypy >"$$said" 2>&1 & mypy=$$!; \
  trap 'kill $$mypy 2>/dev/null; rm -f "$$said"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
  $(1); tests=$$?; \
  wait $$mypy; types=$$?; [ $$types -eq 0 ] || cat "$$said"; \
  if [ $$tests -eq 0 ]; then exit $$types; else exit $$tests; fi
endef

test: style ## check, and every test against Apache Kafka and Redis; ends with what was skipped and why
	$(call with_types,$(TESTS) $(PYTEST))

check: style ## format, lint, types, import contracts, tests without servers, documentation tests
	$(call with_types,$(TESTS) -m "not kafka and not redis and not simulation" $(PYTEST))

style: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/lint-imports

lint: style
	$(BIN)/mypy

fix: $(STAMP) ## format the code and repair what the linter can
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

chaos-mutants: $(STAMP) ## plant bugs one by one, each of which must be caught; one line per bug
	@$(BIN)/python -m tests.chaos.mutants

test-integration: $(STAMP) ## only the tests against Apache Kafka and Redis
	$(BIN)/python -m pytest tests -q $(IN_PARALLEL) -m "kafka or redis" $(PYTEST)

chaos: $(STAMP) ## kill, stop and starve real workers, Kafka and Redis: the quick scenarios (<= 10 min)
	$(BIN)/python -m tests.chaos.run $(CHAOS)

chaos-full: $(STAMP) ## every scenario of docs/reliability.md, and its table written anew
	$(BIN)/python -m tests.chaos.run --all --table docs/reliability.md $(CHAOS)

bench: $(STAMP) ## every benchmark, one after the other; each prints one line of JSON
	@for file in benchmarks/bench_*.py; do \
	  echo "$$file" >&2; $(BIN)/python "$$file" || exit 1; done

audit: $(STAMP) ## ask pip-audit, in an environment of its own, about every pinned package
	@$(BIN)/python -m local.audit constraints.txt $(VENV)/audit

install: $(STAMP) ## only the environment in .venv

# The environment is made once, and again when what it depends on changes.
$(STAMP): pyproject.toml clients/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "expected Python 3.11 or newer, found $$($(PYTHON) --version 2>&1 || true):" \
	    "name another one, as in make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): on Linux about 3 GB of packages are downloaded once (PyTorch" \
	  "and its CUDA libraries are nearly all of it)" >&2
	@echo "and take 5.5 GB unpacked: about four minutes on a fast line, ten at 50 Mbit/s." >&2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]' --editable './clients[testing]'
	@echo "Fetching Apache Kafka's jars (45 MB), once" >&2
	@$(BIN)/python -c 'from local.kafka_jars import kafka_jars; kafka_jars()'
	@echo "Compiling kernels for this processor, once: one to two minutes" >&2
	$(BIN)/python -m consumers.warm_up
	@touch $@

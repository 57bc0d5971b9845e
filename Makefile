# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up its own .venv.
PYTHON ?= python3
BIN := .venv/bin
# Some containers set it. Then each of some thousand processes that tests start compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help codex harnesses mlflow setup demo demo-keycloak check check-recorded test pinned evaluate shipped volume places forms evidence adversary compare promise poisoning bench cost chaos soak fuzz mutants pictures lint train schemas clean recordings otelcol
.DEFAULT_GOAL := help

help:
	@printf '%s\n' 'make demo      set up, then watch sample sessions being judged on an embedded broker' \
	  'make demo-keycloak  the same at a real Keycloak: a session ends there (Java 17 and Maven; the first time some minutes)' \
  'make test      set up, then the whole suite' 'make check     the fast suite, about a minute' \
	  'make setup     the .venv alone' 'make lint      ruff, mypy, import rules, generated documents' \
	  'make pinned    what must not move while code is moved: outputs, states and feature rows, as digests (minutes)' \
	  'make evaluate  detection tables and plots on the recorded sessions (DRIFTLINE_DATA)' \
	  'make promise   whether promises on false alerts hold on other tasks of the same ecosystem (DRIFTLINE_DATA)' \
	  'make poisoning what somebody who can write events and labels of one tenant can teach a model (DRIFTLINE_DATA)' \
	  'make shipped   what score and signals together alert on, on sets that nothing learnt from (DRIFTLINE_DATA)' \
	  'make adversary what is left of detection when somebody searches for a way round it (DRIFTLINE_DATA)' \
	  'make forms     detection in other envelopes, formats and frames, after make evaluate (DRIFTLINE_DATA)' \
	  'make evidence  what scores rest on: cited values and answers changed in recorded hijacks (DRIFTLINE_DATA)' \
	  'make places    detection by where an attack stands and how it is written, after make evaluate (DRIFTLINE_DATA)' \
	  'make compare   gates and an oracle on the same recordings, after make evaluate (DRIFTLINE_DATA)' \
	  'make bench     throughput, latency, recovery, memory, how long a credential lives, on Apache Kafka (40 minutes;' \
	  '               ONLY=throughput,latency,... for some tables; DOCS=1 writes docs/performance.md)' \
	  'make cost      whether an event costs 10 % more than is on record for its core (DRIFTLINE_DATA; a minute;' \
	  '               CALLS=1 holds calls alone; WRITE=1 records it, with ADR=number where it is dearer)' \
	  'make chaos     delivery under faults on Apache Kafka, one and three brokers (over an hour;' \
	  '               ROUNDS=, MINUTES=, BROKERS=1,3, ONLY=names, SEED=; DOCS=1 writes docs/reliability.md, with ONLY= it takes ADD=1)' \
	  'make fuzz      a million hostile records through the core (N=, SEED=, JOBS=; DOCS=1 writes docs/security.md)' \
	  'make mutants   which changes of the code no test notices, of a drawn sample' \
	  '               (N=mutants, SEED=, MINUTES=; DOCS=1 writes docs/mutants.md)' \
  'make pictures  the console in the docs, in both themes (Chromium; look at each before you commit it)' \
  'make soak      an hour at a steady load, memory and latency checked (DURATION=seconds, RATE=events a second)'

.venv/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'setting up .venv (once; 1.2 GB on disk) ...'
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -e ./client
	@touch $@

setup: .venv/.installed

demo: setup
	@$(BIN)/driftline demo

demo-keycloak: setup
	@$(BIN)/python -m tests.keycloak.demo

# Receiver, Kafka and HTTP exporters of OpenTelemetry's Collector, for tests/broker/test_otel.py.
otelcol:
	@cd tests/collector && go build -o ../../build/otelcol .

check: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(or $(JOBS),auto) -m 'not slow and not broker and not kafka and not keycloak and not recorded'

# As many processes as cores compute first, each with one thread: more would wait for each other. What breaks brokers and workers
# against the clock comes after all that needs every core; most of it waits, so two files at a time. Keycloak comes last, in one
# process: one server for all its tests, half a gigabyte that is not there beside Kafka.
test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(or $(JOBS),auto) -m 'not broker and not kafka and not keycloak'
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m '(broker or kafka) and not keycloak' tests/chaos tests/kafka tests/broker
	@$(BIN)/python -m pytest -q -m keycloak tests/keycloak

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m stream.schemas --check
	@$(BIN)/python -m stream.signals.page --check
	@$(BIN)/python -m models.evidence.features.page --check

pictures: setup
	@$(BIN)/python -m tests.console.pictures

train: setup
	@$(BIN)/driftline train --replace

evaluate places forms adversary compare promise poisoning shipped: export OMP_NUM_THREADS := 1
evaluate places forms adversary compare promise poisoning shipped: export OMP_WAIT_POLICY := PASSIVE

evaluate: setup recordings
	@$(BIN)/python -m benchmarks.detection --jobs $(or $(JOBS),2) --seeds $(or $(SEEDS),1) $(if $(DOCS),--docs)

volume: setup
	@$(BIN)/python -m benchmarks.volume $(if $(DOCS),--docs)

promise: setup recordings
	@$(BIN)/python -m benchmarks.promise --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

poisoning: setup recordings
	@$(BIN)/python -m benchmarks.poisoning $(if $(DOCS),--docs)

shipped: setup recordings
	@$(BIN)/python -m benchmarks.shipped --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

forms: setup recordings
	@$(BIN)/python -m benchmarks.forms --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

evidence: setup recordings
	@$(BIN)/python -m benchmarks.explanations $(if $(DOCS),--docs)

places: setup recordings
	@$(BIN)/python -m benchmarks.places --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

adversary: setup recordings
	@$(BIN)/python -m benchmarks.adversary --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

compare: setup recordings
	@$(BIN)/python -m benchmarks.comparison $(if $(DOCS),--docs)

recordings:
	@test -n "$$DRIFTLINE_DATA" || { echo 'NOT RUN: DRIFTLINE_DATA is not set; it must name the directory of recorded sessions' >&2; exit 1; }

check-recorded: setup
	@DRIFTLINE_SESSIONS=all $(BIN)/python -m pytest -q tests/kafka/test_recorded_sessions.py

# What only the benchmarks need: the clients that the worker is compared with.
.venv/.bench: .venv/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps quixstreams
	@touch $@

bench: .venv/.bench
	@$(BIN)/python benchmarks/suite.py $(if $(ONLY),--only $(ONLY)) $(if $(DOCS),--docs)
	@$(if $(ONLY),:,$(BIN)/python benchmarks/capacity.py $(if $(DOCS),--docs))

# One thread: the reader's arithmetic would else take another core's time, which counts.
cost: setup recordings
	@OMP_NUM_THREADS=1 PYTHONHASHSEED=0 $(BIN)/python -m benchmarks.cost $(if $(CALLS),--calls) $(if $(WRITE),--write) $(if $(ADR),--adr $(ADR))

soak: .venv/.bench
	@$(BIN)/python benchmarks/soak.py --check --seconds $(or $(DURATION),3600) --rate $(or $(RATE),1000) $(if $(CEILING),--ceiling $(CEILING)) $(if $(SLACK_MS),--slack-ms $(SLACK_MS))

chaos: setup
	@$(BIN)/python -W ignore::DeprecationWarning -m tests.chaos.run $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(BROKERS),--brokers $(BROKERS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(ADD),--add) $(if $(DOCS),--docs)

pinned: setup
	@OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python -m tests.pinned $(if $(WRITE),--write) $(if $(PART),--part $(PART)) --jobs $(or $(JOBS),2)

fuzz: setup
	@PYTHONPATH=. $(BIN)/python -m tests.fuzz $(or $(N),1000000) --seed $(or $(SEED),1) --jobs $(or $(JOBS),2) $(if $(DOCS),--docs)

# What the adapter to the Claude Agent SDK is tested on: 170 MB to fetch, 400 MB on disk.
.venv/.claude: .venv/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[claude]'
	@touch $@

# The rollouts of Codex itself are imported, and it asks the gate: 120 MB to fetch, 430 MB on disk. It comes without scripts of its package.
codex: build/codex/.installed
build/codex/.installed:
	@npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts --prefix build/codex @openai/codex@0.171.0
	@touch $@

# Whose logs are imported: AgentDojo and Inspect, each with dozens of clients of models, so in an environment of their own of 500 MB.
harnesses: build/harnesses/.installed
build/harnesses/.installed:
	@$(PYTHON) -m venv build/harnesses
	@build/harnesses/bin/pip install --quiet --disable-pip-version-check agentdojo==0.1.35 inspect_ai==0.3.285
	@touch $@

# What releases are logged to: MLflow's server and client, pinned, without what they plot and fit with; 270 MB in half a minute.
mlflow: build/mlflow/.installed
build/mlflow/.installed: tests/mlflow.requirements.txt
	@$(PYTHON) -m venv --clear build/mlflow
	@build/mlflow/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps -r tests/mlflow.requirements.txt
	@touch $@

# The operators alone of mutmut are used.
.venv/.mutants: .venv/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'mutmut==3.8.1'
	@touch $@

mutants: .venv/.mutants
	@test -e build/mutants/reached.json || PYTHONPATH=. $(BIN)/python -m benchmarks.mutants.suite
	@PYTHONPATH=. $(BIN)/python -m benchmarks.mutants --n $(or $(N),500) --seed $(or $(SEED),1) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(if $(DOCS),--docs)

schemas: setup
	@$(BIN)/python -m stream.schemas
	@$(BIN)/python -m stream.signals.page
	@$(BIN)/python -m models.evidence.features.page
	@$(BIN)/python -m models.text.secrets

clean:
	@rm -rf build .driftline .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

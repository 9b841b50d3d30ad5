# make run     build Vedette and start it with three simulated cameras, to look at
# make test    everything that must hold, from formatting to foreign players; installs what it needs
# make bench   what recording, viewers, seeks, writing, looking up and starting cost, beside ffmpeg and bare loops
# make fuzz    ten million cases a parser
# make faults  ten thousand power cuts and schedules of disk trouble; a hundred times kill -9 with eight cameras
SHELL := /bin/sh
export PATH := $(CURDIR)/.tools/venv/bin:$(PATH)
CARGO ?= cargo

.PHONY: run test bench fuzz faults web web-check tools lint unit deploy-check clean
run:
	tests/tools/install.sh run
	$(MAKE) web
	$(CARGO) run --release --locked -- demo

web: web/dist/index.html
web/dist/index.html: $(wildcard web/src/*) web/index.html web/package.json web/vite.config.ts web/svelte.config.js web/node_modules/.installed
	cd web && npm run --silent build
web/node_modules/.installed: web/package-lock.json
	cd web && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.installed

test: tools web
	$(MAKE) lint
	$(MAKE) web-check
	$(MAKE) deploy-check
	$(MAKE) unit

tools:
	tests/tools/install.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	cargo-deny --config .deny.toml --locked check --hide-inclusion-graph licenses bans sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

web-check: web
	cd web && npm run --silent check

deploy-check:
	mkdir -p .tools
	sed 's|/run/secrets/metrics_token|/dev/null|' config/prometheus.yml > .tools/prometheus.yml && cp config/alerts.yml .tools/
	promtool check config .tools/prometheus.yml
	promtool test rules config/alerts_test.yml
	tests/tools/dashboard_check.py
	hadolint Dockerfile
	tests/tools/compose_check.py docker-compose.yml

unit: web
	$(CARGO) nextest run --locked --no-fail-fast

bench: tools web
	$(CARGO) bench --locked --bench bench -- $(BENCH)

fuzz: tools web
	PROPTEST_CASES=10000000 $(CARGO) nextest run --locked --release --profile fuzz --test fuzz

faults: tools web
	PROPTEST_CASES=10000 $(CARGO) nextest run --locked --release --profile faults --test faults --run-ignored all
	VEDETTE_KILL_ROUNDS=100 VEDETTE_KILL_CAMERAS=8 $(CARGO) nextest run --locked --release --profile faults --no-capture \
		--run-ignored all --test e2e -E 'test(a_kill_takes) | test(a_disk_that_others_fill)'

clean:
	$(CARGO) clean
	rm -rf web/dist web/node_modules .tools

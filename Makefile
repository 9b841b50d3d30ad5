# make run     build Vedette and start it with three simulated cameras, to look at
# make test    everything that must hold, from formatting to foreign players; installs what it needs
# make bench   what recording, viewers, seeks, writing, looking up and starting cost, beside ffmpeg and bare loops
# make fuzz    ten million cases a parser
# make faults  ten thousand power cuts and schedules of disk trouble, a thousand of other troubles; a hundred times kill -9 with eight cameras; full disks
# make flap    half an hour of five hundred cameras that come and go, beside one that is well
SHELL := /bin/sh
export PATH := $(CURDIR)/.tools/venv/bin:$(PATH)
CARGO ?= cargo
# A full disk is tried on a tmpfs, which root may mount, or anybody in a user namespace of his own.
MAY_MOUNT := $(shell for how in -m -Urm; do unshare $$how sh -c 'mount -t tmpfs tmpfs /mnt' 2>/dev/null && echo yes && break; done)
NOT_MOUNTED := *** NOT TESTED HERE: a full disk. Nobody may mount a tmpfs (root with CAP_SYS_ADMIN, or a user namespace); make faults insists on it.

.PHONY: run test bench fuzz faults flap web web-check tools lint unit deploy-check clean
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
	$(if $(MAY_MOUNT),,@echo '$(NOT_MOUNTED)')

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
	$(if $(MAY_MOUNT),,@echo '$(NOT_MOUNTED)')
	$(CARGO) nextest run --locked --no-fail-fast $(if $(MAY_MOUNT),,-E 'not test(/^disk_full::/)')

bench: tools web
	$(CARGO) bench --locked --bench bench -- $(BENCH)

fuzz: tools web
	PROPTEST_CASES=10000000 $(CARGO) nextest run --locked --release --profile fuzz --test fuzz

faults: tools web
	PROPTEST_CASES=10000 $(CARGO) nextest run --locked --release --profile faults --test faults --run-ignored all \
		-E 'test(/^(power_cut|trouble)::/)'
	PROPTEST_CASES=1000 $(CARGO) nextest run --locked --release --profile faults --test faults --run-ignored all \
		-E 'not test(/^(power_cut|trouble)::/)'
	VEDETTE_KILL_ROUNDS=100 VEDETTE_KILL_CAMERAS=8 $(CARGO) nextest run --locked --release --profile faults --no-capture \
		--test e2e -E 'test(a_kill_takes) | test(/^disk_full::/)'

flap: tools web
	VEDETTE_FLAP_SECONDS=1800 $(CARGO) nextest run --locked --release --profile faults --no-capture --test ingest -E 'test(/^crowd::/)'

clean:
	$(CARGO) clean
	rm -rf web/dist web/node_modules .tools

# make up       a whole encrypted cluster on this host, mounted   (DIR=..., MOUNT=..., ARGS="--drives 9 ...")
# make test     everything that CI checks                         (make test-long: what takes longer)
# make bench    a cluster measured beside what this machine could give   (DIR=..., RUNS=3, BENCH="--only seq-write")
# make bench-loops  what the pure loops cost                     (BENCH='4\+2': only what matches)
# make install  the three binaries, completions and man pages, and the helper of mount(8)   (PREFIX=/usr/local, DESTDIR=)

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
# mount(8) looks for its helpers nowhere else.
SBIN := /sbin
DIR ?= weft-data
MOUNT ?=
BENCH ?=
ARGS ?=
RUNS ?= 3

RELEASE := target/release
BINARIES := weft weftd weft-gateway
# What mount(8) runs for the type weft, and for the type that the kernel shows of a mount: `weft` by another name.
HELPERS := mount.weft mount.fuse.weft
LOOPS := weft-layout weft-keys weft-wire weft-core weft-meta weft-engine weft-compute
BUILD_PACKAGES := gcc libc6-dev
TEST_PACKAGES := $(BUILD_PACKAGES) rsync git attr acl tcpdump procps util-linux tar python3 sqlite3 postgresql
# Published suites that the tests run: name and version.
TEST_TOOLS := pjdfstest@0.2.2 fsx@0.3.2
TOOLS := target/tools
# Each starts clusters: one at a time.
CLUSTER_TESTS := weft-e2e weft-conformance

.PHONY: up down build test test-long bench bench-loops check install uninstall build-packages test-packages test-tools clean

up: build
	$(RELEASE)/weft up --dir "$(DIR)" $(if $(MOUNT),--mount "$(MOUNT)") $(ARGS)

down:
	$(RELEASE)/weft down --dir "$(DIR)" $(ARGS)

build: build-packages
	cargo build --release --locked $(foreach binary,$(BINARIES),--bin $(binary))

build-packages:
	@.ci/packages $(BUILD_PACKAGES)

test-packages:
	@.ci/packages $(TEST_PACKAGES)

# Installed once: cargo leaves what is there in this version.
test-tools: build-packages
	@for tool in $(TEST_TOOLS); do \
		grep -qs "\"$${tool%@*} $${tool#*@} " $(TOOLS)/.crates.toml || \
		CARGO_TARGET_DIR=$(TOOLS)/build cargo install "$$tool" --locked --root $(TOOLS) || exit 1; \
	done
	@rm -rf $(TOOLS)/build

# Formatting and lints first: they fail fastest.
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: test-packages test-tools check
	cargo build --workspace --bins --locked
	cargo test --workspace --locked --no-fail-fast $(CLUSTER_TESTS:%=--exclude %)
	cargo test $(CLUSTER_TESTS:%=-p %) --locked --no-fail-fast -- --test-threads=1

test-long: test-packages test-tools
	cargo build --workspace --bins --locked
	WEFT_TEST_LONG=1 cargo test -p weft-compute --locked --test power_cuts
	WEFT_TEST_LONG=1 cargo test -p weft-sim --locked --test schedules
	WEFT_TEST_LONG=1 cargo test $(CLUSTER_TESTS:%=-p %) --locked --no-fail-fast -- --test-threads=1

# The cluster in DIR is formed where there is none, and stopped afterwards; its data stays.
bench: build
	$(RELEASE)/weft up --dir "$(DIR)" $(if $(MOUNT),--mount "$(MOUNT)") $(ARGS) >/dev/null
	$(RELEASE)/weft bench --dir "$(DIR)" --runs $(RUNS) $(BENCH) "$(or $(MOUNT),$(DIR)/mnt)"; \
		status=$$?; $(RELEASE)/weft down --dir "$(DIR)" >/dev/null; exit $$status

bench-loops: build-packages
	cargo bench --locked $(foreach crate,$(LOOPS),-p $(crate)) --bench loops -- --warm-up-time 0.5 --measurement-time 1 $(if $(BENCH),"$(BENCH)")

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 0755 $(foreach binary,$(BINARIES),$(RELEASE)/$(binary)) "$(DESTDIR)$(PREFIX)/bin"
	$(RELEASE)/weft resources completions --to "$(DESTDIR)$(PREFIX)/share"
	$(RELEASE)/weft resources man --to "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -d "$(DESTDIR)$(SBIN)"
	for helper in $(HELPERS); do ln -sfn "$(PREFIX)/bin/weft" "$(DESTDIR)$(SBIN)/$$helper" || exit 1; done

uninstall:
	rm -f $(foreach helper,$(HELPERS),"$(DESTDIR)$(SBIN)/$(helper)")
	rm -f $(foreach binary,$(BINARIES),"$(DESTDIR)$(PREFIX)/bin/$(binary)")
	rm -f "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/weft"
	rm -f "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_weft"
	rm -f "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/weft.fish"
	rm -f "$(DESTDIR)$(PREFIX)"/share/man/man1/weft.1 "$(DESTDIR)$(PREFIX)"/share/man/man1/weft-*.1

clean:
	cargo clean

# Two commands do everything: `make demo` runs the main job, `make test` passes all tests.
# `make help` lists the others.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# A debug build is quick to make and quick enough to watch; measurements use the release build.
BIN := target/debug/homeostat

# The same cases at every run, so that a red run can be run again; `make soak` looks for new ones.
export PROPTEST_RNG_SEED ?= 1
export HOMEOSTAT_CHAOS_SEED ?= 1

.PHONY: help
help:  ## Lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup:  ## Installs what building and testing need, saying so first
	@tests/support/setup

.PHONY: images
images: setup  ## Builds the test images from Debian's and PyPI's packages
	@images/build

.PHONY: build
build: setup  ## Builds the debug binary
	@cargo build --locked

.PHONY: demo
demo: images build  ## Brings up five services, breaks them, shows each put right
	@tests/support/demo $(BIN)

.PHONY: test
test: images build  ## Runs all tests, those on the real engine included
	@tests/support/fetch-compose
	@tests/support/fetch-prometheus
	@cargo test --locked --workspace --lib --bins --tests -- --test-threads=4

.PHONY: soak
soak: images build  ## Property and chaos tests with fresh seeds, longer
	@env -u PROPTEST_RNG_SEED cargo test --locked --lib property
	@env -u HOMEOSTAT_CHAOS_SEED HOMEOSTAT_CHAOS_SECONDS=150 cargo test --locked --test it chaos::

.PHONY: lint
lint:  ## Format, clippy and the dependency rules
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@tests/support/deny

.PHONY: bench
bench: images  ## Prints every figure against its peer
	@tests/support/fetch-compose
	@tests/support/bench

.PHONY: clean
clean:  ## Removes what was built here; images, containers and volumes stay
	@cargo clean
	@rm -rf .cache

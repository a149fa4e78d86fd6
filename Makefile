# The only entry point. `make run` and `make test` work on a fresh machine with Rust.

PORT ?= 3000
MODEL ?=
CARGO ?= cargo
PREFIX ?= /usr/local
PROGRAM := target/release/gristmill
TGI_NAMES := text-generation-launcher text-generation-router text-generation-server

.PHONY: run build install test lint fmt bench clients soak

run: ## Build, fetch the demo model (or take MODEL=/path), serve it on PORT
	@tools/machine.sh $(if $(MODEL),,pip)
	@$(CARGO) build --release --locked -p gristmill-launcher
	@tools/serve.sh "$(PROGRAM)" "$(PORT)" "$(MODEL)"

build: ## Build the release program
	@tools/machine.sh
	$(CARGO) build --release --locked -p gristmill-launcher

install: build ## Install the program under PREFIX, with TGI's three names as links
	install -D -m 0755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/gristmill
	for name in $(TGI_NAMES); do ln -sf gristmill $(DESTDIR)$(PREFIX)/bin/$$name; done

test: ## Everything that needs no GPU; prints the minutes of each part
	@tools/machine.sh pip
	@tools/test.sh

lint: ## Formatting, clippy, dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	tools/deny.sh

fmt: ## Format the code
	$(CARGO) fmt --all

bench: ## Print the speed of the CPU's matrix multiplication
	$(CARGO) test --release --locked -p gristmill-cpu --lib -- --ignored --nocapture speed

clients: ## Real Python clients against the real program, in a virtual environment of their own
	@tools/machine.sh pip
	$(CARGO) build --locked --workspace --bins
	@tools/clients.sh target/debug/gristmill

soak: ## Random traffic on the token wire for about ten minutes
	GRISTMILL_SOAK_SEEDS=900 $(CARGO) test --workspace --locked --test wire -- random_traffic

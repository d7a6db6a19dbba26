# What people type. Each target does its own set-up.
.PHONY: demo test unit whole lint api java bench setup

VENV = .build/venv/bin

demo: setup           ## the lake pipeline on real data, left running
	cargo build --quiet --release -p server
	$(VENV)/python systems/observatory/run demo

test: setup lint unit whole   ## everything

setup:
	@tools/setup

lint:
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(VENV)/python tools/apigen/apigen.py --check services/*/

unit: setup           ## unit and service tests
	CUMULO_PROTOCOL_CASES=$(CURDIR)/.build/botocore-cases cargo test --quiet --workspace

whole: setup          ## real clients against a freshly started binary
	cargo build --quiet -p server
	$(VENV)/python -m pytest -q tests systems

api: setup            ## write services/*/src/api.rs and errors.rs anew
	$(VENV)/python tools/apigen/apigen.py services/*/

java:                 ## compile the bootstrap of Java functions anew (needs a JDK 17 or later)
	services/lambda/bootstrap/java/build

bench:                ## load generator against the release binary, figures on the terminal
	cargo build --quiet --release -p server -p bench
	target/release/bench

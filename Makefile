# h5lake: `make demo` and `make test` are complete on a machine with cargo, a C compiler and python3.

# HDF5's source archive, when it lies beside the project; set the variable to use another.
archive := $(wildcard ../shared/upstream/hdf5-1.14.6.tar.xz)
ifneq ($(archive),)
export H5LAKE_HDF5_ARCHIVE ?= $(abspath $(archive))
endif

target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help plugin demo test test-s3 test-differential test-rust test-clients bench lint fmt clean

help:
	@echo "make plugin     build target/plugin/libh5lake.so, alone in its folder"
	@echo "make demo       an unmodified h5py script on three stores, with real photographs"
	@echo "make test       everything: Rust, C, HDF5's API suite, h5py's suite"
	@echo "make test-rust  the Rust tests alone"
	@echo "make test-differential SEEDS=5000 START=100"
	@echo "                random programs on native HDF5 and on h5lake, side by side"
	@echo "make test-clients  all of the clients' own suites (PyTables, h5netcdf, emcee, pandas), minutes"
	@echo "make bench ROWS=gzip,chunks ROUNDS=5"
	@echo "                speed beside native HDF5, zarr and s3fs; all rows take about half an hour"
	@echo "make lint       formatting and clippy"
	@echo "make fmt        format the Rust sources"

# HDF5 opens every library in each folder of HDF5_PLUGIN_PATH, so the plugin gets a folder of its own.
plugin:
	cargo build --release --package h5lake
	@mkdir -p target/plugin
	@cp $(target)/release/libh5lake.so target/plugin/.libh5lake.so.new
	@mv target/plugin/.libh5lake.so.new target/plugin/libh5lake.so

demo: plugin
	@demo/run

test:
	@.ci/test

SEEDS ?= 2000
START ?= 1000

test-differential: plugin
	@tests-py/differential/run --seeds $(SEEDS) --start $(START)

test-rust:
	cargo test --workspace

test-clients: plugin
	tests-py/client-suites/run --all

# The ledger's tests and the programs on an S3 server on loopback, and the stores' suite on moto from PyPI.
test-s3: plugin
	cargo build --package h5lake-tests-s3
	LEDGER_TEST_STORE=s3://lake/ledger $(target)/debug/h5lake-tests-s3 \
	    cargo test --package h5lake-ledger --test objects
	tests-s3/moto $(target)/debug/h5lake-tests-s3
	$(target)/debug/h5lake-tests-s3 tests-py/run --step programs-s3 --connector 'h5lake store=s3://lake/{work}' \
	    --known tests-py/programs/known-failures-objects.txt

ROUNDS ?= 5

bench: plugin
	cargo build --package h5lake-tests-s3
	cargo build --release --package h5lake-floor
	benches/run --rounds $(ROUNDS) $(if $(ROWS),--rows $(ROWS)) $(if $(SIDES),--sides $(SIDES))
	benches/table

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

clean:
	cargo clean

# h5lake: `make demo` and `make test` are complete on a machine with cargo, a C compiler and python3.
# A line 'target: ## text' is a line of `make help`; a line '##@ text' is its heading.

target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help plugin wheel release demo docs check fmt lint test test-steps steps soak stress bench bench-apps bench-scale bench-mpi \
    bench-commits bench-growth bench-rados bench-stores clean FORCE

help:
	@awk -F ' ## ' '/^##@ / { printf "%s%s\n", n++ ? "\n" : "", substr($$0, 5) } \
	    /^[a-z%-]+:.* ## / { sub(/:.*/, "", $$1); sub(/%/, "GROUP", $$1); printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# Cargo's profile of the plugin. Benchmarks measure the one that the wheel has, whose build takes longer.
profile := release
bench bench-apps bench-growth bench-scale bench-mpi bench-rados bench-stores: profile := dist

##@ Build
# HDF5 opens every library in each folder of HDF5_PLUGIN_PATH, so the plugin gets a folder of its own.
plugin: ## target/plugin/libh5lake.so, alone in its folder
	cargo build --profile $(profile) --package h5lake
	@mkdir -p target/plugin
	@cp $(target)/$(profile)/libh5lake.so target/plugin/.libh5lake.so.new
	@mv target/plugin/.libh5lake.so.new target/plugin/libh5lake.so

wheel: ## a wheel for pip in target/wheel, with plugin, tool and Python module; MACHINE=aarch64: for that machine
	@tools/wheel $(MACHINE)

release: ## the wheel, an archive, a conda recipe, bills of materials and sums in target/dist; it uploads nothing
	@tools/release

docs: ## the documentation site in target/site, which can be searched; dead links fail it
	@tools/site

demo: plugin ## an unmodified h5py script on three stores, with real photographs
	@demo/run

##@ Before a commit
check: ## what a contributor needs before a commit, in five minutes
	@.ci/test --group check

fmt: ## format the Rust sources
	cargo fmt --all

lint: ## formatting, clippy, links of the Rust documentation, import circles, dependencies
	cargo fmt --all --check
	@for each in . fuzz plugin-abi/regenerate; do \
	    cargo metadata --locked --format-version 1 --manifest-path $$each/Cargo.toml > /dev/null || exit 1; done
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
	tools/import-circles
	tools/status-page --check
	tools/dependencies

##@ Tests, whose table is .ci/steps.py
test: ## every step but the long ones
	@.ci/test

test-steps: ## these steps alone: STEPS='programs faults'
	@.ci/test $(STEPS)

test-%: FORCE ## all steps of a group, whole: rust, clients, mpi, stores, minio, ceph, faults, fuzz, versions ...
	@.ci/test --group $*

steps: ## all steps and groups
	@.ci/test --list

soak stress:
	@.ci/test --group $@

##@ Benchmarks
ROUNDS ?= 5

bench: plugin ## speed beside native HDF5, zarr and s3fs: ROWS=gzip,chunks ROUNDS=5; all rows take half an hour
	cargo build --package h5lake-tests-s3
	cargo build --release --package h5lake-tests-s3 --package h5lake-floor
	benches/run --rounds $(ROUNDS) $(if $(ROWS),--rows $(ROWS)) $(if $(SIDES),--sides $(SIDES))
	benches/table

bench-apps: plugin ## time, memory and space of real workloads beside native HDF5: WORKLOADS=Tables,Climate ROUNDS=3
	benches/apps/run --rounds $(ROUNDS) $(if $(WORKLOADS),--workloads $(WORKLOADS))
	benches/apps/page

# HDF5 for MPI is built once, and kept in the cache.
bench-mpi: plugin ## programs for MPI beside native parallel HDF5: RANKS=1,2 KERNELS='contiguous;deflate'
	cargo build --release --package h5lake-tests-s3
	benches/mpi/run --rounds $(if $(filter command line,$(origin ROUNDS)),$(ROUNDS),3) $(if $(RANKS),--ranks $(RANKS)) \
	    $(if $(KERNELS),--kernels '$(KERNELS)')
	benches/mpi/table

# How costs grow from a thousand to ten million, in a file, in a directory and on the S3 server; and 10 GB in a file.
bench-scale: plugin
	cargo build --release --package h5lake-tests-s3 --package h5lake-cli
	benches/scale/run
	benches/scale/run --large 10000 --stores file
	benches/scale/page

# Operations that must not become expensive as data grows, at three sizes beside native HDF5; fails if one grows faster.
bench-growth: plugin
	cargo build --release --package h5lake-cli
	benches/growth/run --rounds $(ROUNDS) $(if $(CASES),--cases $(CASES)); status=$$?; benches/growth/page && exit $$status

# Time and requests of common work on the S3 server, with 20 ms a request.
bench-stores: plugin
	benches/stores/run --rounds $(if $(filter command line,$(origin ROUNDS)),$(ROUNDS),3) $(if $(CASES),--cases '$(CASES)')

# Workers that commit to one container, in a simulated store.
bench-commits:
	cargo run --release --package h5lake-many-workers -- --workers 1,4,16 --seconds 20
	cargo run --release --package h5lake-many-workers -- --workers 100 --slower 4 --seconds 20
	for regions in rows datasets same; do \
	    cargo run --release --package h5lake-many-workers -- --workers 100 --slower 4 --seconds 20 --regions $$regions; done
	cargo run --release --package h5lake-many-workers -- --workers 100 --requests 3500

# h5py beside `rados bench` on a cluster of Ceph on loopback, with Debian's packages.
bench-rados: plugin
	tests-ceph/on benches/rados/run --rounds $(ROUNDS)

##@ Other
clean: ## delete what cargo built
	cargo clean

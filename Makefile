# h5lake: `make demo` and `make test` are complete on a machine with cargo, a C compiler and python3.

# HDF5's source archive, when it lies beside the project; set the variable to use another.
archive := $(wildcard ../shared/upstream/hdf5-1.14.6.tar.xz)
ifneq ($(archive),)
export H5LAKE_HDF5_ARCHIVE ?= $(abspath $(archive))
endif

# H5Part's source archive, likewise.
h5part-archive := $(wildcard ../shared/upstream/h5part-1.6-*.tar.xz)
ifneq ($(h5part-archive),)
export H5LAKE_TEST_H5PART_ARCHIVE ?= $(abspath $(h5part-archive))
endif

on-s3 := stores ledger programs c-programs
on-minio := $(foreach part,$(on-s3),s3-minio-$(part))
on-rgw := $(foreach part,$(on-s3),s3-rgw-$(part)) s3-swift-s3-stores
on-swift := $(foreach part,$(on-s3) crashes,swift-$(part)) $(foreach part,programs c-programs crashes,swift-3-$(part)) swift-disks
on-ceph := ceph-stores ceph-ledger ceph-programs ceph-c-programs ceph-crashes ceph-stress workers-ceph
on-dataclay := dataclay-stores dataclay-checks dataclay-ledger dataclay-programs dataclay-c-programs dataclay-crashes dataclay-stress
target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help plugin wheel release test-wheel demo test test-s3 test-minio test-s3-servers test-swift test-ceph test-dataclay test-stores test-docker test-differential \
    test-rust test-clients test-crashes test-mpi test-versions test-browser stress \
    test-faults test-power test-fuzz test-memory test-testpar soak bench bench-apps bench-scale bench-mpi bench-commits bench-rados lint fmt clean

help:
	@echo "make plugin     build target/plugin/libh5lake.so, alone in its folder"
	@echo "make wheel      build a wheel for pip in target/wheel; MACHINE=aarch64 builds one for that, where Rust's target is installed"
	@echo "make release    the wheel, an archive of plugin and tool, a conda recipe, bills of materials and sums in target/dist"
	@echo "make test-wheel  the wheel in an empty Debian 11"
	@echo "make demo       an unmodified h5py script on three stores, with real photographs"
	@echo "make test       everything: Rust, C, HDF5's API suite, h5py's suite"
	@echo "make test-rust  the Rust tests alone"
	@echo "make test-differential SEEDS=5000 START=100"
	@echo "                random programs on native HDF5 and on h5lake, side by side"
	@echo "make test-mpi   four processes with mpi4py on one file, by HDF5's MPI driver; builds what that needs, once"
	@echo "make test-testpar  HDF5's own tests for MPI, all of them, natively too"
	@echo "make test-versions VERSIONS='1.14.2 2.2.0'"
	@echo "                programs in C and Python with each release of HDF5 from 1.14.0 on, and HDF5's API suite with builds of 1.14.6"
	@echo "make test-browser  JupyterLab with H5Web in a headless browser, which shows containers and old versions"
	@echo "make test-crashes  programs that are killed while they write, 500 in each store"
	@echo "make test-faults  each system call of the plugin fails, is cut short, or is the last"
	@echo "make test-power   power loss, replayed"
	@echo "make test-fuzz    fuzzing targets, half an hour each"
	@echo "make test-memory  C programs, the API suite and the fuzzing targets under AddressSanitizer"
	@echo "make soak       half an hour of use, and what grows"
	@echo "make stress     many writers and readers of one file: locally, on an S3 server on loopback, on MinIO; workers of dask and Ray"
	@echo "make test-clients  all of the clients' own suites (h5py, PyTables, h5netcdf, emcee, pandas), and applications"
	@echo "make test-s3    on S3 servers on loopback: ours and moto, all that 'make test' runs there and more"
	@echo "make test-minio the same on MinIO, found or built"
	@echo "make test-s3-servers  the same on Ceph's gateway, and the suite of stores on OpenStack Swift's s3api"
	@echo "make test-swift  the same on OpenStack Swift's own interface, with one replica and with a disk away"
	@echo "make test-ceph  the same on a cluster of Ceph on loopback, with Debian's packages"
	@echo "make test-dataclay  the same in a dataClay on loopback, from PyPI and Debian's redis, and filters in its backend"
	@echo "make test-stores  all of these servers but the loopback's and moto, one after another; what cannot be installed is skipped by name"
	@echo "make test-docker  a client's image and MinIO in containers; DOCKERD=start starts an engine for it"
	@echo "make bench ROWS=gzip,chunks ROUNDS=5"
	@echo "                speed beside native HDF5, zarr and s3fs; all rows take about half an hour"
	@echo "make bench-apps WORKLOADS=Tables,Climate ROUNDS=3"
	@echo "                time, memory and room of real workloads beside native HDF5"
	@echo "make bench-scale  costs by the number of objects, chunks, attributes, versions, reopenings; 10 GB; docs/scale.md. Hours"
	@echo "make bench-mpi RANKS=1,2 KERNELS='contiguous;deflate'"
	@echo "                programs for MPI beside native parallel HDF5: time, memory and room; writes docs/performance-mpi.md"
	@echo "make bench-commits  many writers of one container in a simulated distant store"
	@echo "make bench-rados  256 MiB in and out of a cluster of Ceph, beside rados bench"
	@echo "make lint       formatting, clippy, links of the documentation, import circles, dependencies"
	@echo "make fmt        format the Rust sources"

# Cargo's profile of the plugin. Benchmarks measure the one that the wheel has, whose build takes longer.
profile := release
bench bench-apps bench-scale bench-mpi bench-rados: profile := dist

# HDF5 opens every library in each folder of HDF5_PLUGIN_PATH, so the plugin gets a folder of its own.
plugin:
	cargo build --profile $(profile) --package h5lake
	@mkdir -p target/plugin
	@cp $(target)/$(profile)/libh5lake.so target/plugin/.libh5lake.so.new
	@mv target/plugin/.libh5lake.so.new target/plugin/libh5lake.so

# A wheel for pip, with the plugin, the tool and the Python module.
wheel:
	@tools/wheel $(MACHINE)

# What a release consists of. It uploads nothing.
release:
	@tools/release

test-wheel: wheel
	@.ci/step --one wheel tests-py/wheel/run

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
	@failed=0; for suite in h5py 'pytables --all' h5netcdf emcee pandas; do \
	    tests-py/client-suites/run $$suite || failed=1; done; \
	.ci/step applications tests-py/run tests-py/programs/applications.py || failed=1; exit $$failed

# All that is run on an S3 server: the suite of stores, the ledger's tests, programs in h5py and C.
test-s3:
	@.ci/test plugin $(foreach server,loopback moto,$(foreach part,$(on-s3),s3-$(server)-$(part)))

# The same on MinIO: MINIO_ENDPOINT, `minio` on PATH, or one that the Go tool chain builds.
test-minio:
	@.ci/test plugin $(on-minio)

# The same on Ceph's gateway, and the suite of stores on OpenStack Swift's s3api: started on loopback, installed by apt and pip.
test-s3-servers:
	@.ci/test plugin $(on-rgw)

# The store swift: on real servers: with one replica, and with three of which one disk is away. Listings lag there, which the suite of
# stores would tell.
test-swift:
	@.ci/test plugin $(on-swift)

# The same on a cluster of Ceph, which each part starts for itself, and victims and many writers besides.
test-ceph:
	@.ci/test plugin $(on-ceph)

# The same in a real dataClay, which each part starts for itself; kills of each of its servers, and filters in its backend.
test-dataclay:
	@.ci/test plugin $(on-dataclay)

# Every store on a real server of its kind, one after another. What cannot be installed is skipped, by name.
test-stores:
	@.ci/test plugin $(on-minio) $(on-rgw) $(on-swift) $(on-ceph) $(on-dataclay)

# Images, and the compose file with MinIO; DOCKERD=start starts an engine for it.
test-docker: wheel
	@.ci/step --one docker docker/test
ROUNDS ?= 5

bench: plugin
	cargo build --package h5lake-tests-s3
	cargo build --release --package h5lake-tests-s3 --package h5lake-floor
	benches/run --rounds $(ROUNDS) $(if $(ROWS),--rows $(ROWS)) $(if $(SIDES),--sides $(SIDES))
	benches/table

# Real workloads on h5py, PyTables, netCDF4 and what is built on them: time, memory and room beside native HDF5.
bench-apps: plugin
	benches/apps/run --rounds $(ROUNDS) $(if $(WORKLOADS),--workloads $(WORKLOADS))
	benches/apps/page

# How costs grow from a thousand to ten million, in a file, in a directory and on the S3 server; and 10 GB in a file.
bench-scale: plugin
	cargo build --release --package h5lake-tests-s3 --package h5lake-cli
	benches/scale/run
	benches/scale/run --large 10000 --stores file
	benches/scale/page

# Programs for MPI beside native parallel HDF5; HDF5 for MPI is built once, and kept in the cache.
bench-mpi: plugin
	cargo build --release --package h5lake-tests-s3
	benches/mpi/run --rounds $(if $(filter command line,$(origin ROUNDS)),$(ROUNDS),3) $(if $(RANKS),--ranks $(RANKS)) \
	    $(if $(KERNELS),--kernels '$(KERNELS)')
	benches/mpi/table

# Workers that commit to one container, in a simulated store.
bench-commits:
	cargo run --release --package h5lake-many-workers -- --workers 1,4,16,64,100
	cargo run --release --package h5lake-many-workers -- --workers 1000 --slower 5
	for regions in rows datasets same; do \
	    cargo run --release --package h5lake-many-workers -- --workers 16,100 --regions $$regions; done
	cargo run --release --package h5lake-many-workers -- --workers 100 --requests 3500

# h5py beside `rados bench` on a cluster of Ceph on loopback, with Debian's packages.
bench-rados: plugin
	tests-ceph/on --step bench-rados benches/rados/run --rounds $(ROUNDS)

# Programs for MPI, with HDF5, mpi4py and h5py built for it: made once, and kept in the cache.
test-mpi: plugin
	@.ci/test mpi mpi-dir mpi-s3 mpi-native

# HDF5's own tests for MPI. Every 'make test' has a sample.
test-testpar: plugin
	@.ci/test testpar testpar-native

# JupyterLab with H5Web, as a browser shows it.
test-browser: plugin
	@.ci/step browser tests-py/browser/run

# Each release of HDF5 that can be had; built once, and kept in the cache.
test-versions: plugin
	@tests-c/versions/run $(VERSIONS)

# Programs that are killed while they write, in a file and in a directory of objects.
CYCLES ?= 500

# Commits of each of four writers, locally and on a store, and how often a sampler's reader opens its file.
export COMMITS ?= 2500
export S3_COMMITS ?= 2500
export OPENS ?= 2000

stress: plugin
	@.ci/test stress-local stress-loopback stress-minio workers-local workers-minio

test-crashes: plugin
	@tests-py/crashes/run --cycles $(CYCLES)

# Safety nets that are too long for every run: system calls that fail, lost power, hours of use, AddressSanitizer, hostile encodings.
test-faults: plugin
	cargo build --release --package h5lake-cli
	tests-py/faults/run --points all --cli $(target)/release/h5lake --at-least 3000 --report target/test-results/faults.txt

test-power: plugin
	tests-py/power/run --seconds 300

# Each fuzzing target for half an hour; what reaches something new goes into the kept corpus.
test-fuzz:
	fuzz/run --seconds 1800 --keep

test-memory:
	tests-c/asan/run
	fuzz/run --asan --seconds 60

soak: plugin
	tests-py/soak/run --minutes 30

lint:
	cargo fmt --all --check
	@for each in . fuzz plugin-abi/regenerate; do \
	    cargo metadata --locked --format-version 1 --manifest-path $$each/Cargo.toml > /dev/null || exit 1; done
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
	tools/import-circles
	tools/status-page --check
	tools/dependencies

fmt:
	cargo fmt --all

clean:
	cargo clean

"""Every step of the tests: a new step is a row of this table, and nothing else. `.ci/test` runs the steps, and `.ci/test --list`
shows them. test-harness/harness/steps.py says what the columns mean.

The name of a step is also in docs/status.json, where its suite has a row, or where it may be skipped."""

from harness.steps import CARGO, CI, LONG, ONE, Step, Store

STORES = {
    # The server of tests-s3 on loopback; moto as a second opinion; a real MinIO; Ceph's gateway.
    "s3-loopback": Store("tests-s3/on loopback", "h5lake store=s3://lake/{work}", "s3"),
    # The server of tests-s3 with the interface of Google Cloud Storage.
    "google": Store("tests-s3/on google", "h5lake store=gs://lake/{work}", "google"),
    # An emulator of Azure Blob Storage.
    "azurite": Store("tests-s3/on azurite", "h5lake store=az://lake/{work}", "azurite"),
    "s3-moto": Store("tests-s3/on moto", "h5lake store=s3://lake/{work}", "s3"),
    "s3-minio": Store("tests-s3/on minio", "h5lake store=s3://lake/{work}", "minio"),
    "s3-rgw": Store("tests-s3/on rgw", "h5lake store=s3://lake/{work}", "s3-servers"),
    "s3-swift-s3": Store("tests-s3/on swift-s3", "h5lake store=s3://lake/{work}", "s3-servers"),
    # OpenStack Swift by its own interface, with one replica, and with three of which one disk is away.
    "swift": Store("tests-s3/on swift", "h5lake store=swift://lake/{work}", "swift"),
    "swift-3": Store("tests-s3/on swift-3", "h5lake store=swift://lake/{work}", "swift"),
    # A cluster of Ceph; a dataClay, by the adapter that serves the store protocol.
    "ceph": Store("tests-ceph/on", "h5lake store=rados://h5lake/{work}", "ceph"),
    "dataclay": Store("tests-dataclay/on", "h5lake store={store}/{work}", "dataclay"),
}

# Groups of groups.
GROUPS = {"stores": "google azurite minio s3-servers swift ceph dataclay"}

PROGRAMS = "tests-py/run {sample} --limit 600 --connector {connector}"
TOOLS = ("{on} tests-py/run tests-c/programs --connector {connector} "
         "-k 'tour or filters or values or points or h5dump or h5ls or h5diff or h5copy or h5repack or import_and_export'")
LEDGER = "cargo test --workspace --no-fail-fast --test objects --test closed --test registers --test model --test linear"
WORKERS = ("env WORKER_COMMITS=${WORKER_COMMITS:-20} tests-py/run --limit 600 tests-py/programs/dask_workers.py "
           "tests-py/programs/ray_workers.py")
ON_S3 = " --connector 'h5lake store=s3://lake/{work}'"
STRESS = "--commits ${S3_COMMITS:-2500} --opens ${OPENS:-2000}"

# Programs that show most in the least time; they need neither another environment nor the tool.
QUICK = " ".join(f"tests-py/programs/{name}.py" for name in (
    "attributes", "container_files", "copies", "datatypes", "event_sets", "exits", "external_data", "files", "filters",
    "forks", "groups", "live_readers", "many_writers", "native_files", "own_readers", "references", "selections", "shapes",
    "threads", "time_travel", "virtual"))

STEPS = [
    # What `make check` runs: the plugin is a debug build, since a release takes minutes after each change.
    Step("check-lint", "make --no-print-directory lint", 1.5, LONG, ONE, needs="", groups="check"),
    Step("check-rust", "tools/test-changed", 1.5, LONG, ONE, needs="", groups="check"),
    Step("check-programs", ["cargo build --quiet --package h5lake",
                            "install -D --target-directory target/check ${CARGO_TARGET_DIR:-target}/debug/libh5lake.so",
                            f"tests-py/run --plugin-path target/check {QUICK}"], 1.5, LONG, needs="", groups="check"),
    # What other steps need. Lint is first: it holds cargo's lock, for which steps that build would wait.
    Step("plugin", "make --no-print-directory plugin", 3, counts=ONE, needs=""),
    Step("lint", "make --no-print-directory lint", 4, when=CI, counts=ONE, needs=""),
    Step("build", "cargo test --quiet --workspace --no-run", 5, counts=ONE, needs="", after="lint"),

    # Many Rust tests wait: for a server, a deadline, a retention time. So more of them run at a time than there are processors.
    Step("rust", "env RUST_TEST_THREADS=4 cargo test --workspace --no-fail-fast", 7, counts=CARGO, needs="", after="build",
         groups="rust"),
    Step("fuzz", "fuzz/run --seconds 10", 2, counts=ONE, needs=""),
    Step("abi", "tests-c/abi/run", 0.2, counts=ONE, needs="", after="build"),
    Step("harness", "tests-py/run test-harness", 0.5),
    Step("docs", "tools/site", 0.3, counts=ONE, needs="", after="build"),
    # HDF5's own suites, and programs in C.
    Step("c-programs", "tests-py/run tests-c/programs", 2),
    Step("api-suite", "tests-py/run tests-c/api-suite", 1),
    Step("testhdf5", "tests-py/run tests-c/testhdf5", 0.5),
    # Programs in h5py; the same on a directory of objects, where the local path holds a pointer.
    Step("programs", "tests-py/run", 8, after="build"),
    Step("programs-dir", "tests-py/run {sample} --connector 'h5lake store=file://{work}/objects'", 3, after="build"),
    # The suite of stores, the ledger's tests, and programs in h5py and C on each store.
    Step("{store}-stores", "{on} --conformance", 0.5, after="build", stores="s3-loopback s3-moto s3-minio google azurite"),
    Step("{store}-stores", "{on} --conformance", 1, LONG, after="build", stores="s3-rgw s3-swift-s3 swift ceph dataclay"),
    # Without what the step rust has tested already: the proxy has this server there, and the rest of these need no store.
    Step("{store}-ledger", "{on} env RUST_TEST_THREADS=4 " + LEDGER + " --test verify --test repair -- "
         "--skip memory_is_the_model --skip a_directory_is_the_model --skip any_text_is_a_key --skip all_kept_samples_are_whole",
         2.5, counts=CARGO, after="build", stores="s3-loopback"),
    Step("{store}-ledger", "{on} env H5LAKE_TEST_FLUSHES=1000 " + LEDGER + " --test proxy --test verify --test repair", 10, LONG, CARGO,
         "s3-moto s3-minio s3-rgw", after="build"),
    # The others' writers compare etags, which Swift does not: there each commit is two puts, and nobody meets another. Each
    # case of the model is hundreds of requests to servers in Python.
    Step("{store}-ledger", "{on} env PROPTEST_CASES=6 cargo test --workspace --no-fail-fast --test objects --test model "
         "-- --skip requests_are_few", 10, LONG, CARGO, "swift", after="build"),
    Step("{store}-ledger", "{on} " + LEDGER + " --test verify --test repair", 10, LONG, CARGO, "google azurite ceph", after="build"),
    Step("{store}-ledger", "{on} " + LEDGER, 10, LONG, CARGO, "dataclay", after="build"),
    Step("{store}-programs", "{on} " + PROGRAMS, 3, after="build", stores="s3-loopback"),
    Step("{store}-programs", "{on} " + PROGRAMS, 20, LONG, after="build", stores="s3-moto s3-minio google ceph"),
    # A container each for thousands of settings of a codec would take Ceph's gateway an hour.
    Step("{store}-programs", "{on} env H5LAKE_TEST_PART=8 " + PROGRAMS, 30, LONG, after="build", stores="s3-rgw"),
    Step("{store}-programs", "{on} tests-py/run {sample} --limit 900 --connector {connector}", 60, LONG, after="build",
         stores="swift"),
    # With three replicas what differs between stores: all of the programs would take hours, and are run with one.
    Step("{store}-programs", "{on} tests-py/run --sample --limit 900 --connector {connector}", 60, LONG, after="build",
         stores="swift-3"),
    Step("{store}-programs", "{on} tests-py/run --sample --limit 600 --connector {connector}", 20, LONG, after="build",
         stores="dataclay"),
    Step("{store}-c-programs", TOOLS, 0.3, stores="s3-loopback s3-minio", after="build"),
    Step("{store}-c-programs", TOOLS, 1, LONG, after="build", stores="s3-moto s3-rgw swift swift-3 ceph dataclay"),
    Step("{store}-crashes", "{on} tests-py/crashes/run --stores swift --cycles 40", 20, LONG, after="build", stores="swift swift-3"),
    Step("{store}-crashes", "{on} tests-py/crashes/run --stores rados", 10, LONG, stores="ceph"),
    Step("{store}-crashes", "{on} tests-py/crashes/run --stores dataclay", 10, LONG, after="build", stores="dataclay"),
    Step("{store}-stress", "{on} tests-py/stress/run --stores rados --commits 75 --opens 200", 5, LONG, stores="ceph"),
    Step("{store}-stress", "{on} tests-py/stress/run --stores dataclay --commits 75 --opens 200", 5, LONG, after="build",
         stores="dataclay"),
    Step("swift-disks", "tests-s3/swift-disks", 10, LONG, groups="swift"),
    Step("dataclay-checks", "tests-dataclay/checks", 10, LONG, groups="dataclay", after="build"),
    # Listings lag there, which the suite of stores would tell: in no group.
    Step("{store}-stores", "{on} --conformance", 1, LONG, after="build", stores="swift-3", groups=""),
    Step("{store}-ledger", "{on} env PROPTEST_CASES=6 cargo test --workspace --no-fail-fast --test objects --test model "
         "-- --skip requests_are_few", 10, LONG, CARGO, "swift-3", after="build", groups=""),
    # Native files on S3, opened and adopted: the cases of their programs that need a server.
    Step("s3-native-objects", "tests-s3/on loopback tests-py/run tests-py/programs/native_objects.py tests-py/programs/parallel_native.py "
         "tests-py/programs/adopt_elsewhere.py -k s3" + ON_S3, 0.1, after="build"),
    # HDF5's pass_through, stacked on h5lake.
    Step("stacked-api", "tests-py/run tests-c/api-suite --connector 'pass_through under_vol=496;under_info={}'", 1, LONG),
    # Processes of MPI programs, and HDF5's own tests for MPI.
    Step("mpi", "tests-py/run tests-mpi", 0.8, groups="mpi"),
    Step("mpi-dir", "tests-py/run tests-mpi --connector 'h5lake store=file://{work}/objects'", 1, LONG, groups="mpi"),
    Step("mpi-s3", "tests-s3/on loopback tests-py/run {sample} tests-mpi" + ON_S3, 1,
         after="build", groups="mpi"),
    Step("mpi-native", "tests-py/run {sample} tests-mpi --native", 0.2, needs="", groups="mpi"),
    Step("testpar-sample", "tests-py/run tests-c/testpar --sample", 0.3),
    Step("testpar", "tests-py/run tests-c/testpar", 30, LONG, groups="testpar"),
    Step("testpar-native", "tests-py/run tests-c/testpar --native", 30, LONG, groups="testpar"),
    # Many writers and readers of one file.
    Step("stress", "tests-py/stress/run --commits 75 --opens 200", 0.2),
    Step("stress-local", "tests-py/stress/run --commits ${COMMITS:-2500} --flushes 30 --opens ${OPENS:-2000}", 5, LONG,
         groups="stress"),
    Step("stress-loopback", "tests-s3/on --release loopback tests-py/stress/run --stores s3 " + STRESS, 5, LONG, groups="stress"),
    Step("stress-minio", "tests-s3/on --release minio tests-py/stress/run --stores s3 " + STRESS, 15, LONG, groups="stress"),
    Step("workers-local", WORKERS, 5, LONG, groups="stress"),
    Step("workers-minio", "tests-s3/on minio " + WORKERS + ON_S3, 10, LONG, groups="stress", after="build"),
    Step("workers-{store}", "{on} " + WORKERS + " --connector {connector}", 10, LONG, stores="ceph"),
    # Programs that are killed while they write; system calls that fail; lost power; what a long run shows.
    Step("crashes", "tests-py/crashes/run", 0.7),
    Step("crashes-long", "tests-py/crashes/run --cycles ${CYCLES:-500}", 7, LONG, groups="crashes"),
    Step("faults", "tests-py/faults/run --points 120 --seconds 60", 1, after="build"),
    Step("faults-all", ["cargo build --release --package h5lake-cli",
                        "tests-py/faults/run --points all --cli ${CARGO_TARGET_DIR:-target}/release/h5lake --at-least 3000 "
                        "--report target/test-results/faults.txt"], 60, LONG, groups="faults"),
    Step("power", "tests-py/power/run --seconds 20", 0.4),
    Step("power-long", "tests-py/power/run --seconds 300", 5, LONG, groups="power"),
    Step("soak", "tests-py/soak/run --seconds 15", 0.3),
    Step("soak-long", "tests-py/soak/run --minutes 30", 30, LONG, groups="soak"),
    # Random histories of the commit protocol; the step rust runs a hundredth of them.
    Step("simulator-long", "env H5LAKE_SIM_HISTORIES=${HISTORIES:-10000000} H5LAKE_SIM_SEED=${START:-1} "
         "H5LAKE_SIM_STATES=${STATES:-400000} cargo test --release --config profile.release.package.h5lake-ledger.opt-level=3 "
         "--package h5lake-ledger --lib core::sim -- --nocapture", 10, LONG, CARGO, needs="", groups="simulator"),
    Step("fuzz-long", "fuzz/run --seconds 1800 --keep", 180, LONG, ONE, needs="", groups="fuzz"),
    Step("memory", "tests-c/asan/run", 30, LONG, ONE, needs="", groups="memory"),
    Step("memory-fuzz", "fuzz/run --asan --seconds 60", 8, LONG, ONE, needs="", groups="memory"),
    Step("races", "tools/thread-sanitizer 60", 10, LONG, ONE, needs="", groups="memory"),
    Step("anomalies", "tests-py/anomalies/run", 0.7),
    Step("hostile", "tests-py/hostile/run --count 60", 0.5, counts=ONE, after="build"),
    # Random programs, on native HDF5 and on h5lake side by side.
    Step("differential", "tests-py/differential/run", 0.7),
    Step("differential-long", "tests-py/differential/run --seeds ${SEEDS:-2000} --start ${START:-1000}", 15, LONG,
         groups="differential"),
    # The clients' own suites; the same on native files, of which the plugin decodes chunks.
    Step("h5py-suite", "tests-py/client-suites/run h5py", 0.5, groups="clients"),
    Step("pytables-suite", "tests-py/client-suites/run pytables", 0.8),
    Step("pytables-suite-all", "tests-py/client-suites/run pytables --all", 5, LONG, groups="clients"),
    Step("h5netcdf-suite", "tests-py/client-suites/run h5netcdf", 0.2, groups="clients"),
    Step("emcee-suite", "tests-py/client-suites/run emcee", 0.1, groups="clients"),
    Step("pandas-suite", "tests-py/client-suites/run pandas", 0.3, groups="clients"),
    Step("applications", "tests-py/run tests-py/programs/applications.py", 2, LONG, groups="clients"),
    # Clients of Debian 13 with its libhdf5; CGNS.
    Step("debian-clients", "tests-py/run tests-debian", 3, LONG, groups="clients"),
    Step("cgns", "tests-py/run tests-c/programs -k cgns", 0.5, LONG, groups="clients"),
    Step("h5py-suite-passed", "tests-py/client-suites/run h5py --connector 'h5lake only=*.h5l'", 0.5),
    Step("pytables-suite-passed", "tests-py/client-suites/run pytables --connector 'h5lake only=*.h5l'", 0.8),
    # Each release of HDF5 that can be had; JupyterLab as a browser shows it; the wheel in an empty Debian 11; containers.
    Step("versions", "tests-c/versions/run ${VERSIONS:-}", 90, LONG, groups="versions"),
    Step("browser", "tests-py/browser/run", 2, LONG, groups="browser"),
    Step("wheel", ["make --no-print-directory wheel", "tests-py/wheel/run"], 40, LONG, ONE, needs="", groups="wheel"),
    Step("docker", ["make --no-print-directory wheel", "docker/test"], 40, LONG, ONE, needs="", groups="docker"),
    # The benchmarks in their smallest form: no times, but the data and the connectors are checked.
    Step("bench", ["cargo test --quiet --workspace --test store --no-run",
                   "cargo build --quiet --release --package h5lake-floor", "benches/run --smoke",
                   "benches/mpi/run --smoke --kernels 'structs in the file;many small objects' --places native,file,directory",
                   "benches/scale/run --smoke --stores file,directory"], 1.5, counts=ONE, after="build"),
    # What our programs expect must be what native HDF5 does.
    Step("c-programs-native", "tests-py/run tests-c/programs --native", 0.5, needs=""),
    Step("programs-native", "tests-py/run --native", 1, needs=""),
]

/* Blocks of which each process writes a part. All written elements are visible, truncated elements are not, and no
 * element is lost or outdated after a failed flush. */

#include "together.h"
#include <signal.h>

#define DATASETS 12
#define COUNT 3000
#define CHUNK 700

static hid_t all_list;

static hid_t make_shared(hid_t file, int number, int deflated) {
    hsize_t count = COUNT, chunk = CHUNK, most = H5S_UNLIMITED;
    hid_t space = H5Screate_simple(1, &count, deflated ? &most : NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(!deflated || (H5Pset_chunk(list, 1, &chunk) >= 0 && H5Pset_deflate(list, 1) >= 0));
    char name[32];
    snprintf(name, sizeof name, "%s%d", deflated ? "deflated" : "plain", number);
    hid_t dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

/* Writes one value to every `stride`th element. Returns the result of the write. */
static herr_t write_every(hid_t dataset, hsize_t start, hsize_t stride, hsize_t count, int value) {
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
    int *data = malloc(sizeof(int) * count);
    CHECK(data && H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, &stride, &count, NULL) >= 0);
    for (hsize_t n = 0; n < count; n++)
        data[n] = value;
    herr_t done = H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, all_list, data);
    free(data);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
    return done;
}

/* Writes elements of each process interleaved with those of the other processes. */
static void write_mine(hid_t dataset, int salt) {
    CHECK(write_every(dataset, (hsize_t)rank, (hsize_t)size, COUNT / (hsize_t)size, salt + rank) >= 0);
}

/* Checks that each element was written by the process that owns it. With a `salt` of 0, the elements have the fill
 * value. */
static void check(hid_t dataset, hsize_t from, hsize_t to, int salt) {
    static int data[COUNT];
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (hsize_t n = from; n < to; n++) {
        int wanted = salt ? salt + (int)n % size : 0;
        if (data[n] != wanted)
            fprintf(stderr, "element %d: %d and not %d\n", (int)n, data[n], wanted);
        CHECK(data[n] == wanted);
    }
}

static void write_and_flush(hid_t file, const hid_t *datasets, int salt) {
    for (int n = 0; n < DATASETS; n++)
        write_mine(datasets[n], salt);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int n = 0; n < DATASETS; n++)
        check(datasets[n], 0, COUNT / (hsize_t)size * (hsize_t)size, salt);
}

/* Shrinks each dataset and extends it again. */
static void cut(hid_t file, const hid_t *datasets, int salt) {
    begin("cut and grown");
    hsize_t few = CHUNK / 2, many = COUNT;
    for (int n = 0; n < DATASETS; n++)
        CHECK(H5Dset_extent(datasets[n], &few) >= 0 && (n % 2 || H5Dset_extent(datasets[n], &many) >= 0));
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int n = 0; n < DATASETS; n++) {
        CHECK(n % 2 == 0 || H5Dset_extent(datasets[n], &many) >= 0);
        check(datasets[n], 0, few, salt);
        check(datasets[n], few, COUNT, 0);
    }
}

/* Writes the beginning of this process's part of the elements. The parts are adjacent. Returns the result of the
 * write. */
static herr_t write_side_by_side(hid_t dataset, hsize_t count, int value) {
    return write_every(dataset, (hsize_t)rank * (COUNT / (hsize_t)size), 1, count, value);
}

/* Process 0 cannot write to files for a while, so calls fail if the container is in files. Elements that were written
 * by successful calls are visible, also to the process that wrote them, and later writes replace them. */
static void fail(hid_t file, const hid_t *datasets) {
    const hsize_t each = COUNT / (hsize_t)size, few = each / 10;
    const hsize_t own = (hsize_t)rank * each;
    herr_t done[DATASETS];
    begin("a flush that failed");
    /* After a long series of writes, not every write is committed immediately. */
    for (int n = 0; n < 2 * DATASETS; n++)
        CHECK(write_side_by_side(datasets[n % DATASETS], few, 1) >= 0);
    if (rank == 0)
        limit_files(1);
    H5E_BEGIN_TRY {
        for (int n = 0; n < DATASETS; n++)
            done[n] = write_side_by_side(datasets[n], each, 300 + rank);
        H5Fflush(file, H5F_SCOPE_GLOBAL);
    }
    H5E_END_TRY
    if (rank == 0)
        limit_files(RLIM_INFINITY);
    barrier();
    for (int n = 0; n < DATASETS; n++)
        if (done[n] >= 0)
            check_int(datasets[n], H5P_DEFAULT, own + each - 1, 300 + rank);
    begin("written anew after that");
    for (int n = 0; n < DATASETS; n++)
        CHECK(write_side_by_side(datasets[n], few, 400 + rank) >= 0);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int n = 0; n < DATASETS; n++)
        for (int process = 0; process < size; process++) {
            hsize_t start = (hsize_t)process * each;
            check_int(datasets[n], H5P_DEFAULT, start + few - 1, 400 + process);
            if (done[n] >= 0)
                check_int(datasets[n], H5P_DEFAULT, start + few, 300 + process);
        }
}

static void run(hid_t file, int deflated) {
    hid_t datasets[DATASETS];
    for (int n = 0; n < DATASETS; n++)
        datasets[n] = make_shared(file, n, deflated);
    begin(deflated ? "parts of compressed chunks" : "parts of blocks");
    write_and_flush(file, datasets, 100);
    write_and_flush(file, datasets, 200);
    /* Native HDF5 1.14.6 cannot shrink such datasets: 'filter returned failure during read'. */
    if (deflated && is_ours())
        cut(file, datasets, 200);
    if (is_ours())
        fail(file, datasets);
    for (int n = 0; n < DATASETS; n++)
        CHECK(H5Dclose(datasets[n]) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    signal(SIGXFSZ, SIG_IGN);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("shared-chunks.h5");
    run(file, 0);
    run(file, 1);
    CHECK(H5Fclose(file) >= 0 && H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

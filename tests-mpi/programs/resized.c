/* Datasets that shrink, grow again and are then written. The truncated elements are read as fill values, and the fill
 * values of one process do not overwrite elements that another process has written since. The processes write different
 * parts of the same chunk. */

#include "together.h"

enum { EACH = 16, ROUNDS = 12 };

static hid_t all_list;

static hid_t make(hid_t file, const char *name) {
    hsize_t count = (hsize_t)(EACH * size), most = H5S_UNLIMITED;
    hid_t space = H5Screate_simple(1, &count, &most), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 1, &count) >= 0);
    hid_t dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

/* Writes every second element of the part of this process. */
static void write_own(hid_t dataset, int value) {
    int data[EACH / 2];
    for (int n = 0; n < EACH / 2; n++)
        data[n] = value;
    hsize_t start = (hsize_t)(rank * EACH), step = 2, count = EACH / 2;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, &step, &count, NULL) >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, all_list, data) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
}

/* Checks the elements. Elements that no process has written have the fill value. */
static void check(hid_t dataset, int value) {
    int *data = malloc(sizeof(int) * (size_t)(EACH * size));
    CHECK(data && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < EACH * size; n++)
        CHECK(data[n] == (n % 2 == 0 ? value : 0));
    free(data);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("resized.h5"), other = make(file, "other"), dataset = make(file, "x");
    hsize_t none = 0, few = 5, all = (hsize_t)(EACH * size);
    begin("a row of changes");
    for (int n = 0; n < 20; n++)
        CHECK(H5Dset_extent(other, n % 2 ? &all : &few) >= 0);
    for (int round = 1; round <= ROUNDS; round++) {
        /* Native HDF5 1.14.6 loses elements if a part of a chunk was truncated. */
        int is_whole = round % 2 || !is_ours();
        begin(is_whole ? "all of a chunk is cut off" : "a part of a chunk is cut off");
        CHECK(H5Dset_extent(other, &few) >= 0 && H5Dset_extent(other, &all) >= 0);
        CHECK(H5Dset_extent(dataset, is_whole ? &none : &few) >= 0);
        CHECK(H5Dset_extent(dataset, &all) >= 0);
        write_own(dataset, round);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        check(dataset, round);
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Dclose(other) >= 0 && H5Pclose(all_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

/* Processes write the same elements collectively one after the other. The newest elements win, whichever process wrote
 * them, although not every write is committed. */

#include "together.h"

static hid_t all_list, own_list;

static hid_t make(hid_t file, const char *name, hsize_t count) {
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Sclose(space) >= 0);
    /* Uncommitted data can only be committed collectively. */
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    return dataset;
}

/* Writes every `step`th element, beginning with `first`. */
static void write_some(hid_t dataset, hid_t list, hsize_t first, hsize_t step, hsize_t count, int value) {
    int data[16];
    for (hsize_t n = 0; n < count; n++)
        data[n] = value;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, &step, &count, NULL) >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, list, data) >= 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

static void check(hid_t dataset, hsize_t count, int value) {
    int data[64];
    CHECK(count <= 64 && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (hsize_t n = 0; n < count; n++) {
        if (data[n] != value)
            fprintf(stderr, "element %d: %d and not %d\n", (int)n, data[n], value);
        CHECK(data[n] == value);
    }
}

/* The processes take turns writing the elements. */
static void turns(hid_t file) {
    char name[64];
    begin("in turn");
    for (int writes = 5; writes < 20; writes++) {
        snprintf(name, sizeof name, "turns %d", writes);
        hid_t dataset = make(file, name, (hsize_t)size);
        for (int n = 0; n < writes; n++)
            write_some(dataset, all_list, (hsize_t)((rank + n) % size), 1, 1, n);
        check(dataset, (hsize_t)size, writes - 1);
        CHECK(H5Dclose(dataset) >= 0);
    }
    begin("in turn, every second element and more");
    hid_t dataset = make(file, "comb", (hsize_t)(4 * size));
    for (int n = 0; n < 30; n++)
        write_some(dataset, all_list, (hsize_t)((rank + n) % size), (hsize_t)size, 4, n);
    check(dataset, (hsize_t)(4 * size), 29);
    CHECK(H5Dclose(dataset) >= 0);
}

/* Several datasets are written in turn. The elements of the second one rotate among the processes. */
static void several(hid_t file) {
    begin("several datasets");
    hid_t still = make(file, "still", (hsize_t)size), round = make(file, "round", (hsize_t)size);
    for (int n = 0; n < 30; n++) {
        write_some(still, all_list, (hsize_t)rank, 1, 1, n);
        write_some(round, all_list, (hsize_t)((rank + n) % size), 1, 1, n);
    }
    check(still, (hsize_t)size, 29);
    check(round, (hsize_t)size, 29);
    CHECK(H5Dclose(still) >= 0 && H5Dclose(round) >= 0);
}

/* One collective call follows many independent writes. */
static void behind_own(hid_t file) {
    begin("behind writes of each by itself");
    for (int writes = 1; writes < 12; writes++) {
        char name[64];
        snprintf(name, sizeof name, "own %d", writes);
        hid_t dataset = make(file, name, (hsize_t)size);
        for (int n = 0; n < writes; n++)
            write_some(dataset, own_list, (hsize_t)rank, 1, 1, n);
        barrier();
        write_some(dataset, all_list, (hsize_t)((rank + 1) % size), 1, 1, 100);
        check(dataset, (hsize_t)size, 100);
        CHECK(H5Dclose(dataset) >= 0);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(size <= 16);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    own_list = transfers(H5FD_MPIO_INDEPENDENT);
    hid_t file = create("newer.h5");
    turns(file);
    several(file);
    behind_own(file);
    CHECK(H5Pclose(all_list) >= 0 && H5Pclose(own_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

/* Elements that one process wrote are visible to the other processes after a barrier, without a flush. */

#include "together.h"

#include <unistd.h>

enum { EACH = 40, COLUMNS = 6 };

static hid_t all_list, own_list;

/* Flushes with native HDF5, which requires it here. */
static void flush_native(hid_t file) {
    CHECK(is_ours() || H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    barrier();
}

/* Creates a dataset of integers with the same number of rows for each process. */
static hid_t rows(hid_t file, const char *name, hsize_t chunk, int filtered) {
    hsize_t dims[2] = {(hsize_t)(EACH * size), COLUMNS}, most[2] = {H5S_UNLIMITED, COLUMNS}, chunks[2] = {chunk, 4};
    hid_t space = H5Screate_simple(2, dims, chunk ? most : dims), list = H5Pcreate(H5P_DATASET_CREATE);
    if (chunk)
        CHECK(H5Pset_chunk(list, 2, chunks) >= 0);
    if (filtered)
        CHECK(H5Pset_shuffle(list) >= 0 && H5Pset_deflate(list, 1) >= 0);
    hid_t dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0);
    H5Pclose(list);
    H5Sclose(space);
    return dataset;
}

static int value(int row, int column, int round) { return round * 1000000 + row * 100 + column + 1; }

/* Writes the rows of this process. */
static void write_own(hid_t dataset, hid_t list, int round) {
    int data[EACH][COLUMNS];
    for (int row = 0; row < EACH; row++)
        for (int column = 0; column < COLUMNS; column++)
            data[row][column] = value(rank * EACH + row, column, round);
    hsize_t start[2] = {(hsize_t)(rank * EACH), 0}, count[2] = {EACH, COLUMNS};
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(2, count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, list, data) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
}

/* Reads the rows of this process independently and checks them. */
static void check_own(hid_t dataset, int round) {
    int data[EACH][COLUMNS];
    hsize_t start[2] = {(hsize_t)(rank * EACH), 0}, count[2] = {EACH, COLUMNS};
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(2, count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, memory, space, own_list, data) >= 0);
    for (int row = 0; row < EACH; row++)
        for (int column = 0; column < COLUMNS; column++)
            CHECK(data[row][column] == value(rank * EACH + row, column, round));
    H5Sclose(memory);
    H5Sclose(space);
}

/* Reads all rows and checks them. */
static void check_all(hid_t dataset, hid_t list, int round) {
    int *data = calloc((size_t)(EACH * size * COLUMNS), sizeof(int));
    hsize_t count[2] = {(hsize_t)(EACH * size), COLUMNS}, start[2] = {0, 0};
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(2, count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, memory, space, list, data) >= 0);
    for (int row = 0; row < EACH * size; row++)
        for (int column = 0; column < COLUMNS; column++)
            if (data[row * COLUMNS + column] != value(row, column, round)) {
                fprintf(stderr, "row %d of process %d, column %d: %d and not %d\n", row, row / EACH, column,
                        data[row * COLUMNS + column], value(row, column, round));
                CHECK(!"another process's elements");
            }
    free(data);
    H5Sclose(memory);
    H5Sclose(space);
    /* A process that finishes early must not write again meanwhile. */
    barrier();
}

/* Tests each way of writing with each way of reading. */
static void test_transfers(hid_t file) {
    const struct {
        const char *name;
        hsize_t chunk;
        int filtered;
    } kinds[] = {{"contiguous", 0, 0}, {"chunked", 7, 0}, {"filtered", 7, 1}};
    const char *ways[] = {"written by all, read by all", "written by all, read by each", "written by each, read by all",
                          "written by each, read by each"};
    for (int kind = 0; kind < 3; kind++) {
        hid_t dataset = rows(file, kinds[kind].name, kinds[kind].chunk, kinds[kind].filtered);
        /* All processes of native HDF5 write each filtered chunk. */
        for (int way = 0; way < (kinds[kind].filtered ? 2 : 4); way++) {
            begin(ways[way]);
            write_own(dataset, way < 2 ? all_list : own_list, way);
            barrier();
            check_all(dataset, way % 2 ? own_list : all_list, way);
        }
        H5Dclose(dataset);
    }
}

/* A long series of writes without reads in between is visible to a collective read. */
static void test_loop(hid_t file) {
    begin("a loop of writes");
    hid_t dataset = rows(file, "loop", 7, 0);
    for (int round = 0; round < 100; round++)
        write_own(dataset, round % 2 ? all_list : own_list, round);
    check_all(dataset, all_list, 99);
    H5Dclose(dataset);
}

/* One process writes while the other processes have empty selections. Then one process reads. */
static void test_empty(hid_t file) {
    begin("empty selections");
    hsize_t dims[1] = {10};
    hid_t space = H5Screate_simple(1, dims, NULL), none = H5Scopy(space);
    CHECK(H5Sselect_none(none) >= 0);
    hid_t dataset = H5Dcreate2(file, "one", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    int data[10];
    for (int n = 0; n < 10; n++)
        data[n] = n + 7;
    int writer = size - 1;
    hid_t mine = rank == writer ? space : none;
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, mine, mine, all_list, data) >= 0);
    barrier();
    memset(data, 0, sizeof data);
    mine = rank == 0 ? space : none;
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, mine, mine, all_list, data) >= 0);
    CHECK(rank != 0 || (data[0] == 7 && data[9] == 16));
    H5Dclose(dataset);
    H5Sclose(none);
    H5Sclose(space);
}

/* Tests changes of metadata that follow pending elements. */
static void test_structure(hid_t file) {
    begin("structure");
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t dataset = rows(group, "rows", 5, 0);
    write_own(dataset, all_list, 1);
    hid_t scalar = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(dataset, "n", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
    int n = 5;
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &n) >= 0);
    H5Aclose(attribute);
    CHECK(H5Lcreate_soft("/group/rows", file, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Lcreate_hard(group, "rows", file, "hard", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    hsize_t longer[2] = {(hsize_t)(EACH * size + 10), COLUMNS};
    CHECK(H5Dset_extent(dataset, longer) >= 0);
    H5Dclose(dataset);
    barrier();
    const char *paths[] = {"/group/rows", "soft", "hard"};
    for (int path = 0; path < 3; path++) {
        dataset = H5Dopen2(file, paths[path], H5P_DEFAULT);
        CHECK(dataset >= 0);
        hsize_t dims[2];
        hid_t space = H5Dget_space(dataset);
        CHECK(H5Sget_simple_extent_dims(space, dims, NULL) == 2 && dims[0] == longer[0]);
        H5Sclose(space);
        attribute = H5Aopen(dataset, "n", H5P_DEFAULT);
        n = 0;
        CHECK(H5Aread(attribute, H5T_NATIVE_INT, &n) >= 0 && n == 5);
        H5Aclose(attribute);
        check_all(dataset, path == 1 ? own_list : all_list, 1);
        H5Dclose(dataset);
    }
    CHECK(H5Ldelete(file, "hard", H5P_DEFAULT) >= 0 && H5Lexists(file, "hard", H5P_DEFAULT) == 0);
    /* A copy has the elements of all processes. */
    dataset = H5Dopen2(file, "soft", H5P_DEFAULT);
    write_own(dataset, own_list, 2);
    flush_native(file);
    CHECK(H5Ocopy(file, "soft", file, "copy", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Dclose(dataset);
    dataset = H5Dopen2(file, "copy", H5P_DEFAULT);
    check_all(dataset, own_list, 2);
    H5Dclose(dataset);
    H5Gclose(group);
    H5Sclose(scalar);
}

/* The first process creates a group and flushes long before the other processes, which read and write independently
 * meanwhile. */
static void test_late(hid_t file) {
    begin("one is ahead");
    hid_t dataset = rows(file, "late", 0, 0), scalar = H5Screate(H5S_SCALAR);
    write_own(dataset, all_list, 6);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int round = 0; round < 2; round++) {
        barrier();
        if (rank != 0) {
            usleep(200000);
            if (round == 0)
                check_own(dataset, 6);
            else
                write_own(dataset, own_list, 6);
        }
        hid_t group = H5Gcreate2(file, round ? "late 1" : "late 0", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(group >= 0);
        hid_t attribute = H5Acreate2(group, "n", H5T_STD_I32LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &round) >= 0);
        H5Aclose(attribute);
        H5Gclose(group);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    check_all(dataset, all_list, 6);
    H5Sclose(scalar);
    H5Dclose(dataset);
}

/* All processes open the file a second time while it is open. */
static void test_open_again(hid_t file, const char *name) {
    begin("opened again");
    hid_t dataset = rows(file, "again", 0, 0), access = mpio();
    write_own(dataset, all_list, 3);
    flush_native(file);
    hid_t other = H5Fopen(name, H5F_ACC_RDWR, access);
    CHECK(other >= 0);
    hid_t same = H5Dopen2(other, "again", H5P_DEFAULT);
    CHECK(same >= 0);
    check_all(same, all_list, 3);
    write_own(same, own_list, 4);
    barrier();
    check_all(dataset, all_list, 4);
    H5Dclose(same);
    CHECK(H5Fclose(other) >= 0);
    H5Dclose(dataset);
    H5Pclose(access);
}

/* A write that fails in one process fails in all processes, and no process hangs. */
static void test_failure(hid_t file) {
    begin("a failing process");
    hid_t dataset = rows(file, "fails", 0, 0);
    hsize_t few[1] = {3};
    hid_t memory = H5Screate_simple(1, few, NULL);
    int data[3] = {0};
    if (is_ours()) {
        H5E_BEGIN_TRY {
            herr_t done;
            if (rank == size - 1)
                done = H5Dwrite(dataset, H5T_NATIVE_INT, memory, H5S_ALL, all_list, data);
            else {
                hid_t space = H5Dget_space(dataset);
                CHECK(H5Sselect_none(space) >= 0);
                done = H5Dwrite(dataset, H5T_NATIVE_INT, space, space, all_list, data);
                H5Sclose(space);
            }
            CHECK(done < 0);
        }
        H5E_END_TRY
    }
    write_own(dataset, all_list, 5);
    check_all(dataset, all_list, 5);
    H5Sclose(memory);
    H5Dclose(dataset);
}

static void test_handle(hid_t file) {
    begin("H5Fget_vfd_handle");
    void *handle = NULL;
    if (is_ours()) {
        herr_t done;
        H5E_BEGIN_TRY { done = H5Fget_vfd_handle(file, H5P_DEFAULT, &handle); }
        H5E_END_TRY
        CHECK(done < 0 && handle == NULL);
    } else
        CHECK(H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) >= 0 && handle);
}

/* All processes delete a file and get the same result: first success, then an error because the file does not exist. */
static void test_delete(const char *name) {
    begin("H5Fdelete");
    hid_t access = mpio();
    hid_t file = create(name);
    CHECK(H5Fclose(file) >= 0);
    CHECK(H5Fdelete(name, access) >= 0);
    H5E_BEGIN_TRY {
        CHECK(H5Fopen(name, H5F_ACC_RDONLY, access) < 0);
        CHECK(H5Fdelete(name, access) < 0);
    }
    H5E_END_TRY
    H5Pclose(access);
}

/* When a close returns, no process has the file open, so that a single process can create it again. */
static void test_anew(const char *name) {
    begin("made anew");
    for (int round = 0; round < 20; round++) {
        hid_t file = create(name);
        H5Dclose(rows(file, "x", 0, 0));
        CHECK(H5Fclose(file) >= 0);
        if (rank == round % size) {
            file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
            CHECK(file >= 0);
            CHECK(H5Fclose(file) >= 0);
        }
        barrier();
    }
}

int main(int count, char **arguments) {
    MPI_Init(&count, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    own_list = transfers(H5FD_MPIO_INDEPENDENT);
    hid_t file = create("visible.h5");
    test_transfers(file);
    test_loop(file);
    test_empty(file);
    test_structure(file);
    test_late(file);
    test_open_again(file, "visible.h5");
    test_failure(file);
    test_handle(file);
    begin("close");
    CHECK(H5Fclose(file) >= 0);
    test_delete("deleted.h5");
    test_anew("anew.h5");
    H5Pclose(all_list);
    H5Pclose(own_list);
    MPI_Finalize();
    return 0;
}

/* Calls that fail in one process fail in all processes, and no process hangs. An object that is created afterwards is
 * the same in all processes: each process writes its own elements of it. Native HDF5 guarantees neither. */

#include "together.h"

static hid_t all_list;

/* Returns a name in an existing group, except in the last process, where the group does not exist. */
static const char *name_of(const char *name) {
    static char nowhere[64];
    snprintf(nowhere, sizeof nowhere, "nowhere/%s", name);
    return is_ours() && rank == size - 1 ? nowhere : name;
}

static hid_t make(hid_t file, const char *name) {
    hsize_t count = (hsize_t)size;
    hid_t space = H5Screate_simple(1, &count, NULL), dataset;
    H5E_BEGIN_TRY { dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT); }
    H5E_END_TRY
    CHECK(H5Sclose(space) >= 0);
    return dataset;
}

/* Creates a dataset to which each process writes one element and from which all processes read all elements. */
static void check(hid_t file, const char *name, int salt) {
    hid_t dataset = make(file, name);
    CHECK(dataset >= 0);
    hsize_t start = (hsize_t)rank, one = 1;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &one, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
    int value = salt + rank;
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, &value) >= 0);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    int *data = malloc(sizeof(int) * (size_t)size);
    CHECK(data && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < size; n++)
        CHECK(data[n] == salt + n);
    free(data);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Dclose(dataset) >= 0);
}

static void test_datasets(hid_t file) {
    begin("the first dataset fails");
    CHECK(make(file, name_of("failed")) < 0);
    check(file, "first", 10);
    begin("a later dataset fails");
    CHECK(make(file, name_of("failed too")) < 0);
    check(file, "second", 20);
    /* A process reserves object ids from the container in batches. */
    begin("many fail");
    char name[64];
    for (int n = 0; n < 200; n++) {
        snprintf(name, sizeof name, "failed %d", n);
        CHECK(make(file, name_of(name)) < 0);
    }
    check(file, "third", 30);
}

static void test_others(hid_t file) {
    begin("other objects fail");
    herr_t copied;
    hid_t type = H5Tcopy(H5T_NATIVE_INT), group;
    H5E_BEGIN_TRY {
        group = H5Gcreate2(file, name_of("group"), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(group < 0);
        CHECK(H5Tcommit2(file, name_of("type"), type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) < 0);
        copied = H5Ocopy(file, "first", file, name_of("copy"), H5P_DEFAULT, H5P_DEFAULT);
        CHECK(copied < 0);
    }
    H5E_END_TRY
    CHECK(H5Tclose(type) >= 0);
    check(file, "fourth", 40);
    begin("a link fails behind a new group");
    hid_t list = H5Pcreate(H5P_LINK_CREATE);
    CHECK(H5Pset_create_intermediate_group(list, 1) >= 0);
    herr_t linked;
    H5E_BEGIN_TRY { linked = H5Lcreate_soft("first", file, rank == size - 1 ? "first/x" : "way/x", list, H5P_DEFAULT); }
    H5E_END_TRY
    CHECK(rank == size - 1 ? linked < 0 : linked >= 0);
    /* The processes detect the difference when they create the next object collectively. */
    CHECK(make(file, "refused") < 0 && H5Pclose(list) >= 0);
    check(file, "fifth", 50);
}

/* A copy of more objects than there are reserved object ids fails in one process. */
static void test_big_copy(hid_t file) {
    begin("a big copy fails");
    char name[64];
    hid_t group = H5Gcreate2(file, "many", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int n = 0; n < 1000; n++) {
        snprintf(name, sizeof name, "many/%d", n);
        hid_t one = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(one >= 0 && H5Gclose(one) >= 0);
    }
    CHECK(H5Gclose(group) >= 0);
    for (int n = 0; n < 5; n++) {
        herr_t copied;
        snprintf(name, sizeof name, "copy %d", n);
        H5E_BEGIN_TRY { copied = H5Ocopy(file, "many", file, name_of(name), H5P_DEFAULT, H5P_DEFAULT); }
        H5E_END_TRY
        CHECK(copied < 0);
    }
    CHECK(H5Ocopy(file, "many", file, "copied", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    check(file, "sixth", 60);
}

/* Calls fail through either of two handles of the file. */
static void test_opened_twice(hid_t file) {
    begin("opened twice");
    hid_t access = mpio(), other = H5Fopen("failing.h5", H5F_ACC_RDWR, access);
    CHECK(other >= 0 && H5Pclose(access) >= 0);
    CHECK(make(file, name_of("failed here")) < 0);
    check(other, "seventh", 70);
    CHECK(make(other, name_of("failed there")) < 0);
    check(file, "eighth", 80);
    CHECK(H5Fclose(other) >= 0 && make(file, name_of("failed then")) < 0);
    check(file, "ninth", 90);
}

/* A process that has an object open cannot close the file, and the close fails in all processes. */
static void test_close(const char *name) {
    begin("a close fails");
    hid_t access = mpio();
    CHECK(H5Pset_fclose_degree(access, H5F_CLOSE_SEMI) >= 0);
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, access), dataset = make(file, "x");
    CHECK(file >= 0 && dataset >= 0 && (rank == size - 1 || H5Dclose(dataset) >= 0));
    herr_t closed;
    H5E_BEGIN_TRY { closed = H5Fclose(file); }
    H5E_END_TRY
    CHECK(closed < 0);
    CHECK(rank < size - 1 || H5Dclose(dataset) >= 0);
    CHECK(H5Fclose(file) >= 0 && H5Pclose(access) >= 0);
    file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0 && H5Lexists(file, "x", H5P_DEFAULT) == 1 && H5Fclose(file) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("failing.h5");
    if (is_ours()) {
        test_datasets(file);
        test_others(file);
        test_big_copy(file);
        test_opened_twice(file);
    } else
        check(file, "first", 10);
    CHECK(H5Pclose(all_list) >= 0 && H5Fclose(file) >= 0);
    if (is_ours())
        test_close("closing.h5");
    MPI_Finalize();
    return 0;
}

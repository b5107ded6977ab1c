/* Collective changes behind an external link, in a file that the processes have not opened themselves. The data that
 * any process wrote is in the file when the last object of the file is closed. */

#include "together.h"

enum { TIMES = 7 };

static hid_t all_list;

static hid_t line(hsize_t count, hsize_t most) {
    hid_t space = H5Screate_simple(1, &count, &most);
    CHECK(space >= 0);
    return space;
}

/* Creates a chunked dataset of integers that can grow. */
static hid_t make(hid_t at, const char *name, hsize_t count) {
    hsize_t chunk = 4;
    hid_t space = line(count, H5S_UNLIMITED), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t dataset = H5Dcreate2(at, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

/* Writes one element independently in each process. */
static void write_own(hid_t dataset, int first, int value) {
    hsize_t start = (hsize_t)(first + rank), one = 1;
    hid_t space = H5Dget_space(dataset), memory = line(1, 1);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
    value += rank;
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, &value) >= 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

static void check(hid_t file, const char *name, int count, int value) {
    int *data = calloc((size_t)count, sizeof(int));
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    CHECK(data && dataset >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < count; n++) {
        if (data[n] != value + n)
            fprintf(stderr, "%s, element %d: %d and not %d\n", name, n, data[n], value + n);
        CHECK(data[n] == value + n);
    }
    free(data);
    CHECK(H5Dclose(dataset) >= 0);
}

/* Changes the linked file through paths of the linking file. */
static void change_by_path(hid_t file) {
    char name[64];
    begin("datasets made by a path");
    for (int n = 0; n < TIMES; n++) {
        snprintf(name, sizeof name, "/ext/path %d", n);
        hid_t dataset = make(file, name, (hsize_t)size);
        write_own(dataset, 0, 100 * n);
        CHECK(H5Dclose(dataset) >= 0);
    }
    begin("a group and links made by a path");
    hid_t group = H5Gcreate2(file, "/ext/group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(group >= 0 && H5Gclose(group) >= 0);
    CHECK(H5Lcreate_soft("/path 0", file, "/ext/soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Lcreate_soft("/nowhere", file, "/ext/gone", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Ldelete(file, "/ext/gone", H5P_DEFAULT) >= 0);
    begin("a copy made by a path");
    hid_t dataset = make(file, "own", (hsize_t)size);
    write_own(dataset, 0, 5);
    CHECK(H5Dclose(dataset) >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    /* Native HDF5 copies into the file on which the function is called. */
    hid_t target = is_ours() ? file : H5Gopen2(file, "/ext", H5P_DEFAULT);
    CHECK(H5Ocopy(file, "own", target, is_ours() ? "/ext/copy" : "copy", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK((dataset = H5Dopen2(file, "/ext/copy", H5P_DEFAULT)) >= 0 && (is_ours() || H5Gclose(target) >= 0));
    write_own(dataset, 0, 6);
    CHECK(H5Dclose(dataset) >= 0);
}

/* Changes the linked file through a group that was opened through the link. */
static void change_by_group(hid_t file) {
    char name[64];
    begin("datasets made in a group");
    hid_t group = H5Gopen2(file, "/ext", H5P_DEFAULT), grown = make(group, "grown", (hsize_t)size);
    CHECK(group >= 0);
    write_own(grown, 0, 0);
    for (int n = 0; n < TIMES; n++) {
        snprintf(name, sizeof name, "group %d", n);
        hid_t dataset = make(group, name, (hsize_t)size);
        write_own(dataset, 0, 1000 * n);
        CHECK(H5Dclose(dataset) >= 0);
    }
    begin("a dataset that grows");
    for (int n = 1; n <= TIMES; n++) {
        hsize_t count = (hsize_t)((n + 1) * size);
        CHECK(H5Dset_extent(grown, &count) >= 0);
        write_own(grown, n * size, n * size);
    }
    CHECK(H5Dclose(grown) >= 0 && H5Gclose(group) >= 0);
}

static void check_all(const char *linked) {
    char name[64];
    begin("all is there");
    hid_t access = mpio(), file = H5Fopen(linked, H5F_ACC_RDONLY, access);
    CHECK(file >= 0 && H5Pclose(access) >= 0);
    for (int n = 0; n < TIMES; n++) {
        snprintf(name, sizeof name, "path %d", n);
        check(file, name, size, 100 * n);
        snprintf(name, sizeof name, "group %d", n);
        check(file, name, size, 1000 * n);
    }
    check(file, "soft", size, 0);
    check(file, "copy", size, 6);
    check(file, "grown", (TIMES + 1) * size, 0);
    CHECK(H5Lexists(file, "group", H5P_DEFAULT) == 1 && H5Lexists(file, "gone", H5P_DEFAULT) == 0);
    CHECK(H5Fclose(file) >= 0);
}

/* A call that fails in one process fails in all processes. Native HDF5 does not guarantee this. */
static void fail(hid_t file) {
    begin("a failing process");
    /* One of these names already exists. */
    const char *link = rank == size - 1 ? "/ext/soft" : "/ext/new", *object = rank == size - 1 ? "/ext/soft" : "/ext/other";
    hid_t space = H5Screate(H5S_SCALAR);
    H5E_BEGIN_TRY {
        CHECK(H5Lcreate_soft("/x", file, link, H5P_DEFAULT, H5P_DEFAULT) < 0);
        CHECK(H5Dcreate2(file, object, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) < 0);
    }
    H5E_END_TRY
    CHECK(H5Sclose(space) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t other = create("linked-target.h5");
    CHECK(H5Fclose(other) >= 0);
    hid_t file = create("linked.h5");
    CHECK(H5Lcreate_external("linked-target.h5", "/", file, "ext", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    change_by_path(file);
    change_by_group(file);
    if (is_ours())
        fail(file);
    CHECK(H5Fclose(file) >= 0);
    check_all("linked-target.h5");
    CHECK(H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

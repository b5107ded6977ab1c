/* A virtual dataset with a source dataset in another file. A collective read returns all elements that any process
 * wrote to the source, and a write need not be collective. Native HDF5 rejects both. */

#include "together.h"

enum { COUNT = 8, WRITES = 7 };

static hid_t all_list;

/* Creates a file with a virtual dataset over dataset x of another file. Reads an element in all processes, because
 * opening the source is collective. */
static hid_t show(const char *source, const char *name, hid_t *file) {
    hsize_t count = COUNT;
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    *file = create(name);
    CHECK(H5Pset_virtual(list, space, source, "x", space) >= 0);
    hid_t view = H5Dcreate2(*file, "view", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(view >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    check_int(view, all_list, 0, 0);
    return view;
}

static void test_writes(void) {
    begin("each writes by itself");
    hid_t source = create("virtual-source.h5"), file;
    CHECK(H5Dclose(make_ints(source, "x", COUNT, 0)) >= 0 && H5Fclose(source) >= 0);
    hid_t view = show("virtual-source.h5", "virtual.h5", &file);
    // All processes have read the old elements.
    barrier();
    for (int writer = 0; writer < size; writer++) {
        if (rank == writer)
            write_ints(view, H5P_DEFAULT, (hsize_t)writer, 1, 10 + writer);
        barrier();
        check_int(view, H5P_DEFAULT, (hsize_t)writer, 10 + writer);
        barrier();
    }
    begin("one writes in a call of all");
    for (int writer = 0; writer < size; writer++) {
        write_ints(view, all_list, 0, rank == writer ? COUNT : 0, 20 + writer);
        check_int(view, all_list, COUNT - 1, 20 + writer);
    }
    CHECK(H5Dclose(view) >= 0 && H5Fclose(file) >= 0);
    begin("it is in the source");
    if (rank == 0) {
        source = H5Fopen("virtual-source.h5", H5F_ACC_RDONLY, H5P_DEFAULT);
        hid_t x = H5Dopen2(source, "x", H5P_DEFAULT);
        check_int(x, H5P_DEFAULT, 0, 20 + size - 1);
        CHECK(H5Dclose(x) >= 0 && H5Fclose(source) >= 0);
    }
    barrier();
}

/* The source is also open and is written in long series of writes, not all of which are committed. */
static void test_reads(void) {
    begin("the source is written");
    hid_t source = create("virtual-open.h5"), x = make_ints(source, "x", COUNT, 0), file;
    CHECK(x >= 0 && H5Fflush(source, H5F_SCOPE_GLOBAL) >= 0);
    hid_t view = show("virtual-open.h5", "virtual-view.h5", &file);
    for (int round = 1; round <= 5; round++) {
        for (int n = 1; n <= WRITES; n++)
            write_ints(x, all_list, 0, rank == round % size ? COUNT : 0, 10 * round + n);
        barrier();
        check_int(view, all_list, 0, 10 * round + WRITES);
        check_int(x, all_list, 0, 10 * round + WRITES);
    }
    begin("each writes its own element of the source");
    for (int n = 1; n <= WRITES; n++)
        write_ints(x, H5P_DEFAULT, (hsize_t)rank, 1, 100 * n);
    barrier();
    for (int n = 0; n < size; n++)
        check_int(view, all_list, (hsize_t)n, 100 * WRITES);
    CHECK(H5Dclose(view) >= 0 && H5Fclose(file) >= 0 && H5Dclose(x) >= 0 && H5Fclose(source) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    test_writes();
    test_reads();
    CHECK(H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

/* Processes open a file for reading collectively while the last process writes it independently. All readers see the
 * same version. Native HDF5 does not support such readers. */

#include "together.h"

enum { FIRST = 8 };

static MPI_Comm readers;

/* Extends the dataset and writes to it as often as possible until the time `end`. */
static void write_until(const char *name, double end) {
    hid_t file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, "x", H5P_DEFAULT);
    CHECK(file >= 0 && dataset >= 0);
    for (hsize_t count = FIRST + 1; MPI_Wtime() < end; count++) {
        CHECK(H5Dset_extent(dataset, &count) >= 0);
        write_ints(dataset, H5P_DEFAULT, 0, 1, (int)count);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
}

/* Returns whether a number is the same in all readers. */
static int is_same(int number) {
    int least, most;
    MPI_Allreduce(&number, &least, 1, MPI_INT, MPI_MIN, readers);
    MPI_Allreduce(&number, &most, 1, MPI_INT, MPI_MAX, readers);
    return least == most;
}

static void read_once(const char *name, hid_t list) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_fapl_mpio(access, readers, MPI_INFO_NULL) >= 0);
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, access), dataset = H5Dopen2(file, "x", H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    hsize_t count;
    CHECK(file >= 0 && dataset >= 0 && H5Sget_simple_extent_dims(space, &count, NULL) == 1);
    int value = read_int(dataset, list, 0);
    CHECK(is_same((int)count));
    CHECK(is_same(value));
    /* All processes read each element collectively, which would hang if the sizes differed between processes. */
    for (hsize_t n = count - 4; n < count; n++)
        check_int(dataset, list, n, 0);
    CHECK(H5Sclose(space) >= 0 && H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0 && H5Pclose(access) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const char *name = "one-version.h5";
    int writes = rank == size - 1;
    MPI_Comm_split(MPI_COMM_WORLD, writes, rank, &readers);
    if (writes) {
        hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), dataset = make_ints(file, "x", FIRST, 4);
        CHECK(file >= 0 && dataset >= 0 && H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    }
    begin("one version");
    double end = MPI_Wtime() + 2;
    if (writes)
        write_until(name, end);
    else {
        hid_t list = transfers(H5FD_MPIO_COLLECTIVE);
        for (int goes_on = 1; goes_on;) {
            read_once(name, list);
            goes_on = MPI_Wtime() < end;
            MPI_Bcast(&goes_on, 1, MPI_INT, 0, readers);
        }
        CHECK(H5Pclose(list) >= 0);
    }
    MPI_Comm_free(&readers);
    MPI_Finalize();
    return 0;
}

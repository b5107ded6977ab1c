/* Two handles of one file: elements that are written through one handle are visible through the other one, and the
 * newest elements win. */

#include "together.h"

enum { WRITES = 7, COUNT = 8 };

static hid_t all_list;

/* A process writes through one dataset in a series of writes, the last of which are uncommitted. Then another process
 * writes through the other dataset. */
static void overwrite(hid_t file, hid_t one, hid_t other) {
    for (int n = 1; n <= WRITES; n++)
        write_ints(one, all_list, 0, rank == 1 ? COUNT : 0, n);
    barrier();
    write_ints(other, all_list, 0, rank == 0 ? COUNT : 0, 100);
    barrier();
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (hsize_t n = 0; n < COUNT; n++) {
        check_int(one, all_list, n, 100);
        check_int(other, all_list, n, 100);
    }
}

/* Each process writes its own element independently. Then all processes write elements of one another. */
static void overwrite_own(hid_t file, hid_t one, hid_t other) {
    for (int n = 1; n <= WRITES; n++)
        write_ints(one, H5P_DEFAULT, (hsize_t)rank, 1, 200 + n);
    barrier();
    write_ints(other, all_list, (hsize_t)((rank + 1) % size), 1, 300);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (hsize_t n = 0; n < (hsize_t)size; n++)
        check_int(one, all_list, n, 300);
}

/* Native HDF5 opens a file twice in MPI, and each of the opens has its own flag. */
static void atomic_by_either(hid_t first, hid_t second, hid_t one, hid_t other) {
    begin("atomic by either handle");
    CHECK(H5Fset_mpi_atomicity(first, 1) >= 0);
    hbool_t atomic = 0;
    CHECK(H5Fget_mpi_atomicity(second, &atomic) >= 0 && atomic);
    if (rank == 0)
        for (int n = 1; n <= WRITES; n++)
            write_ints(other, H5P_DEFAULT, 0, COUNT, 400 + n);
    barrier();
    check_int(one, H5P_DEFAULT, 0, 400 + WRITES);
    barrier();
}

/* Opens the same file twice. */
static void opened_twice(void) {
    begin("opened twice");
    hid_t access = mpio(), first = create("two-handles.h5"), one = make_ints(first, "x", COUNT, 0);
    CHECK(one >= 0 && H5Fflush(first, H5F_SCOPE_GLOBAL) >= 0);
    hid_t second = H5Fopen("two-handles.h5", H5F_ACC_RDWR, access), other = H5Dopen2(second, "x", H5P_DEFAULT);
    CHECK(second >= 0 && other >= 0 && H5Pclose(access) >= 0);
    overwrite(first, one, other);
    overwrite(second, other, one);
    overwrite_own(first, one, other);
    if (is_ours())
        atomic_by_either(first, second, one, other);
    CHECK(H5Dclose(one) >= 0 && H5Dclose(other) >= 0 && H5Fclose(first) >= 0 && H5Fclose(second) >= 0);
}

/* Opens the same file a second time through an external link. */
static void opened_by_link(void) {
    begin("opened by a link, too");
    hid_t target = create("two-handles-target.h5"), one = make_ints(target, "x", COUNT, 0);
    CHECK(one >= 0 && H5Fflush(target, H5F_SCOPE_GLOBAL) >= 0);
    hid_t file = create("two-handles-link.h5");
    CHECK(H5Lcreate_external("two-handles-target.h5", "/", file, "ext", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    hid_t other = H5Dopen2(file, "/ext/x", H5P_DEFAULT);
    CHECK(other >= 0);
    overwrite(target, one, other);
    overwrite(target, other, one);
    overwrite_own(target, one, other);
    CHECK(H5Dclose(one) >= 0 && H5Dclose(other) >= 0 && H5Fclose(file) >= 0 && H5Fclose(target) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    opened_twice();
    if (is_ours())
        opened_by_link();
    CHECK(H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

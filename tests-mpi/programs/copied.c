/* Elements that a process writes to a new copy are visible to the other processes: immediately in atomic mode,
 * otherwise after a flush or a first write. */

#include "together.h"

static hid_t all_list;

static void copy(hid_t file, const char *name, int value) {
    CHECK(H5Ocopy(file, "original", file, name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    barrier();
    hid_t copied = H5Dopen2(file, name, H5P_DEFAULT);
    CHECK(copied >= 0);
    if (rank == 0)
        write_ints(copied, H5P_DEFAULT, 0, 4, value);
    barrier();
    check_int(copied, H5P_DEFAULT, 0, value);
    check_int(copied, H5P_DEFAULT, 7, 1);
    barrier();
    if (rank == 1)
        write_ints(copied, H5P_DEFAULT, 4, 4, value + 1);
    barrier();
    check_int(copied, H5P_DEFAULT, 7, value + 1);
    barrier();
    CHECK(H5Dclose(copied) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("copied.h5"), original = make_ints(file, "original", 8, 0);
    CHECK(original >= 0);
    write_ints(original, all_list, 0, rank == 0 ? 8 : 0, 1);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    begin("the first copies");
    copy(file, "copy", 10);
    copy(file, "another copy", 20);
    begin("copies in atomic mode");
    CHECK(H5Fset_mpi_atomicity(file, 1) >= 0);
    char name[64];
    for (int n = 0; n < 8; n++) {
        snprintf(name, sizeof name, "atomic %d", n);
        copy(file, name, 100 + 10 * n);
    }
    CHECK(H5Dclose(original) >= 0 && H5Fclose(file) >= 0 && H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

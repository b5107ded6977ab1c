/* Objects that are created after H5Fclose through a group that is still open (H5F_CLOSE_WEAK). The elements that any
 * process wrote to them are in the file when the group is closed. */

#include "together.h"

enum { TIMES = 7 };

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    char name[64];
    hid_t access = mpio();
    CHECK(H5Pset_fclose_degree(access, H5F_CLOSE_WEAK) >= 0);
    hid_t file = H5Fcreate("after-close.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0 && group >= 0 && H5Pclose(access) >= 0 && H5Fclose(file) >= 0);
    begin("made after the close");
    hid_t inner = H5Gcreate2(group, "inner", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(inner >= 0);
    for (int n = 0; n < TIMES; n++) {
        snprintf(name, sizeof name, "x %d", n);
        hid_t dataset = make_ints(n % 2 ? inner : group, name, (hsize_t)size, 0);
        CHECK(dataset >= 0);
        write_ints(dataset, H5P_DEFAULT, (hsize_t)rank, 1, 100 * n + rank);
        CHECK(H5Dclose(dataset) >= 0);
    }
    CHECK(H5Gclose(inner) >= 0 && H5Gclose(group) >= 0);
    begin("all is there");
    if (rank == 0) {
        file = H5Fopen("after-close.h5", H5F_ACC_RDONLY, H5P_DEFAULT);
        CHECK(file >= 0);
        for (int n = 0; n < TIMES; n++) {
            snprintf(name, sizeof name, n % 2 ? "group/inner/x %d" : "group/x %d", n);
            hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
            CHECK(dataset >= 0);
            for (int k = 0; k < size; k++)
                check_int(dataset, H5P_DEFAULT, (hsize_t)k, 100 * n + k);
            CHECK(H5Dclose(dataset) >= 0);
        }
        CHECK(H5Fclose(file) >= 0);
    }
    barrier();
    MPI_Finalize();
    return 0;
}

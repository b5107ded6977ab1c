/* One process opens by itself a file that all have open together. It may read; what all stage stays for all to commit. Native HDF5 has
 * no rule for it. */

#include "together.h"

static hid_t all_list;

static void make_group(hid_t file, const char *name) {
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(group >= 0 && H5Gclose(group) >= 0);
}

/* Opens the file by itself, and closes it. */
static int opens(const char *name, unsigned flags, hid_t access) {
    hid_t file;
    H5E_BEGIN_TRY { file = H5Fopen(name, flags, access); }
    H5E_END_TRY
    CHECK(file < 0 || H5Fclose(file) >= 0);
    return file >= 0;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    const char *name = "beside.h5";
    hid_t file = create(name), own = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_fapl_mpio(own, MPI_COMM_SELF, MPI_INFO_NULL) >= 0);
    for (int opener = 0; opener < size && is_ours(); opener++) {
        char group[64];
        begin("one reads");
        snprintf(group, sizeof group, "group %d", opener);
        make_group(file, group);
        CHECK(rank != opener || opens(name, H5F_ACC_RDONLY, H5P_DEFAULT));
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        begin("one wants to write");
        CHECK(rank != opener || (!opens(name, H5F_ACC_RDWR, H5P_DEFAULT) && !opens(name, H5F_ACC_RDWR, own)));
        snprintf(group, sizeof group, "later %d", opener);
        make_group(file, group);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    begin("all write");
    hsize_t count = (hsize_t)size, start = (hsize_t)rank, one = 1;
    hid_t space = H5Screate_simple(1, &count, NULL), memory = H5Screate_simple(1, &one, NULL);
    hid_t dataset = H5Dcreate2(file, "x", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
    CHECK(dataset >= 0 && H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, all_list, &rank) >= 0);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    int *data = malloc(sizeof(int) * (size_t)size);
    CHECK(data && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < size; n++)
        CHECK(data[n] == n);
    free(data);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Dclose(dataset) >= 0 && H5Pclose(own) >= 0);
    CHECK(H5Pclose(all_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

/* One process opens a file independently that all processes have open collectively. It can read, but it must not commit
 * the changes that all processes have staged. Native HDF5 defines no behaviour for this case. */

#include "together.h"

static hid_t all_list;

static void make_group(hid_t file, const char *name) {
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(group >= 0 && H5Gclose(group) >= 0);
}

/* Opens the file independently and closes it. Returns whether it could be opened. */
static int opens(const char *name, unsigned flags, hid_t access) {
    hid_t file;
    H5E_BEGIN_TRY { file = H5Fopen(name, flags, access); }
    H5E_END_TRY
    CHECK(file < 0 || H5Fclose(file) >= 0);
    return file >= 0;
}

/* Reads the dataset of the shared file through a virtual dataset and an external link in a file of this process
 * alone. */
static void show(const char *name) {
    hsize_t count = (hsize_t)size;
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t view = H5Fcreate("view.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(view >= 0 && H5Pset_virtual(list, space, name, "x", space) >= 0);
    CHECK(H5Lcreate_external(name, "x", view, "linked", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Dclose(H5Dcreate2(view, "virtual", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT)) >= 0);
    int *data = malloc(sizeof(int) * (size_t)size);
    const char *names[] = {"virtual", "linked"};
    for (int k = 0; k < 2; k++) {
        hid_t dataset = H5Dopen2(view, names[k], H5P_DEFAULT);
        memset(data, 0xff, sizeof(int) * (size_t)size);
        CHECK(dataset >= 0 && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        for (int n = 0; n < size; n++)
            CHECK(data[n] == n);
        CHECK(H5Dclose(dataset) >= 0);
    }
    free(data);
    CHECK(H5Fclose(view) >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

/* Closes the file while its dataset is open. Afterwards, each process can open the file independently, and all
 * processes can open it again collectively. */
static void close_before(hid_t file, hid_t dataset, const char *name) {
    begin("all close it");
    CHECK(H5Fclose(file) >= 0);
    for (int opener = 0; opener < size; opener++) {
        begin("one opens it by itself");
        if (rank == opener) {
            char group[64];
            hid_t again = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT);
            snprintf(group, sizeof group, "alone %d", opener);
            CHECK(again >= 0);
            make_group(again, group);
            CHECK(H5Fclose(again) >= 0);
        }
    }
    begin("all open it anew");
    hid_t access = mpio(), again = H5Fopen(name, H5F_ACC_RDWR, access);
    CHECK(again >= 0);
    make_group(again, "again");
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(again) >= 0 && H5Pclose(access) >= 0);
    begin("all is there");
    if (rank == 0) {
        hid_t read = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
        H5G_info_t info;
        CHECK(read >= 0 && H5Gget_info(read, &info) >= 0 && info.nlinks == (hsize_t)(3 * size + 2));
        dataset = H5Dopen2(read, "x", H5P_DEFAULT);
        CHECK(H5Dclose(dataset) >= 0 && H5Fclose(read) >= 0);
    }
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
        CHECK(rank != opener || (opens(name, H5F_ACC_RDONLY, H5P_DEFAULT) && opens(name, H5F_ACC_RDONLY, own)));
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
    begin("one shows it");
    if (rank == size - 1 && is_ours())
        show(name);
    barrier();
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Pclose(own) >= 0 && H5Pclose(all_list) >= 0);
    if (is_ours())
        close_before(file, dataset, name);
    else
        CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

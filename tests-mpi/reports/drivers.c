/* File drivers of large machines under a connector that does not use them. This libhdf5 may lack these drivers, so the
 * program registers a driver with the name that opens no file.
 *
 *     drivers NAME spreads|moves
 *
 * A driver that spreads a file is reported once, and the file is written nevertheless. A driver that moves elements to
 * other memory is rejected. */
#include "../programs/together.h"
#include <H5FDdevelop.h>

static int mpi_features;

static H5FD_t *no_open(const char *name, unsigned flags, hid_t access, haddr_t most) {
    (void)name, (void)flags, (void)access, (void)most;
    return NULL;
}
static herr_t no_close(H5FD_t *file) {
    (void)file;
    return -1;
}
static herr_t query(const H5FD_t *file, unsigned long *flags) {
    (void)file;
    *flags = mpi_features ? H5FD_FEAT_HAS_MPI : 0;
    return 0;
}
static haddr_t no_end(const H5FD_t *file, H5FD_mem_t type) {
    (void)file, (void)type;
    return HADDR_UNDEF;
}
static herr_t no_set(H5FD_t *file, H5FD_mem_t type, haddr_t end) {
    (void)file, (void)type, (void)end;
    return -1;
}
static herr_t no_read(H5FD_t *file, H5FD_mem_t type, hid_t list, haddr_t at, size_t length, void *data) {
    (void)file, (void)type, (void)list, (void)at, (void)length, (void)data;
    return -1;
}
static herr_t no_write(H5FD_t *file, H5FD_mem_t type, hid_t list, haddr_t at, size_t length, const void *data) {
    (void)file, (void)type, (void)list, (void)at, (void)length, (void)data;
    return -1;
}

int main(int count, char **words) {
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(count == 3);
    mpi_features = strcmp(words[2], "spreads") == 0;
    H5FD_class_t class = {0};
    class.version = H5FD_CLASS_VERSION;
    class.value = (H5FD_class_value_t)(mpi_features ? 300 : 301);
    class.name = words[1];
    class.maxaddr = HADDR_MAX / 2;
    class.fc_degree = H5F_CLOSE_WEAK;
    class.open = no_open;
    class.close = no_close;
    class.query = query;
    class.get_eoa = no_end;
    class.set_eoa = no_set;
    class.get_eof = no_end;
    class.read = no_read;
    class.write = no_write;
    hid_t driver = H5FDregister(&class), access = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(driver >= 0 && H5Pset_driver(access, driver, NULL) >= 0);
    if (mpi_features)
        CHECK(H5Pset_mpi_params(access, MPI_COMM_WORLD, MPI_INFO_NULL) >= 0);
    for (int n = 0; n < 2; n++) {
        hid_t file = H5Fcreate("x.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
        CHECK((file >= 0) == mpi_features);
        if (file < 0)
            continue;
        hsize_t length = (hsize_t)size, start = (hsize_t)rank, one = 1;
        hid_t space = H5Screate_simple(1, &length, NULL), memory = H5Screate_simple(1, &one, NULL);
        hid_t dataset = H5Dcreate2(file, "ranks", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
        CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, &rank) >= 0);
        CHECK(H5Dclose(dataset) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0 && H5Fclose(file) >= 0);
    }
    CHECK(H5Pclose(access) >= 0 && H5FDunregister(driver) >= 0);
    MPI_Finalize();
    return 0;
}

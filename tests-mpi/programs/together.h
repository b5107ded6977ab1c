/* Common functions of the C programs in this folder. Each program is run by several processes. A process that detects
 * an error reports its location and ends all processes. */
#ifndef TOGETHER_H
#define TOGETHER_H

#include <hdf5.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int rank, size;
static const char *part = "";

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "process %d, line %d, %s: %s\n", rank, __LINE__, part, #condition);                        \
            fflush(stderr);                                                                                            \
            MPI_Abort(MPI_COMM_WORLD, 1);                                                                              \
        }                                                                                                              \
    } while (0)

/* Waits for all processes without calling HDF5. */
static inline void barrier(void) { MPI_Barrier(MPI_COMM_WORLD); }

static inline void begin(const char *name) {
    barrier();
    part = name;
}

/* Returns whether the program runs with h5lake, which guarantees more than native HDF5. */
static inline int is_ours(void) {
    const char *connector = getenv("HDF5_VOL_CONNECTOR");
    return connector && strstr(connector, "h5lake");
}

static inline hid_t mpio(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL) >= 0);
    return access;
}

static inline hid_t transfers(H5FD_mpio_xfer_t mode) {
    hid_t list = H5Pcreate(H5P_DATASET_XFER);
    CHECK(H5Pset_dxpl_mpio(list, mode) >= 0);
    return list;
}

static inline hid_t create(const char *name) {
    hid_t access = mpio(), file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    CHECK(file >= 0);
    H5Pclose(access);
    return file;
}

/* Creates a dataset of 32-bit integers in one dimension. It is contiguous if `chunk` is 0, otherwise chunked and
 * extendible. */
static inline hid_t make_ints(hid_t at, const char *name, hsize_t count, hsize_t chunk) {
    hsize_t most = H5S_UNLIMITED;
    hid_t space = H5Screate_simple(1, &count, chunk ? &most : NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(!chunk || H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t dataset = H5Dcreate2(at, name, H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    H5Pclose(list);
    H5Sclose(space);
    return dataset;
}

/* Writes one value to `count` elements. With a count of 0 the selection is empty. Returns the result of the write. */
static inline herr_t try_write_ints(hid_t dataset, hid_t list, hsize_t first, hsize_t count, int value) {
    hsize_t room = count ? count : 1;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &room, NULL);
    int *data = malloc(sizeof(int) * room);
    CHECK(data);
    for (hsize_t n = 0; n < room; n++)
        data[n] = value;
    if (count)
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL) >= 0);
    else
        CHECK(H5Sselect_none(space) >= 0 && H5Sselect_none(memory) >= 0);
    herr_t done = H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, list, data);
    free(data);
    H5Sclose(memory);
    H5Sclose(space);
    return done;
}

static inline void write_ints(hid_t dataset, hid_t list, hsize_t first, hsize_t count, int value) {
    CHECK(try_write_ints(dataset, list, first, count, value) >= 0);
}

static inline int read_int(hid_t dataset, hid_t list, hsize_t at) {
    hsize_t one = 1;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &one, NULL);
    int value = -1;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL) >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, memory, space, list, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    return value;
}

static inline void check_int(hid_t dataset, hid_t list, hsize_t at, int expected) {
    int value = read_int(dataset, list, at);
    if (value != expected)
        fprintf(stderr, "process %d, %s, element %d: %d and not %d\n", rank, part, (int)at, value, expected);
    CHECK(value == expected);
}

/* Limits the length of the files that this process may write. The caller ignores SIGXFSZ. */
static inline void limit_files(rlim_t bytes) {
    struct rlimit limit = {bytes, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

#endif

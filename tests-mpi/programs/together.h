/* What the C programs of this folder share. Each is run by several processes; one that finds something wrong says what and
   where, and ends all of them. */
#ifndef TOGETHER_H
#define TOGETHER_H

#include <hdf5.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* A bare barrier: nothing of HDF5 is told. */
static inline void barrier(void) { MPI_Barrier(MPI_COMM_WORLD); }

static inline void begin(const char *name) {
    barrier();
    part = name;
}

/* Whether h5lake runs the program, which promises more than native HDF5. */
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

#endif

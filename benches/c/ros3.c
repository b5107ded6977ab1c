/* Reads the data of benches/native-objects with HDF5's driver for read-only files in S3:  ros3 WHAT URL  prints milliseconds. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e3 + at.tv_nsec / 1e6;
}

static void check(int64_t result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

/* Reads one block of a dataset. */
static void block(hid_t file, const char *name, int rank, const hsize_t *start, const hsize_t *count) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space, memory, type;
    check(dataset, name);
    space = H5Dget_space(dataset);
    type = H5Dget_type(dataset);
    check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "H5Sselect_hyperslab");
    memory = H5Screate_simple(rank, count, NULL);
    void *data = malloc(H5Sget_select_npoints(space) * H5Tget_size(type));
    check(H5Dread(dataset, type, memory, space, H5P_DEFAULT, data), "H5Dread");
    free(data);
    H5Sclose(memory), H5Sclose(space), H5Tclose(type), H5Dclose(dataset);
}

static void attribute(hid_t file) {
    hid_t dataset = H5Dopen2(file, "d50", H5P_DEFAULT), attribute = H5Aopen(dataset, "unit", H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute);
    char *text = NULL;
    check(H5Aread(attribute, type, &text), "H5Aread");
    H5free_memory(text), H5Tclose(type), H5Aclose(attribute), H5Dclose(dataset);
}

static void datasets(hid_t file) {
    for (int n = 0; n < 100; n++) {
        char name[8];
        snprintf(name, sizeof name, "d%d", n);
        block(file, name, 2, (hsize_t[]){20, 0}, (hsize_t[]){2, 100});
    }
}

int main(int argc, char **argv) {
    H5FD_ros3_fapl_t driver = {.version = H5FD_CURR_ROS3_FAPL_T_VERSION, .authenticate = 0};
    if (argc != 3) return 2;
    H5open();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    check(H5Pset_fapl_ros3(access, &driver), "H5Pset_fapl_ros3");
    double begun = now();
    hid_t file = H5Fopen(argv[2], H5F_ACC_RDONLY, access);
    check(file, "H5Fopen");
    if (!strcmp(argv[1], "attribute")) attribute(file);
    if (!strcmp(argv[1], "datasets")) datasets(file);
    if (!strcmp(argv[1], "slice")) block(file, "d", 3, (hsize_t[]){100, 100, 0}, (hsize_t[]){1, 100, 512});
    if (!strcmp(argv[1], "whole")) block(file, "d", 3, (hsize_t[]){0, 0, 0}, (hsize_t[]){256, 512, 512});
    printf("%f\n", now() - begun);
    return 0;
}

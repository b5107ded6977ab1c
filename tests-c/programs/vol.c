/* The program that H5PyVOL was timed with: 1,001 datasets of 100,000 ints, all written, then all read back
 * and every value checked. argv[1]: the file; argv[2]: the number of datasets, if not 1,001. */
#include "check.h"

#define SIZE 100000

static int value(int dataset, int i)
{
    return dataset * 31 + i;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    int count = argc > 2 ? atoi(argv[2]) : 1001;
    int *data = malloc(SIZE * sizeof *data);
    hsize_t size = SIZE;
    char name[32];
    CHECK(data != NULL);

    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &size, NULL);
    CHECK(file >= 0 && space >= 0);
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "DATASET%d", n);
        for (int i = 0; i < SIZE; i++)
            data[i] = value(n, i);
        hid_t dataset = H5Dcreate2(file, name, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(dataset >= 0);
        CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        CHECK(H5Dclose(dataset) >= 0);
    }
    CHECK(H5Fclose(file) >= 0);

    file = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "DATASET%d", n);
        memset(data, 0xff, SIZE * sizeof *data);
        hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
        CHECK(dataset >= 0);
        CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        for (int i = 0; i < SIZE; i++)
            CHECK(data[i] == value(n, i));
        CHECK(H5Dclose(dataset) >= 0);
    }
    CHECK(H5Sclose(space) >= 0);
    CHECK(H5Fclose(file) >= 0);
    free(data);
    return 0;
}

/* A container of many MB: large WHAT PATH MB
 *
 * write makes datasets of 10 MB in chunks of 1 MB; delete deletes every other dataset; read compares a part of each other one. */
#include "../../tests-c/programs/check.h"
#include <stdbool.h>

#define MB 1000000
#define SET (10 * MB / 8)
#define CHUNK (MB / 8)

static double data[SET];

static void fill(long n)
{
    for (long i = 0; i < SET; i++)
        data[i] = (double)(n * SET + i);
}

static void write_all(hid_t file, long sets)
{
    hsize_t size = SET, chunk = CHUNK;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &size, NULL);
    CHECK(list >= 0 && space >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    char name[32];
    for (long n = 0; n < sets; n++) {
        fill(n);
        snprintf(name, sizeof name, "d%ld", n);
        hid_t set = H5Dcreate2(file, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list, H5P_DEFAULT);
        CHECK(set >= 0 && H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0 && H5Dclose(set) >= 0);
    }
    CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

static void check_one(hid_t file, const char *name, long n)
{
    hsize_t start = (hsize_t)(n * 7919 % SET), one = 1;
    double value = -1;
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set), memory = H5Screate_simple(1, &one, NULL);
    CHECK(set >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, &value) >= 0);
    CHECK(value == (double)(n * SET + (long)start));
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Dclose(set) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    bool writes = strcmp(argv[1], "write") == 0, deletes = strcmp(argv[1], "delete") == 0;
    long sets = atol(argv[3]) / 10;
    char name[32];
    hid_t file = writes ? H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)
                        : H5Fopen(argv[2], deletes ? H5F_ACC_RDWR : H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    if (writes)
        write_all(file, sets);
    for (long n = 0; !writes && n < sets; n++) {
        snprintf(name, sizeof name, "d%ld", n);
        if (deletes && n % 2 == 0)
            CHECK(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        else if (!deletes && n % 2)
            check_one(file, name, n);
    }
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

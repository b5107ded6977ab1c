/* Threads on a thread-safe library: each has its own dataset, all read one dataset, some flush: threads FILE. */
#include "check.h"
#include <pthread.h>

#define THREADS 8
#define ROUNDS 30
#define COUNT 20000
#define SHARED 100000

static hid_t file;

static void name_of(char *name, int n)
{
    snprintf(name, 32, "own%d", n);
}

static void *work(void *argument)
{
    int n = *(int *)argument;
    hsize_t count = COUNT, chunk = 1000;
    char name[32];
    static __thread int data[COUNT], back[COUNT], part[SHARED / THREADS];
    name_of(name, n);
    hid_t space = H5Screate_simple(1, &count, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(create, 1, &chunk) >= 0 && H5Pset_deflate(create, 1) >= 0);
    hid_t own = H5Dcreate2(file, name, H5T_NATIVE_INT, space, H5P_DEFAULT, create, H5P_DEFAULT);
    hid_t shared = H5Dopen2(file, "shared", H5P_DEFAULT), all = H5Dget_space(shared);
    hsize_t start = (hsize_t)n * (SHARED / THREADS), length = SHARED / THREADS;
    hid_t row = H5Screate_simple(1, &length, NULL);
    CHECK(own >= 0 && shared >= 0 && H5Sselect_hyperslab(all, H5S_SELECT_SET, &start, NULL, &length, NULL) >= 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < COUNT; i++)
            data[i] = n * 1000000 + round * 100 + i;
        CHECK(H5Dwrite(own, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        CHECK(H5Dread(shared, H5T_NATIVE_INT, row, all, H5P_DEFAULT, part) >= 0);
        for (hsize_t i = 0; i < length; i++)
            CHECK(part[i] == (int)(start + i));
        CHECK(H5Dread(own, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
        CHECK(memcmp(data, back, sizeof data) == 0);
        if (round % THREADS == n)
            CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    CHECK(H5Dclose(own) >= 0 && H5Dclose(shared) >= 0 && H5Pclose(create) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(all) >= 0 && H5Sclose(row) >= 0);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    static int data[SHARED], back[COUNT];
    hsize_t count = SHARED;
    hbool_t safe = 0;
    CHECK(argc == 2 && H5is_library_threadsafe(&safe) >= 0 && safe);
    file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t shared = H5Dcreate2(file, "shared", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < SHARED; i++)
        data[i] = i;
    CHECK(file >= 0 && H5Dwrite(shared, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    CHECK(H5Dclose(shared) >= 0 && H5Sclose(space) >= 0);
    for (int n = 0; n < THREADS; n++) {
        numbers[n] = n;
        CHECK(pthread_create(&threads[n], NULL, work, &numbers[n]) == 0);
    }
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(H5Fclose(file) >= 0);
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int n = 0; n < THREADS; n++) {
        char name[32];
        name_of(name, n);
        hid_t own = H5Dopen2(file, name, H5P_DEFAULT);
        CHECK(own >= 0 && H5Dread(own, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
        for (int i = 0; i < COUNT; i++)
            CHECK(back[i] == n * 1000000 + (ROUNDS - 1) * 100 + i);
        CHECK(H5Dclose(own) >= 0);
    }
    return H5Fclose(file) < 0;
}

/* Shared by the programs that use event sets. They choose async=on themselves: elsewhere, and with native HDF5, calls
 * are synchronous. */
#ifndef EVENTS_H
#define EVENTS_H

#include "check.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/* True if the connector returns tokens. */
static bool ours;

/* The number of elements of a dataset that takes a while to transfer: 8 MiB of noise. */
#define LONG ((hsize_t)1 << 20)

static uint64_t noise_state = 88172645463325252ull;

static uint64_t noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return noise_state;
}

/* Returns memory that is unmapped when it is freed: any later use crashes. */
static int64_t *take(hsize_t count)
{
    void *found = mmap(NULL, count * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(found != MAP_FAILED);
    return found;
}

static void give(int64_t *memory, hsize_t count)
{
    CHECK(munmap(memory, count * 8) == 0);
}

static int64_t *noisy(hsize_t count)
{
    int64_t *values = take(count);
    for (hsize_t n = 0; n < count; n++)
        values[n] = (int64_t)noise();
    return values;
}

static bool same(const int64_t *one, const int64_t *other, hsize_t count)
{
    return memcmp(one, other, count * 8) == 0;
}

/* Creates a dataset of 8-byte integers, in chunks with gzip or, without a level, contiguous. */
static hid_t make(hid_t file, const char *name, hsize_t count, int level)
{
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_CREATE), set;
    if (level >= 0) {
        hsize_t chunk = count < 65536 ? count : 65536;
        CHECK(H5Pset_chunk(list, 1, &chunk) >= 0 && H5Pset_deflate(list, (unsigned)level) >= 0);
    }
    set = H5Dcreate2(file, name, H5T_NATIVE_INT64, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return set;
}

static hid_t made(const char *name)
{
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    return file;
}

static void write_all(hid_t set, const int64_t *values, hid_t events)
{
    CHECK(H5Dwrite_async(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values, events) >= 0);
}

static size_t waiting(hid_t events)
{
    size_t count = 0;
    CHECK(H5ESget_count(events, &count) >= 0);
    return count;
}

/* Waits for all operations, none of which may fail. */
static void wait_all(hid_t events)
{
    size_t left = 1;
    hbool_t failed = 1;
    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && left == 0 && !failed);
    CHECK(waiting(events) == 0);
}

static void check_values(hid_t file, const char *name, const int64_t *values, hsize_t count)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    int64_t *seen = take(count);
    CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0);
    CHECK(same(seen, values, count));
    CHECK(H5Dclose(set) >= 0);
    give(seen, count);
}

struct named_case {
    const char *name;
    void (*run)(const char *file);
};

/* PROGRAM CASE FILE [ours]: runs the case of that name. */
static int run_case(const struct named_case cases[], size_t count, int argc, char **argv)
{
    CHECK(argc == 3 || argc == 4);
    CHECK(setenv("H5LAKE_ASYNC", "on", 1) == 0);
    ours = argc == 4;
    for (size_t n = 0; n < count; n++)
        if (strcmp(cases[n].name, argv[1]) == 0) {
            cases[n].run(argv[2]);
            return 0;
        }
    CHECK(!"a case of that name");
    return 1;
}

#endif

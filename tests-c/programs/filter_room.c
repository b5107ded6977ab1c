/* A filter of the application that changes the length of each chunk with every call, on more bytes than the native file
 * beneath a session may hold. Fails if the resident size grows with these bytes. argv[1]: the file. */
#include "check.h"
#include <unistd.h>

#define OURS 301
#define MIB ((size_t)1 << 20)
#define CHUNK (64 * MIB)
#define ROUNDS 20
#define MOST_GROWTH (400 * MIB)

static size_t calls;

/* Appends some bytes to a chunk, a different number of them each time. */
static size_t filter(unsigned flags, size_t count, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    (void)count, (void)values;
    if (flags & H5Z_FLAG_REVERSE)
        return CHUNK;
    size_t out = bytes + 1000 + ++calls * 8;
    *buffer = realloc(*buffer, out);
    CHECK(*buffer);
    memset((char *)*buffer + bytes, 0xee, out - bytes);
    *room = out;
    return out;
}

static const H5Z_class2_t class = {H5Z_CLASS_T_VERS, OURS, 1, 1, "longer and longer", NULL, NULL, filter};

static size_t resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%*d %ld", &pages) == 1);
    fclose(statm);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Reads or writes one of the two chunks. */
static void transfer(hid_t dataset, int writes, int number, unsigned char *data)
{
    hsize_t start = (hsize_t)number * CHUNK, count = CHUNK;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    if (writes)
        CHECK(H5Dwrite(dataset, H5T_NATIVE_UCHAR, memory, space, H5P_DEFAULT, data) >= 0);
    else
        CHECK(H5Dread(dataset, H5T_NATIVE_UCHAR, memory, space, H5P_DEFAULT, data) >= 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && H5Zregister(&class) >= 0);
    hsize_t size = 2 * CHUNK, chunk = CHUNK;
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS), creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &size, NULL);
    /* Without a chunk cache each access runs the filter. */
    CHECK(H5Pset_chunk_cache(access, 0, 0, 0) >= 0);
    CHECK(H5Pset_chunk(creation, 1, &chunk) >= 0 && H5Pset_filter(creation, OURS, 0, 0, NULL) >= 0);
    unsigned char *data = malloc(CHUNK);
    CHECK(data);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, creation, access);
    CHECK(file >= 0 && dataset >= 0);
    size_t before = 0, after;
    for (int n = 0; n < ROUNDS; n++) {
        memset(data, n, CHUNK);
        transfer(dataset, 1, n % 2, data);
        CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
        if (n == 3)
            before = resident();
    }
    after = resident();
    printf("written: %zu MiB, then %zu MiB\n", before / MIB, after / MIB);
    CHECK(calls >= ROUNDS && after < before + MOST_GROWTH);
    for (int n = 0; n < ROUNDS; n++) {
        transfer(dataset, 0, n % 2, data);
        CHECK(data[0] == ROUNDS - 2 + n % 2 && memcmp(data, data + 1, CHUNK - 1) == 0);
    }
    after = resident();
    printf("read: %zu MiB\n", after / MIB);
    CHECK(after < before + MOST_GROWTH);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Pclose(creation) >= 0 && H5Pclose(access) >= 0);
    free(data);
    return 0;
}

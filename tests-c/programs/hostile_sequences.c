/* Forged stored sequences of sequences: elements that refer to missing data, or claim far more data than exists, are
 * written into a dataset as raw chunks. Reading them, and overwriting them, is an error, never a crash, and takes no
 * more memory than the existing data needs. The data beside them stays unchanged: hostile_sequences FILE. */
#include "check.h"

#include <sys/resource.h>

#define N 4
#define ELEMENT 20
#define ROOM_KIB (160L << 10)

typedef struct {
    int number;
    char *text;
} row_t;

typedef struct {
    unsigned count;
    unsigned char id[16];
} forged_t;

static void put(unsigned char *element, const forged_t *forged)
{
    for (int i = 0; i < 4; i++)
        element[i] = (unsigned char)(forged->count >> (8 * i));
    memcpy(element + 4, forged->id, sizeof forged->id);
}

static hid_t text_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    return text;
}

static hid_t row_type(void)
{
    hid_t text = text_type(), row = H5Tcreate(H5T_COMPOUND, sizeof(row_t));
    CHECK(H5Tinsert(row, "number", HOFFSET(row_t, number), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tinsert(row, "text", HOFFSET(row_t, text), text) >= 0 && H5Tclose(text) >= 0);
    return row;
}

/* Returns a dataset of one chunk. */
static hid_t one_chunk(hid_t file, const char *name, hid_t type)
{
    hsize_t n = N;
    hid_t space = H5Screate_simple(1, &n, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 1, &n) >= 0);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
    return set;
}

/* Reads the stored elements of a dataset of one chunk. */
static void raw(hid_t set, unsigned char *elements)
{
    hsize_t offset = 0;
    uint32_t filters;
    CHECK(H5Dflush(set) >= 0 && H5Dread_chunk(set, H5P_DEFAULT, &offset, &filters, elements) >= 0);
}

static void put_raw(hid_t set, const unsigned char *elements, size_t length)
{
    hsize_t offset = 0;
    CHECK(H5Dwrite_chunk(set, H5P_DEFAULT, 0, &offset, length, elements) >= 0);
}

/* Returns whether one element, or all of them, can be written or read. */
static int moved(hid_t set, hid_t type, const void *from, void *into, size_t size, int element)
{
    hsize_t start = element < 0 ? 0 : (hsize_t)element, count = element < 0 ? N : 1;
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, &count, NULL);
    herr_t done;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    H5E_BEGIN_TRY {
        done = from ? H5Dwrite(set, type, memory, space, H5P_DEFAULT, (const char *)from + size * start)
                    : H5Dread(set, type, memory, space, H5P_DEFAULT, into);
    } H5E_END_TRY
    if (done >= 0 && into)
        CHECK(H5Treclaim(type, memory, H5P_DEFAULT, into) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    return done >= 0;
}

/* Forges each element of a dataset in turn, and reads and overwrites it. `at` is the offset of the sequence in an
 * element. */
static void refused(hid_t set, hid_t type, const void *values, size_t size, size_t stored, size_t at, const forged_t *forged)
{
    unsigned char sound[N * 64], wrong[N * 64], after[N * 64], *memory = malloc(N * size);
    CHECK(memory != NULL && stored <= 64);
    CHECK(moved(set, type, values, NULL, size, -1));
    raw(set, sound);
    for (int i = 0; i < N; i++) {
        memcpy(wrong, sound, sizeof wrong);
        put(wrong + i * stored + at, forged);
        put_raw(set, wrong, N * stored);
        memset(memory, 0, N * size);
        CHECK(!moved(set, type, NULL, memory, size, -1));
        memset(memory, 0, N * size);
        CHECK(!moved(set, type, NULL, memory, size, i));
        CHECK(!moved(set, type, values, NULL, size, -1));
        CHECK(!moved(set, type, values, NULL, size, i));
        /* Nothing was written, and the data of the other elements still exists. */
        raw(set, after);
        CHECK(memcmp(after, wrong, N * stored) == 0);
        put_raw(set, sound, N * stored);
        memset(memory, 0, N * size);
        CHECK(moved(set, type, NULL, memory, size, -1));
    }
    CHECK(moved(set, type, values, NULL, size, -1));
    free(memory);
}

static long resident_kib(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_maxrss;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    hsize_t two = 2;
    hid_t row = row_type(), ints = H5Tvlen_create(H5T_NATIVE_INT), nested = H5Tvlen_create(ints);
    hid_t deep = H5Tvlen_create(nested), rows = H5Tvlen_create(row), pairs = H5Tarray_create2(nested, 1, &two);
    hid_t bytes = H5Tvlen_create(H5T_NATIVE_UCHAR);
    int items[3] = {1, 2, 3};
    hvl_t of_items[2] = {{3, items}, {2, items}}, of_nested[2] = {{2, of_items}, {1, of_items}};
    row_t some[2] = {{1, "one"}, {2, "two, a longer one"}};
    hvl_t nesteds[N], deeps[N], of_rows[N], twos[N][2], keeps[N] = {{0, NULL}};
    for (int i = 0; i < N; i++) {
        nesteds[i] = (hvl_t){2, of_items};
        deeps[i] = (hvl_t){2, of_nested};
        of_rows[i] = (hvl_t){2, some};
        twos[i][0] = (hvl_t){1, of_items};
        twos[i][1] = (hvl_t){2, of_items};
    }
    hid_t set_of_nested = one_chunk(file, "nested", nested), set_of_deep = one_chunk(file, "deep", deep);
    hid_t set_of_rows = one_chunk(file, "rows", rows), set_of_pairs = one_chunk(file, "pairs", pairs);
    hid_t set_of_bytes = one_chunk(file, "bytes", bytes), set_of_row = one_chunk(file, "row", row);

    /* Existing data has elements that are forged in turn: the data that they refer to does not exist, or is shorter. */
    forged_t nowhere = {5, {0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, inner[2] = {nowhere, nowhere};
    unsigned char content[4][2 * ELEMENT], kept[N * ELEMENT];
    for (int i = 0; i < 4; i++)
        keeps[i] = (hvl_t){2 * ELEMENT, content[i]};
    memset(content, 0, sizeof content);
    put(content[0], &nowhere);
    inner[0].count = 0x01000000;
    put(content[1], &inner[0]);
    put(content[1] + ELEMENT, &inner[1]);
    CHECK(H5Dwrite(set_of_bytes, bytes, H5S_ALL, H5S_ALL, H5P_DEFAULT, keeps) >= 0);
    raw(set_of_bytes, kept);
    forged_t long_one = {0x01000000, {0}}, short_one = {0x1000, {0}}, in_it[2] = {{2, {0}}, {2, {0}}};
    memcpy(long_one.id, kept + 4, 16);
    memcpy(short_one.id, kept + 4, 16);
    memcpy(in_it[0].id, kept + 4, 16);
    memcpy(in_it[1].id, kept + ELEMENT + 4, 16);
    long before = resident_kib();
    const forged_t *all[3] = {&nowhere, &long_one, &short_one};
    for (int k = 0; k < 3; k++) {
        refused(set_of_nested, nested, nesteds, sizeof(hvl_t), ELEMENT, 0, all[k]);
        refused(set_of_rows, rows, of_rows, sizeof(hvl_t), ELEMENT, 0, all[k]);
        refused(set_of_deep, deep, deeps, sizeof(hvl_t), ELEMENT, 0, all[k]);
        refused(set_of_pairs, pairs, twos, 2 * sizeof(hvl_t), 2 * ELEMENT, ELEMENT, all[k]);
    }
    for (int k = 0; k < 2; k++)
        refused(set_of_deep, deep, deeps, sizeof(hvl_t), ELEMENT, 0, &in_it[k]);
    /* Sequences outside of compounds are not read before they are overwritten: a read must not allocate the memory. */
    unsigned char elements[N * 64] = {0};
    row_t memory[N];
    put(elements + HOFFSET(row_t, text), &long_one);
    put_raw(set_of_row, elements, N * (HOFFSET(row_t, text) + ELEMENT));
    memset(memory, 0, sizeof memory);
    CHECK(!moved(set_of_row, row, NULL, memory, sizeof(row_t), -1));
    long grown = resident_kib() - before;
    if (grown > ROOM_KIB) {
        fprintf(stderr, "%ld KiB for what is not there\n", grown);
        return 1;
    }
    CHECK(H5Dclose(set_of_nested) >= 0 && H5Dclose(set_of_deep) >= 0 && H5Dclose(set_of_rows) >= 0);
    CHECK(H5Dclose(set_of_pairs) >= 0 && H5Dclose(set_of_bytes) >= 0 && H5Dclose(set_of_row) >= 0);
    CHECK(H5Tclose(row) >= 0 && H5Tclose(ints) >= 0 && H5Tclose(nested) >= 0 && H5Tclose(deep) >= 0);
    CHECK(H5Tclose(rows) >= 0 && H5Tclose(pairs) >= 0 && H5Tclose(bytes) >= 0);
    return H5Fclose(file) >= 0 ? 0 : 1;
}

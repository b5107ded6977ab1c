/* Forged stored references (H5R_ref_t): their encodings are written as variable-length bytes, and elements that refer
 * to them are written as raw chunks. Reading them is an error in datasets, arrays, sequences and compounds of
 * compounds, and never a crash. A valid reference is read. */
#include "check.h"

#define ELEMENT 22
#define OBJECT 2
#define REGION 3
#define ATTRIBUTE 4

typedef struct {
    unsigned char bytes[2048];
    size_t length;
} blob_t;

static void add(blob_t *blob, const void *bytes, size_t length)
{
    CHECK(blob->length + length <= sizeof blob->bytes);
    memcpy(blob->bytes + blob->length, bytes, length);
    blob->length += length;
}

/* Adds little-endian integers of four bytes. */
static void add_numbers(blob_t *blob, size_t count, const unsigned *numbers)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char bytes[4] = {(unsigned char)numbers[i], (unsigned char)(numbers[i] >> 8),
                                  (unsigned char)(numbers[i] >> 16), (unsigned char)(numbers[i] >> 24)};
        add(blob, bytes, 4);
    }
}

#define ADD(blob, ...) add_numbers(blob, sizeof((unsigned[]){__VA_ARGS__}) / 4, (unsigned[]){__VA_ARGS__})

/* Returns the token of the dataset "grid", with which each encoding begins. */
static blob_t to_grid(hid_t file)
{
    blob_t blob = {{8}, 1};
    H5O_info2_t info;
    CHECK(H5Oget_info_by_name3(file, "grid", &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0);
    add(&blob, &info.token, 8);
    return blob;
}

static hid_t one_chunk(hid_t file, const char *name, hid_t type)
{
    hsize_t one = 1;
    hid_t space = H5Screate_simple(1, &one, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 1, &one) >= 0);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
    return set;
}

/* Stores bytes as a sequence of a dataset; returns its element in stored form: a length of four bytes and an id of 16. */
static void keep(hid_t set, const blob_t *blob, unsigned char element[20])
{
    hid_t type = H5Tvlen_create(H5T_NATIVE_UCHAR);
    hvl_t sequence = {blob->length, (void *)blob->bytes};
    hsize_t offset = 0;
    uint32_t filters;
    CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &sequence) >= 0 && H5Dflush(set) >= 0);
    CHECK(H5Dread_chunk(set, H5P_DEFAULT, &offset, &filters, element) >= 0 && H5Tclose(type) >= 0);
}

/* Stores a raw element and reads it; returns whether that succeeds. */
static int reads(hid_t set, const void *raw, size_t length, hid_t type, void *value)
{
    hsize_t offset = 0;
    herr_t result;
    CHECK(H5Dwrite_chunk(set, H5P_DEFAULT, 0, &offset, length, raw) >= 0);
    H5E_BEGIN_TRY { result = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value); } H5E_END_TRY
    return result >= 0;
}

/* A compound with a reference between two numbers, in a compound that begins with a string. */
typedef struct {
    char *text;
    struct {
        int64_t before;
        H5R_ref_t reference;
        int64_t after;
    } row;
} nested_t;

static hid_t nested_type(void)
{
    size_t row_size = sizeof((nested_t *)0)->row;
    hid_t text = H5Tcopy(H5T_C_S1), row = H5Tcreate(H5T_COMPOUND, row_size), nested = H5Tcreate(H5T_COMPOUND, sizeof(nested_t));
    size_t start = HOFFSET(nested_t, row);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    CHECK(H5Tinsert(row, "before", 0, H5T_NATIVE_INT64) >= 0);
    CHECK(H5Tinsert(row, "reference", HOFFSET(nested_t, row.reference) - start, H5T_STD_REF) >= 0);
    CHECK(H5Tinsert(row, "after", HOFFSET(nested_t, row.after) - start, H5T_NATIVE_INT64) >= 0);
    CHECK(H5Tinsert(nested, "text", 0, text) >= 0 && H5Tinsert(nested, "row", start, row) >= 0);
    CHECK(H5Tclose(text) >= 0 && H5Tclose(row) >= 0);
    return nested;
}

/* Returns whether a stored reference can be read as a member of a compound within a compound. */
static int is_read_nested(hid_t file, const unsigned char reference[ELEMENT])
{
    /* The element has an empty text, and numbers of eight bytes on both sides. */
    unsigned char raw[20 + 8 + ELEMENT + 8] = {0};
    hid_t set = H5Dopen2(file, "nested", H5P_DEFAULT), type = nested_type(), scalar = H5Screate(H5S_SCALAR);
    nested_t value = {0};
    raw[20] = 7;
    memcpy(raw + 28, reference, ELEMENT);
    raw[28 + ELEMENT] = 9;
    int is_read = reads(set, raw, sizeof raw, type, &value);
    if (is_read) {
        CHECK(value.text == NULL && value.row.before == 7 && value.row.after == 9);
        CHECK(H5Treclaim(type, scalar, H5P_DEFAULT, &value) >= 0);
    }
    CHECK(H5Dclose(set) >= 0 && H5Tclose(type) >= 0 && H5Sclose(scalar) >= 0);
    return is_read;
}

/* Returns whether a reference of a kind can be read: as an element, as the second of an array, in a sequence and in
 * compounds. All have to agree. */
static int is_read(hid_t file, int kind, int flags, const blob_t *blob, const unsigned *size)
{
    hsize_t two = 2;
    hid_t pair = H5Tarray_create2(H5T_STD_REF, 1, &two), list = H5Tvlen_create(H5T_STD_REF);
    hid_t bytes = H5Dopen2(file, "bytes", H5P_DEFAULT), more = H5Dopen2(file, "more", H5P_DEFAULT);
    hid_t refs = H5Dopen2(file, "refs", H5P_DEFAULT), pairs = H5Dopen2(file, "pairs", H5P_DEFAULT);
    hid_t lists = H5Dopen2(file, "lists", H5P_DEFAULT), scalar = H5Screate(H5S_SCALAR);
    unsigned char element[20], forged[2 * ELEMENT] = {0}, *reference = forged + ELEMENT;
    H5R_ref_t value, values[2];
    hvl_t sequence = {0, NULL};
    keep(bytes, blob, element);
    reference[0] = (unsigned char)kind;
    reference[1] = (unsigned char)flags;
    memcpy(reference + 2, element, 20);
    if (size) {
        blob_t length = {{0}, 0};
        add_numbers(&length, 1, size);
        memcpy(reference + 2, length.bytes, 4);
    }
    int alone = reads(refs, reference, ELEMENT, H5T_STD_REF, &value);
    int in_pair = reads(pairs, forged, sizeof forged, pair, values);
    blob_t items = {{0}, 0};
    add(&items, reference, ELEMENT);
    /* A sequence of references has the length that it has in memory. */
    items.length = sizeof(H5R_ref_t);
    keep(more, &items, element);
    /* The length is one reference, not 64 bytes. */
    memcpy(element, (unsigned char[4]){1, 0, 0, 0}, 4);
    int in_list = reads(lists, element, sizeof element, list, &sequence), nested = is_read_nested(file, reference);
    if (alone && kind == REGION) {
        hid_t space = H5Ropen_region(&value, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(space >= 0 && H5Sget_select_npoints(space) == 12 && H5Sclose(space) >= 0);
    }
    if (alone)
        CHECK(H5Rdestroy(&value) >= 0);
    if (in_pair)
        CHECK(H5Treclaim(pair, scalar, H5P_DEFAULT, values) >= 0);
    if (in_list)
        CHECK(sequence.len == 1 && H5Treclaim(list, scalar, H5P_DEFAULT, &sequence) >= 0);
    CHECK(H5Dclose(bytes) >= 0 && H5Dclose(more) >= 0 && H5Dclose(refs) >= 0 && H5Dclose(pairs) >= 0);
    CHECK(H5Dclose(lists) >= 0 && H5Sclose(scalar) >= 0 && H5Tclose(pair) >= 0 && H5Tclose(list) >= 0);
    CHECK(alone == in_pair && alone == in_list && alone == nested);
    return alone;
}

static blob_t region(hid_t file, unsigned length, unsigned rank)
{
    blob_t blob = to_grid(file);
    ADD(&blob, length, rank);
    return blob;
}

/* Returns a regular hyperslab of `rank` dimensions. */
static blob_t slab(hid_t file, unsigned rank, unsigned said)
{
    blob_t blob = region(file, 14 + 16 * said, rank);
    ADD(&blob, 2, 3);
    add(&blob, (unsigned char[2]){1, 4}, 2);
    ADD(&blob, said);
    for (unsigned i = 0; i < said; i++)
        ADD(&blob, 0, 1, 1, 1);
    return blob;
}

static void make(const char *name)
{
    hsize_t size[2] = {3, 4}, two = 2;
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), grid = H5Screate_simple(2, size, NULL);
    hid_t bytes = H5Tvlen_create(H5T_NATIVE_UCHAR), list = H5Tvlen_create(H5T_STD_REF);
    hid_t pair = H5Tarray_create2(H5T_STD_REF, 1, &two), nested = nested_type();
    CHECK(H5Dclose(one_chunk(file, "nested", nested)) >= 0 && H5Tclose(nested) >= 0);
    CHECK(H5Dclose(H5Dcreate2(file, "grid", H5T_NATIVE_INT, grid, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK(H5Dclose(one_chunk(file, "bytes", bytes)) >= 0 && H5Dclose(one_chunk(file, "more", bytes)) >= 0);
    CHECK(H5Dclose(one_chunk(file, "refs", H5T_STD_REF)) >= 0 && H5Dclose(one_chunk(file, "pairs", pair)) >= 0);
    CHECK(H5Dclose(one_chunk(file, "lists", list)) >= 0);
    CHECK(H5Tclose(bytes) >= 0 && H5Tclose(list) >= 0 && H5Tclose(pair) >= 0 && H5Sclose(grid) >= 0);
    CHECK(H5Fclose(file) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    int only = argc > 2 ? atoi(argv[2]) : -1, n = 0;
    make(argv[1]);
    hid_t file = H5Fopen(argv[1], H5F_ACC_RDWR, H5P_DEFAULT);
    blob_t all = region(file, 16, 2);
    ADD(&all, 3, 1, 0, 0);
    CHECK(is_read(file, REGION, 0, &all, NULL));
    blob_t name = to_grid(file);
    add(&name, "\4\0unit", 6);
    CHECK(is_read(file, ATTRIBUTE, 0, &name, NULL) && is_read(file, OBJECT, 1, &name, NULL));

#define REFUSED(kind, flags, blob, size)                                                                      \
    do {                                                                                                      \
        if (only < 0 || only == n)                                                                            \
            CHECK(!is_read(file, kind, flags, blob, size));                                                   \
        n++;                                                                                                  \
    } while (0)

    blob_t bad = region(file, 16, 40);
    ADD(&bad, 3, 1, 0, 0);
    REFUSED(REGION, 0, &bad, NULL);
    bad = region(file, 16, 2000000);
    ADD(&bad, 3, 1, 0, 0);
    REFUSED(REGION, 0, &bad, NULL);
    bad = slab(file, 40, 40);
    REFUSED(REGION, 0, &bad, NULL);
    bad = slab(file, 2, 3);
    REFUSED(REGION, 0, &bad, NULL);
    /* The rank differs from that of the dataset. */
    bad = slab(file, 1, 1);
    REFUSED(REGION, 0, &bad, NULL);
    bad = region(file, 4000000000u, 2);
    ADD(&bad, 3, 1, 0, 0);
    REFUSED(REGION, 0, &bad, NULL);
    bad = to_grid(file);
    add(&bad, "\377\377name", 6);
    REFUSED(ATTRIBUTE, 0, &bad, NULL);
    REFUSED(OBJECT, 1, &bad, NULL);
    bad = (blob_t){{255, 1, 2}, 3};
    REFUSED(ATTRIBUTE, 0, &bad, NULL);
    bad = (blob_t){{16, 1, 2}, 3};
    REFUSED(REGION, 0, &bad, NULL);
    REFUSED(9, 0, &all, NULL);
    REFUSED(0, 0, &all, NULL);
    REFUSED(REGION, 0, &all, &(unsigned){0});
    REFUSED(REGION, 0, &all, &(unsigned){2});
    REFUSED(REGION, 0, &all, &(unsigned){0xffffffff});
    CHECK(is_read(file, REGION, 0, &all, NULL) && H5Fclose(file) >= 0);
    puts("ok");
    return 0;
}

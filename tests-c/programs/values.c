/* Attributes of strings and sequences, alone, in records and in each other; written whole, in part and again, and read
 * with their own and with other types: values FILE. */
#include "check.h"

#define ROUNDS 400
#define TEXT 200

typedef struct {
    int number;
    char *text;
    hvl_t numbers;
} row_t;

typedef struct {
    char *text;
} text_t;

static hid_t text_type(H5T_cset_t set)
{
    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0 && H5Tset_cset(text, set) >= 0);
    return text;
}

static hid_t row_type(void)
{
    hid_t text = text_type(H5T_CSET_UTF8), numbers = H5Tvlen_create(H5T_NATIVE_INT);
    hid_t row = H5Tcreate(H5T_COMPOUND, sizeof(row_t));
    CHECK(H5Tinsert(row, "number", HOFFSET(row_t, number), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tinsert(row, "text", HOFFSET(row_t, text), text) >= 0);
    CHECK(H5Tinsert(row, "numbers", HOFFSET(row_t, numbers), numbers) >= 0);
    CHECK(H5Tclose(text) >= 0 && H5Tclose(numbers) >= 0);
    return row;
}

static hid_t part_type(void)
{
    hid_t text = text_type(H5T_CSET_UTF8), part = H5Tcreate(H5T_COMPOUND, sizeof(text_t));
    CHECK(H5Tinsert(part, "text", HOFFSET(text_t, text), text) >= 0 && H5Tclose(text) >= 0);
    return part;
}

static char *long_text(char letter, size_t length)
{
    char *text = malloc(length + 1);
    CHECK(text != NULL);
    memset(text, letter, length);
    text[length] = 0;
    return text;
}

static void text_of(int round, char *text)
{
    snprintf(text, TEXT, "%150d", round);
}

/* Writes one member of records repeatedly while the remaining members stay unchanged. */
static void rows(hid_t file)
{
    hsize_t two = 2;
    int numbers[3000];
    for (int i = 0; i < 3000; i++)
        numbers[i] = i;
    char *text = long_text('x', 5000);
    row_t values[2] = {{1, text, {3000, numbers}}, {2, "second", {0, NULL}}};
    hid_t space = H5Screate_simple(1, &two, NULL), row = row_type(), part = part_type();
    hid_t attribute = H5Acreate2(file, "rows", row, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, row, values) >= 0);
    for (int n = 0; n < ROUNDS; n++) {
        char first[TEXT];
        text_of(n, first);
        text_t texts[2] = {{first}, {NULL}};
        CHECK(H5Awrite(attribute, part, texts) >= 0);
    }
    row_t back[2];
    char last[TEXT];
    memset(back, 0, sizeof back);
    text_of(ROUNDS - 1, last);
    CHECK(H5Aread(attribute, row, back) >= 0);
    CHECK(back[0].number == 1 && back[1].number == 2 && back[1].numbers.len == 0);
    CHECK(strcmp(back[0].text, last) == 0 && back[1].text == NULL);
    CHECK(back[0].numbers.len == 3000 && memcmp(back[0].numbers.p, numbers, sizeof numbers) == 0);
    CHECK(H5Treclaim(row, space, H5P_DEFAULT, back) >= 0);
    text_t texts[2] = {{NULL}, {NULL}};
    CHECK(H5Aread(attribute, part, texts) >= 0);
    CHECK(strcmp(texts[0].text, last) == 0 && texts[1].text == NULL);
    CHECK(H5Treclaim(part, space, H5P_DEFAULT, texts) >= 0);
    free(text);
    CHECK(H5Aclose(attribute) >= 0 && H5Tclose(part) >= 0 && H5Tclose(row) >= 0 && H5Sclose(space) >= 0);
}

/* Tests sequences of strings, and arrays of them. */
static void nested(hid_t file)
{
    hsize_t two = 2;
    char *words[3] = {"one", "", "three"}, *text = long_text('y', 20000);
    hvl_t values[2] = {{3, words}, {1, &text}};
    hid_t string = text_type(H5T_CSET_ASCII), sequence = H5Tvlen_create(string);
    hid_t array = H5Tarray_create2(sequence, 1, &two), space = H5Screate(H5S_SCALAR);
    for (int again = 0; again < 5; again++) {
        hid_t attribute = again == 0
            ? H5Acreate2(file, "nested", array, space, H5P_DEFAULT, H5P_DEFAULT)
            : H5Aopen(file, "nested", H5P_DEFAULT);
        hvl_t back[2];
        CHECK(H5Awrite(attribute, array, values) >= 0);
        CHECK(H5Aread(attribute, array, back) >= 0);
        CHECK(back[0].len == 3 && back[1].len == 1);
        for (int i = 0; i < 3; i++)
            CHECK(strcmp(((char **)back[0].p)[i], words[i]) == 0);
        CHECK(strcmp(((char **)back[1].p)[0], text) == 0);
        CHECK(H5Treclaim(array, space, H5P_DEFAULT, back) >= 0);
        CHECK(H5Aclose(attribute) >= 0);
    }
    free(text);
    CHECK(H5Tclose(array) >= 0 && H5Tclose(sequence) >= 0 && H5Tclose(string) >= 0 && H5Sclose(space) >= 0);
}

/* Tests sequences of numbers that are written with one type and read with another, empty ones, and those of an attribute
 * before its first write. */
static void converted(hid_t file)
{
    hsize_t three = 3;
    short shorts[3] = {1, -2, 3};
    hvl_t values[3] = {{3, shorts}, {0, NULL}, {1, shorts}};
    hid_t space = H5Screate_simple(1, &three, NULL), stored = H5Tvlen_create(H5T_STD_I64BE);
    hid_t written = H5Tvlen_create(H5T_NATIVE_SHORT), read = H5Tvlen_create(H5T_NATIVE_DOUBLE);
    hid_t attribute = H5Acreate2(file, "numbers", stored, space, H5P_DEFAULT, H5P_DEFAULT);
    hvl_t back[3];
    CHECK(H5Aread(attribute, read, back) >= 0);
    CHECK(back[0].len == 0 && back[1].len == 0 && back[2].len == 0);
    CHECK(H5Awrite(attribute, written, values) >= 0 && H5Awrite(attribute, written, values) >= 0);
    CHECK(H5Aread(attribute, read, back) >= 0);
    CHECK(back[0].len == 3 && back[1].len == 0 && back[2].len == 1);
    CHECK(((double *)back[0].p)[1] == -2.0 && ((double *)back[2].p)[0] == 1.0);
    CHECK(H5Treclaim(read, space, H5P_DEFAULT, back) >= 0);
    CHECK(H5Aget_storage_size(attribute) > 0 && H5Aclose(attribute) >= 0);
    CHECK(H5Tclose(read) >= 0 && H5Tclose(written) >= 0 && H5Tclose(stored) >= 0 && H5Sclose(space) >= 0);
}

/* Tests single strings of every length near those at which the storage changes. */
static void lengths(hid_t file)
{
    static const size_t all[] = {0, 1, 15, 16, 4000, 4075, 4076, 4077, 4096, 70000, 20u << 20};
    hid_t text = text_type(H5T_CSET_UTF8), space = H5Screate(H5S_SCALAR);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[20], *value = long_text('z', all[i]), *back = NULL;
        snprintf(name, sizeof name, "length %zu", i);
        hid_t attribute = H5Acreate2(file, name, text, space, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Awrite(attribute, text, &value) >= 0 && H5Aclose(attribute) >= 0);
        attribute = H5Aopen(file, name, H5P_DEFAULT);
        CHECK(H5Aread(attribute, text, &back) >= 0 && strcmp(back, value) == 0);
        CHECK(H5free_memory(back) >= 0 && H5Aclose(attribute) >= 0);
        if (all[i] > 100000)
            CHECK(H5Adelete(file, name) >= 0);
        free(value);
    }
    CHECK(H5Tclose(text) >= 0 && H5Sclose(space) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    rows(file);
    /* Overwritten values are reclaimed, apart from a few: 400 rounds wrote 60 KB beside the 12 KB that stay. */
    hsize_t size;
    CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0 && H5Fget_filesize(file, &size) >= 0 && size < 40000);
    nested(file);
    converted(file);
    lengths(file);
    CHECK(H5Fclose(file) >= 0);
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t attribute = H5Aopen(file, "rows", H5P_DEFAULT), row = row_type(), space = H5Aget_space(attribute);
    row_t back[2];
    char last[TEXT];
    text_of(ROUNDS - 1, last);
    CHECK(H5Aread(attribute, row, back) >= 0 && strcmp(back[0].text, last) == 0);
    CHECK(back[0].numbers.len == 3000 && ((int *)back[0].numbers.p)[2999] == 2999);
    CHECK(H5Treclaim(row, space, H5P_DEFAULT, back) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Tclose(row) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

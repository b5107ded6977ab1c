/* Records of a file are read into records of the program that have more members. The additional members keep the
 * program's values, including pointers and references: wider FILE. */
#include "check.h"

#define N 5

typedef struct {
    int b;
    char *text;
} inner_t;

typedef struct {
    int a;
    char *text;
    hvl_t numbers;
    H5R_ref_t reference;
    inner_t inner;
    char *other;
} row_t;

static hid_t text_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    return text;
}

/* Returns a type with the members that the file has, or with all of them. */
static hid_t row_type(int all)
{
    hid_t row = H5Tcreate(H5T_COMPOUND, sizeof(row_t)), inner = H5Tcreate(H5T_COMPOUND, sizeof(inner_t));
    hid_t text = text_type(), numbers = H5Tvlen_create(H5T_NATIVE_INT);
    CHECK(H5Tinsert(inner, "b", HOFFSET(inner_t, b), H5T_NATIVE_INT) >= 0);
    if (all)
        CHECK(H5Tinsert(inner, "text", HOFFSET(inner_t, text), text) >= 0);
    CHECK(H5Tinsert(row, "a", HOFFSET(row_t, a), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tinsert(row, "inner", HOFFSET(row_t, inner), inner) >= 0);
    if (all) {
        CHECK(H5Tinsert(row, "text", HOFFSET(row_t, text), text) >= 0);
        CHECK(H5Tinsert(row, "numbers", HOFFSET(row_t, numbers), numbers) >= 0);
        CHECK(H5Tinsert(row, "reference", HOFFSET(row_t, reference), H5T_STD_REF) >= 0);
    }
    CHECK(H5Tinsert(row, "other", HOFFSET(row_t, other), text) >= 0);
    CHECK(H5Tclose(inner) >= 0 && H5Tclose(text) >= 0 && H5Tclose(numbers) >= 0);
    return row;
}

static hid_t ints_type(void)
{
    hid_t row = H5Tcreate(H5T_COMPOUND, sizeof(int));
    CHECK(H5Tinsert(row, "a", 0, H5T_NATIVE_INT) >= 0);
    return row;
}

static void fill(hid_t file, row_t *rows, hvl_t *numbers)
{
    memset(rows, 0, N * sizeof *rows);
    for (int i = 0; i < N; i++) {
        rows[i].a = -1;
        rows[i].text = strdup("keep");
        rows[i].numbers.len = 2;
        rows[i].numbers.p = malloc(2 * sizeof(int));
        memcpy(rows[i].numbers.p, (int[2]){i, i + 1}, 2 * sizeof(int));
        numbers[i] = rows[i].numbers;
        rows[i].inner.b = -2;
        rows[i].inner.text = strdup("inner");
        rows[i].other = NULL;
        CHECK(H5Rcreate_object(file, "ints", H5P_DEFAULT, &rows[i].reference) >= 0);
    }
}

/* Checks that all members that the file does not have are unchanged, and frees them. */
static void is_kept(row_t *rows, const hvl_t *numbers)
{
    for (int i = 0; i < N; i++) {
        H5O_type_t type;
        CHECK(rows[i].text != NULL && strcmp(rows[i].text, "keep") == 0);
        CHECK(rows[i].numbers.len == 2 && rows[i].numbers.p == numbers[i].p && ((int *)numbers[i].p)[1] == i + 1);
        CHECK(rows[i].inner.text != NULL && strcmp(rows[i].inner.text, "inner") == 0);
        CHECK(H5Rget_type(&rows[i].reference) == H5R_OBJECT2);
        CHECK(H5Rget_obj_type3(&rows[i].reference, H5P_DEFAULT, &type) >= 0 && type == H5O_TYPE_DATASET);
        CHECK(H5Rdestroy(&rows[i].reference) >= 0);
        free(rows[i].text);
        free(rows[i].inner.text);
        free(rows[i].numbers.p);
    }
}

static hid_t dataset(hid_t file, const char *name, hid_t type, hsize_t chunk)
{
    hsize_t n = N;
    hid_t space = H5Screate_simple(1, &n, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    if (chunk)
        CHECK(H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t made = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(made >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
    return made;
}

/* Tests a file of integers, which has no variable-length data. */
static void of_ints(hid_t file, const char *name)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), all = row_type(1);
    row_t rows[N];
    hvl_t numbers[N];
    fill(file, rows, numbers);
    CHECK(H5Dread(set, all, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0);
    for (int i = 0; i < N; i++)
        CHECK(rows[i].a == 10 * i && rows[i].inner.b == -2 && rows[i].other == NULL);
    is_kept(rows, numbers);
    CHECK(H5Dclose(set) >= 0 && H5Tclose(all) >= 0);
}

/* Tests a file with a string, and a record in the record; it is read whole, or in part. */
static void of_rows(hid_t file, const char *name, hsize_t start, hsize_t count)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), all = row_type(1), space = H5Dget_space(set);
    row_t rows[N];
    hvl_t numbers[N];
    fill(file, rows, numbers);
    char mine[] = "the program's";
    for (int i = 0; i < N; i++)
        rows[i].other = mine;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    CHECK(H5Dread(set, all, space, space, H5P_DEFAULT, rows) >= 0);
    for (int i = 0; i < N; i++) {
        int is_read = (hsize_t)i >= start && (hsize_t)i < start + count;
        CHECK(rows[i].a == (is_read ? 10 * i : -1) && rows[i].inner.b == (is_read ? 20 * i : -2));
        CHECK(strcmp(rows[i].other, is_read ? "the file's" : mine) == 0 && (rows[i].other == mine) == !is_read);
        if (is_read)
            free(rows[i].other);
    }
    is_kept(rows, numbers);
    CHECK(H5Dclose(set) >= 0 && H5Tclose(all) >= 0 && H5Sclose(space) >= 0);
}

static void of_attribute(hid_t file)
{
    hid_t attribute = H5Aopen(file, "rows", H5P_DEFAULT), all = row_type(1);
    row_t rows[N];
    hvl_t numbers[N];
    fill(file, rows, numbers);
    CHECK(H5Aread(attribute, all, rows) >= 0);
    for (int i = 0; i < N; i++) {
        CHECK(rows[i].a == 10 * i && rows[i].inner.b == 20 * i && strcmp(rows[i].other, "the file's") == 0);
        free(rows[i].other);
    }
    is_kept(rows, numbers);
    CHECK(H5Aclose(attribute) >= 0 && H5Tclose(all) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t n = N;
    row_t rows[N];
    int ints[N];
    memset(rows, 0, sizeof rows);
    for (int i = 0; i < N; i++) {
        ints[i] = rows[i].a = 10 * i;
        rows[i].inner.b = 20 * i;
        rows[i].other = "the file's";
    }
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), some = row_type(0), one = ints_type();
    hid_t space = H5Screate_simple(1, &n, NULL);
    CHECK(file >= 0);
    const char *names[2] = {"plain", "chunked"};
    for (int i = 0; i < 2; i++) {
        hid_t set = dataset(file, names[i], some, i ? 2 : 0);
        CHECK(H5Dwrite(set, some, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0 && H5Dclose(set) >= 0);
    }
    hid_t set = dataset(file, "ints", one, 0);
    CHECK(H5Dwrite(set, one, H5S_ALL, H5S_ALL, H5P_DEFAULT, ints) >= 0 && H5Dclose(set) >= 0);
    hid_t attribute = H5Acreate2(file, "rows", some, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, some, rows) >= 0 && H5Aclose(attribute) >= 0);
    of_ints(file, "ints");
    for (int i = 0; i < 2; i++) {
        of_rows(file, names[i], 0, N);
        of_rows(file, names[i], 1, 3);
    }
    of_attribute(file);
    CHECK(H5Tclose(some) >= 0 && H5Tclose(one) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

/* Some members of records with variable-length data are written and read separately. The remaining members stay
 * unchanged, in the file and in the program's memory: members FILE. */
#include "check.h"

#define N 6

typedef struct {
    int a;
    char *name;
    int b;
    double mine;
} row_t;

static hid_t text_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    return text;
}

/* Returns the type of a record of the program with those of the members a, name and b that are requested. */
static hid_t row_type(const char *members)
{
    hid_t row = H5Tcreate(H5T_COMPOUND, sizeof(row_t)), text = text_type();
    if (strchr(members, 'a'))
        CHECK(H5Tinsert(row, "a", HOFFSET(row_t, a), H5T_NATIVE_INT) >= 0);
    if (strchr(members, 'n'))
        CHECK(H5Tinsert(row, "name", HOFFSET(row_t, name), text) >= 0);
    if (strchr(members, 'b'))
        CHECK(H5Tinsert(row, "b", HOFFSET(row_t, b), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tclose(text) >= 0);
    return row;
}

static hid_t make(hid_t file, const char *name, hsize_t chunk)
{
    hsize_t n = N;
    row_t fill = {1, "a fill value that is long enough to lie elsewhere", 2, 0};
    hid_t space = H5Screate_simple(1, &n, NULL), row = row_type("anb"), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_fill_value(list, row, &fill) >= 0);
    if (chunk)
        CHECK(H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t made = H5Dcreate2(file, name, row, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(made >= 0 && H5Pclose(list) >= 0 && H5Tclose(row) >= 0 && H5Sclose(space) >= 0);
    return made;
}

static void put(hid_t dataset, const char *members, hsize_t start, hsize_t count, const row_t *values)
{
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL), type = row_type(members);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    CHECK(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, values) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

static void expect(hid_t dataset, const row_t *values)
{
    row_t back[N];
    hid_t row = row_type("anb"), space = H5Dget_space(dataset);
    memset(back, 0, sizeof back);
    CHECK(H5Dread(dataset, row, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
    for (int i = 0; i < N; i++) {
        CHECK(back[i].a == values[i].a && back[i].b == values[i].b);
        CHECK(back[i].name != NULL && strcmp(back[i].name, values[i].name) == 0);
    }
    CHECK(H5Dvlen_reclaim(row, space, H5P_DEFAULT, back) >= 0 && H5Tclose(row) >= 0 && H5Sclose(space) >= 0);
}

static void written(hid_t file, const char *name, hsize_t chunk)
{
    hid_t dataset = make(file, name, chunk);
    row_t values[N], some[3] = {{10, "ten", 20, 0}, {11, "eleven", 21, 0}, {12, "twelve", 22, 0}};
    for (int i = 0; i < N; i++)
        values[i] = (row_t){1, "a fill value that is long enough to lie elsewhere", 2, 0};
    put(dataset, "a", 0, 3, some);
    for (int i = 0; i < 3; i++)
        values[i].a = some[i].a;
    expect(dataset, values);
    put(dataset, "n", 2, 3, some);
    for (int i = 0; i < 3; i++)
        values[2 + i].name = some[i].name;
    expect(dataset, values);
    /* The writes replace texts of the dataset, and those of the fill value. */
    put(dataset, "nb", 1, 3, some);
    for (int i = 0; i < 3; i++)
        values[1 + i].name = some[i].name, values[1 + i].b = some[i].b;
    expect(dataset, values);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    put(dataset, "anb", 0, 3, some);
    for (int i = 0; i < 3; i++)
        values[i] = some[i];
    expect(dataset, values);
    CHECK(H5Dclose(dataset) >= 0);
    /* The fill value itself is unchanged. */
    dataset = H5Dopen2(file, name, H5P_DEFAULT);
    expect(dataset, values);
    CHECK(strcmp(values[5].name, "a fill value that is long enough to lie elsewhere") == 0);
    CHECK(H5Dclose(dataset) >= 0);
}

static void read_beside(hid_t file)
{
    hid_t dataset = H5Dopen2(file, "plain", H5P_DEFAULT), a = row_type("a"), name = row_type("n"), all = row_type("anb");
    hid_t space = H5Dget_space(dataset);
    row_t back[N];
    for (int i = 0; i < N; i++)
        back[i] = (row_t){-1, NULL, -2, i + 0.5};
    CHECK(H5Dread(dataset, a, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
    CHECK(back[0].a == 10 && back[0].b == -2 && back[0].mine == 0.5 && back[0].name == NULL);
    CHECK(H5Dread(dataset, name, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
    CHECK(back[0].a == 10 && back[0].b == -2 && back[5].mine == 5.5 && strcmp(back[0].name, "ten") == 0);
    char *kept = back[0].name;
    back[0].a = -1;
    CHECK(H5Dread(dataset, a, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
    CHECK(back[0].name == kept && strcmp(kept, "ten") == 0 && back[0].a == 10 && back[5].mine == 5.5);
    CHECK(H5Dvlen_reclaim(name, space, H5P_DEFAULT, back) >= 0);
    CHECK(H5Tclose(a) >= 0 && H5Tclose(name) >= 0 && H5Tclose(all) >= 0 && H5Sclose(space) >= 0);
    CHECK(H5Dclose(dataset) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    written(file, "plain", 0);
    written(file, "chunked", 4);
    read_beside(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

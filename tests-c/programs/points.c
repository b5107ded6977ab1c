/* Selections of points: in any order, moved by an offset, and very many of them: points FILE. */
#include "check.h"

#define ROWS 1200
#define COLUMNS 1000

static int value_at(hsize_t row, hsize_t column) { return (int)(row * 1000 + column); }

/* Reads the selected elements, and compares them with the elements at those points. */
static void compare(hid_t set, hid_t space, const hsize_t *points, size_t count, int down, int right)
{
    hsize_t size = count;
    int *read = malloc(count * sizeof *read);
    hid_t memory = H5Screate_simple(1, &size, NULL);
    CHECK(read != NULL && H5Dread(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, read) >= 0);
    for (size_t n = 0; n < count; n++)
        CHECK(read[n] == value_at(points[2 * n] + (hsize_t)down, points[2 * n + 1] + (hsize_t)right));
    CHECK(H5Sclose(memory) >= 0);
    free(read);
}

static void few(hid_t set)
{
    hsize_t points[][2] = {{5, 7}, {5, 8}, {5, 9}, {900, 0}, {3, 999}, {5, 7}, {0, 0}, {1199, 999}};
    size_t count = sizeof points / sizeof *points;
    hid_t space = H5Dget_space(set);
    CHECK(H5Sselect_elements(space, H5S_SELECT_SET, count, points[0]) >= 0);
    compare(set, space, points[0], count, 0, 0);
    /* The first six points, moved. */
    hssize_t offsets[][2] = {{2, 0}, {-3, 0}, {299, 0}};
    for (int n = 0; n < 3; n++) {
        CHECK(H5Sselect_elements(space, H5S_SELECT_SET, 6, points[0]) >= 0);
        CHECK(H5Soffset_simple(space, offsets[n]) >= 0);
        compare(set, space, points[0], 6, (int)offsets[n][0], (int)offsets[n][1]);
    }
    hssize_t left[2] = {1, -7}, out[2] = {0, -8}, none[2] = {0, 0};
    hsize_t inner[][2] = {{4, 8}, {10, 7}, {11, 900}};
    CHECK(H5Sselect_elements(space, H5S_SELECT_SET, 3, inner[0]) >= 0 && H5Soffset_simple(space, left) >= 0);
    compare(set, space, inner[0], 3, 1, -7);
    CHECK(H5Soffset_simple(space, out) >= 0);
    int read[3];
    hid_t memory = H5Screate_simple(1, (hsize_t[]){3}, NULL);
    H5E_BEGIN_TRY
    {
        CHECK(H5Dread(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, read) < 0);
    }
    H5E_END_TRY
    CHECK(H5Soffset_simple(space, none) >= 0);
    compare(set, space, inner[0], 3, 0, 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

/* An element that is written twice has the last value. */
static void written(hid_t set)
{
    hsize_t points[][2] = {{7, 7}, {9, 9}, {7, 7}, {8, 8}};
    int values[] = {1, 2, 3, 4}, back[4];
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, (hsize_t[]){4}, NULL);
    CHECK(H5Sselect_elements(space, H5S_SELECT_SET, 4, points[0]) >= 0);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, values) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, back) >= 0);
    CHECK(back[0] == 3 && back[1] == 2 && back[2] == 3 && back[3] == 4);
    for (int n = 0; n < 4; n++)
        values[n] = value_at(points[n][0], points[n][1]);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, values) >= 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0);
}

/* Selects enough points that they go through HDF5's iterator. */
static void many(hid_t set)
{
    size_t count = 700000;
    hsize_t *points = malloc(count * 2 * sizeof *points);
    CHECK(points != NULL);
    for (size_t n = 0; n < count; n++) {
        size_t at = n * 7919 % (ROWS * COLUMNS);
        points[2 * n] = at / COLUMNS;
        points[2 * n + 1] = at % COLUMNS;
    }
    hid_t space = H5Dget_space(set);
    CHECK(H5Sselect_elements(space, H5S_SELECT_SET, count, points) >= 0);
    compare(set, space, points, count, 0, 0);
    CHECK(H5Sselect_elements(space, H5S_SELECT_SET, count / 2, points) >= 0);
    compare(set, space, points, count / 2, 0, 0);
    CHECK(H5Sclose(space) >= 0);
    free(points);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t size[2] = {ROWS, COLUMNS}, chunk[2] = {100, 64};
    int *values = malloc(ROWS * COLUMNS * sizeof *values);
    CHECK(values != NULL);
    for (hsize_t row = 0; row < ROWS; row++)
        for (hsize_t column = 0; column < COLUMNS; column++)
            values[row * COLUMNS + column] = value_at(row, column);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, size, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 2, chunk) >= 0);
    for (int chunked = 0; chunked < 2; chunked++) {
        hid_t set = H5Dcreate2(file, chunked ? "chunked" : "contiguous", H5T_NATIVE_INT, space, H5P_DEFAULT,
                               chunked ? list : H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        few(set);
        written(set);
        many(set);
        CHECK(H5Dclose(set) >= 0);
    }
    CHECK(H5Pclose(list) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    free(values);
    return 0;
}

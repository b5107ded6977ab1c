/* Elements on their way: conversions FILE writes and reads with data transforms (H5Pset_data_transform), then asks for
 * conversions that there are none of. Each of those is printed on stderr once. Transfer lists are asked what was done. */
#include "check.h"

enum { COUNT = 12 };

static hid_t transforming(const char *expression)
{
    hid_t list = H5Pcreate(H5P_DATASET_XFER);
    CHECK(list >= 0 && H5Pset_data_transform(list, expression) >= 0);
    return list;
}

static void transforms(hid_t file)
{
    hsize_t count = COUNT;
    int given[COUNT], found[COUNT];
    double wide[COUNT];
    for (int n = 0; n < COUNT; n++)
        given[n] = n + 1;
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t set = H5Dcreate2(file, "transformed", H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t list = transforming("2*x + 1"), square = transforming("(x*x - 1) / 2.5"), constant = transforming("7");
    /* On the way in, before the conversion; what the program gave stays as it was. */
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, list, given) >= 0 && given[3] == 4);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(found[n] == 2 * (n + 1) + 1);
    /* On the way out, after the conversion. */
    CHECK(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, square, wide) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(wide[n] == ((double)found[n] * found[n] - 1) / 2.5);
    /* Of some elements, in every second place of memory. */
    hsize_t start[1] = {1}, two[1] = {2}, few[1] = {4}, long_[1] = {COUNT};
    hid_t every = H5Screate_simple(1, long_, NULL), some = H5Screate_simple(1, long_, NULL);
    CHECK(H5Sselect_hyperslab(every, H5S_SELECT_SET, start, two, few, NULL) >= 0);
    CHECK(H5Sselect_hyperslab(some, H5S_SELECT_SET, start, NULL, few, NULL) >= 0);
    memset(found, 0, sizeof found);
    CHECK(H5Dread(set, H5T_NATIVE_INT, every, some, list, found) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(found[n] == (n % 2 && n < 9 ? 2 * (2 * (n / 2 + 2) + 1) + 1 : 0));
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, every, some, constant, given) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(found[n] == (n >= 1 && n < 5 ? 7 : 2 * (n + 1) + 1));
    CHECK(H5Sclose(every) >= 0 && H5Sclose(some) >= 0 && H5Pclose(list) >= 0 && H5Pclose(square) >= 0);
    CHECK(H5Pclose(constant) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
}

/* Selections that were not handed to the driver, and what was done instead. */
static void reports(hid_t file)
{
#if H5_VERSION_GE(1, 14, 3)
    hsize_t count = COUNT;
    int data[COUNT] = {0};
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_XFER);
    hid_t set = H5Dcreate2(file, "reported", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    uint32_t cause = 0, mode = 0;
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, list, data) >= 0);
    CHECK(H5Pget_no_selection_io_cause(list, &cause) >= 0 && cause == H5D_SEL_IO_DEFAULT_OFF);
    CHECK(H5Pset_selection_io(list, H5D_SELECTION_IO_MODE_OFF) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, list, data) >= 0);
    CHECK(H5Pget_no_selection_io_cause(list, &cause) >= 0 && cause == H5D_SEL_IO_DISABLE_BY_API);
    /* Native HDF5 may have the elements in a buffer, and then reads nothing. */
    CHECK(H5Pget_actual_selection_io_mode(list, &mode) >= 0 && (mode & ~H5D_SCALAR_IO) == 0);
    CHECK(H5Pclose(list) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
#else
    (void)file;
#endif
}

static void impossible(hid_t file)
{
    hsize_t count = COUNT;
    int data[COUNT] = {0};
    char texts[COUNT][8] = {{0}};
    hid_t space = H5Screate_simple(1, &count, NULL), text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, 8) >= 0);
    hid_t set = H5Dcreate2(file, "numbers", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "number", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, data) >= 0);
    CHECK(H5Dwrite(set, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) < 0);
    CHECK(H5Dread(set, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) < 0);
    CHECK(H5Awrite(attribute, text, texts) < 0);
    CHECK(H5Aread(attribute, text, texts) < 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Tclose(text) >= 0 && H5Sclose(space) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    transforms(file);
    reports(file);
    impossible(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

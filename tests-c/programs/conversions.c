/* Conversions of elements: conversions FILE writes and reads with data transforms (H5Pset_data_transform), then
 * requests type conversions that do not exist. Each missing conversion is reported on stderr only once. Transfer lists
 * then show what was done. */
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
    /* On a write the transform runs before the conversion; the program's buffer stays unchanged. */
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, list, given) >= 0 && given[3] == 4);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(found[n] == 2 * (n + 1) + 1);
    /* On a read the transform runs after the conversion. */
    CHECK(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, square, wide) >= 0);
    for (int n = 0; n < COUNT; n++)
        CHECK(wide[n] == ((double)found[n] * found[n] - 1) / 2.5);
    /* The selection has some elements, at every second position in memory. */
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

/* Selections that were not passed to the file driver, and the operations that replaced them. */
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
    /* Native HDF5 may have the elements in a buffer, and then does not read. */
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
    /* The conversion is missing for an empty selection too. */
    hid_t none = H5Scopy(space);
    CHECK(H5Sselect_none(none) >= 0);
    CHECK(H5Dwrite(set, text, none, none, H5P_DEFAULT, texts) < 0);
    CHECK(H5Dread(set, text, none, none, H5P_DEFAULT, texts) < 0);
    CHECK(H5Dwrite(set, H5T_NATIVE_SHORT, none, none, H5P_DEFAULT, data) >= 0 && H5Sclose(none) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Tclose(text) >= 0 && H5Sclose(space) >= 0);
}

/* The program's own conversions use the background that they requested: the low byte comes from the source, the next
 * byte from the old value of the destination. */
static H5T_bkg_t asked;

static herr_t low_bytes(hid_t source, hid_t destination, H5T_cdata_t *known, size_t count, size_t stride, size_t other,
                        void *elements, void *background, hid_t list)
{
    (void)stride, (void)other, (void)list;
    unsigned *found = elements, *before = background;
    if (known->command == H5T_CONV_INIT) {
        known->need_bkg = asked;
        return H5Tget_size(source) == 4 && H5Tget_size(destination) == 4 ? 0 : -1;
    }
    if (known->command == H5T_CONV_CONV)
        for (size_t n = 0; n < count; n++) {
            CHECK(before != NULL);
            unsigned kept = asked == H5T_BKG_YES ? before[n] & 0xff00 : 0;
            before[n] = 0;
            found[n] = (found[n] & 0xff) | kept;
        }
    return 0;
}

static void registered(hid_t file, const char *name, H5T_bkg_t background)
{
    asked = background;
    hsize_t count = 4;
    unsigned stored[4] = {0x1101, 0x2202, 0x3303, 0x4404}, given[4] = {0x9911, 0x9922, 0x9933, 0x9944};
    unsigned high = background == H5T_BKG_YES ? 0xff00 : 0, found[4];
    hid_t space = H5Screate_simple(1, &count, NULL), opaque = H5Tcreate(H5T_OPAQUE, 4);
    CHECK(H5Tset_tag(opaque, name) >= 0);
    CHECK(H5Tregister(H5T_PERS_SOFT, "in", H5T_NATIVE_UINT, opaque, low_bytes) >= 0);
    CHECK(H5Tregister(H5T_PERS_SOFT, "out", opaque, H5T_NATIVE_UINT, low_bytes) >= 0);
    hid_t set = H5Dcreate2(file, name, opaque, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "attribute", opaque, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, opaque, H5S_ALL, H5S_ALL, H5P_DEFAULT, stored) >= 0 && H5Awrite(attribute, opaque, stored) >= 0);
    CHECK(H5Dwrite(set, H5T_NATIVE_UINT, H5S_ALL, H5S_ALL, H5P_DEFAULT, given) >= 0);
    CHECK(H5Dread(set, opaque, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (int n = 0; n < 4; n++)
        CHECK(found[n] == ((given[n] & 0xff) | (stored[n] & high)));
    for (int n = 0; n < 4; n++)
        found[n] = 0x5500;
    CHECK(H5Dread(set, H5T_NATIVE_UINT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    for (int n = 0; n < 4; n++)
        CHECK(found[n] == ((given[n] & 0xff) | (0x5500 & high)));
    /* Native HDF5 does not use the old value of an attribute as background (H5A__write). */
    CHECK(H5Awrite(attribute, H5T_NATIVE_UINT, given) >= 0 && H5Aread(attribute, H5T_NATIVE_UINT, found) >= 0);
    CHECK((found[3] & 0xff) == 0x44);
    CHECK(H5Tunregister(H5T_PERS_SOFT, "in", -1, -1, low_bytes) >= 0);
    CHECK(H5Tunregister(H5T_PERS_SOFT, "out", -1, -1, low_bytes) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Tclose(opaque) >= 0 && H5Sclose(space) >= 0);
}

/* The callback for elements that cannot be converted gets the types of members. */
static H5T_conv_ret_t seven(H5T_conv_except_t what, hid_t source, hid_t destination, void *from, void *to, void *calls)
{
    (void)what, (void)source, (void)from;
    ++*(int *)calls;
    CHECK(H5Tget_size(destination) == 1);
    memset(to, 7, H5Tget_size(destination));
    return H5T_CONV_HANDLED;
}

static void exceptions(hid_t file)
{
    hsize_t count = 2;
    int given[2] = {-1, 5}, calls = 0;
    unsigned char found[2];
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_XFER);
    hid_t stored = H5Tcreate(H5T_COMPOUND, 1), wide = H5Tcreate(H5T_COMPOUND, sizeof(int));
    CHECK(H5Tinsert(stored, "n", 0, H5T_STD_U8LE) >= 0 && H5Tinsert(wide, "n", 0, H5T_NATIVE_INT) >= 0);
    CHECK(H5Pset_type_conv_cb(list, seven, &calls) >= 0);
    hid_t set = H5Dcreate2(file, "exceptions", stored, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, wide, H5S_ALL, H5S_ALL, list, given) >= 0);
    CHECK(H5Dread(set, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    CHECK(calls == 1 && found[0] == 7 && found[1] == 5);
    CHECK(H5Dclose(set) >= 0 && H5Tclose(stored) >= 0 && H5Tclose(wide) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    transforms(file);
    reports(file);
    exceptions(file);
    registered(file, "existing", H5T_BKG_YES);
    registered(file, "temporary", H5T_BKG_TEMP);
    impossible(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

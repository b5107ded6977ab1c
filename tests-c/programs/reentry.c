/* Calls from within functions that HDF5 calls, and after main has returned.
 *     reentry FILE [ours]  writes the file, the last part of it in an exit handler; with "ours" also makes calls that
 *                          hang or crash native HDF5
 *     reentry FILE read    reads the data that the exit handler wrote */
#include "check.h"

#define OURS 301
#define CHUNKS 8

static const char *path;
static hid_t filtered_file = -1, other = -1, text_file = -1;
static int reentered, refused;

static size_t filter(unsigned flags, size_t count, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    (void)flags, (void)count, (void)values, (void)room, (void)buffer;
    if (filtered_file >= 0) {
        int value = 1;
        H5E_BEGIN_TRY
        refused += H5Fflush(filtered_file, H5F_SCOPE_GLOBAL) < 0;
        refused += H5Dwrite(other, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0;
        refused += H5Lmove(filtered_file, "other", filtered_file, "moved", H5P_DEFAULT, H5P_DEFAULT) < 0;
        refused += H5Lcopy(filtered_file, "other", filtered_file, "linked", H5P_DEFAULT, H5P_DEFAULT) < 0;
        refused += H5Lcreate_hard(filtered_file, "other", filtered_file, "hard", H5P_DEFAULT, H5P_DEFAULT) < 0;
        refused += H5Lcreate_soft("other", filtered_file, "soft", H5P_DEFAULT, H5P_DEFAULT) < 0;
        refused += H5Ldelete(filtered_file, "other", H5P_DEFAULT) < 0;
        refused += H5Ocopy(filtered_file, "other", filtered_file, "copied", H5P_DEFAULT, H5P_DEFAULT) < 0;
        refused += H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT) < 0;
        H5E_END_TRY
        reentered++;
    }
    return bytes;
}

static const H5Z_class2_t class = {H5Z_CLASS_T_VERS, OURS, 1, 1, "reenters", NULL, NULL, filter};

static hid_t chunked(hid_t file, const char *name, int number)
{
    hsize_t size = CHUNKS * 10, chunk = 10;
    int values[CHUNKS * 10];
    for (int n = 0; n < CHUNKS * 10; n++)
        values[n] = n;
    hid_t space = H5Screate_simple(1, &size, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(create, 1, &chunk) >= 0);
    if (number)
        CHECK(H5Pset_filter(create, number, 0, 0, NULL) >= 0);
    hid_t dataset = H5Dcreate2(file, name, H5T_NATIVE_INT, space, H5P_DEFAULT, create, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Pclose(create) >= 0);
    return dataset;
}

typedef struct {
    hid_t file, dataset;
    int shown;
} open_t;

static int close_all(const hsize_t *offset, unsigned mask, haddr_t address, hsize_t size, void *data)
{
    open_t *open = data;
    CHECK(offset[0] % 10 == 0 && mask == 0 && address != 0 && size == 40);
    if (open->shown++ == 0)
        CHECK(H5Dclose(open->dataset) >= 0 && H5Fclose(open->file) >= 0);
    return 0;
}

/* The callback of a chunk iteration closes the dataset, and then its file. */
static void close_while_iterating(void)
{
    open_t open = {H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), -1, 0};
    open.dataset = H5Dopen2(open.file, "chunks", H5P_DEFAULT);
    CHECK(H5Dchunk_iter(open.dataset, H5P_DEFAULT, close_all, &open) >= 0);
    CHECK(open.shown == CHUNKS && H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
}

static herr_t close_group(hid_t group, const char *name, const H5L_info2_t *info, void *data)
{
    (void)group, (void)name, (void)info;
    hid_t *open = data;
    if (*open >= 0)
        CHECK(H5Gclose(*open) >= 0);
    *open = -1;
    return 0;
}

static herr_t close_object(hid_t object, const char *name, const H5O_info2_t *info, void *data)
{
    (void)info;
    return close_group(object, name, NULL, data);
}

static herr_t close_owner(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    return close_group(object, name, NULL, data);
}

static void close_while_visiting(void)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), scalar = H5Screate(H5S_SCALAR);
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int n = 0; n < 3; n++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", n);
        CHECK(H5Aclose(H5Acreate2(group, name, H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
        CHECK(H5Gclose(H5Gcreate2(group, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    }
    CHECK(H5Literate2(group, H5_INDEX_NAME, H5_ITER_INC, NULL, close_group, &group) >= 0 && group < 0);
    group = H5Gopen2(file, "group", H5P_DEFAULT);
    CHECK(H5Lvisit2(group, H5_INDEX_NAME, H5_ITER_INC, close_group, &group) >= 0 && group < 0);
    group = H5Gopen2(file, "group", H5P_DEFAULT);
    CHECK(H5Ovisit3(group, H5_INDEX_NAME, H5_ITER_INC, close_object, &group, H5O_INFO_BASIC) >= 0 && group < 0);
    group = H5Gopen2(file, "group", H5P_DEFAULT);
    CHECK(H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, NULL, close_owner, &group) >= 0 && group < 0);
    CHECK(H5Sclose(scalar) >= 0 && H5Fclose(file) >= 0);
}

/* The buffer is too short for a link's value. */
static void short_value(void)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    char value[8] = "#######";
    CHECK(H5Lcreate_soft("/a/long/path", file, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Lget_val(file, "soft", value, 5, H5P_DEFAULT) >= 0 && memcmp(value, "/a/l\0##", 7) == 0);
    CHECK(H5Lget_val(file, "soft", value, 0, H5P_DEFAULT) >= 0 && memcmp(value, "/a/l\0##", 7) == 0);
    CHECK(H5Fclose(file) >= 0);
}

/* Filters get no open objects of the program, and must not use the file of the chunk that they process. */
static void reenter(int is_ours)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), scalar = H5Screate(H5S_SCALAR);
    CHECK(H5Zregister(&class) >= 0);
    hid_t dataset = chunked(file, "filtered", OURS);
    CHECK(H5Dflush(dataset) >= 0 && H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_DATATYPE) == 0);
    if (is_ours) {
        other = H5Dcreate2(file, "other", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Dclose(dataset) >= 0);
        dataset = chunked(file, "reentered", OURS);
        filtered_file = file;
        CHECK(H5Dflush(dataset) >= 0 && reentered >= CHUNKS && refused == 9 * reentered);
        CHECK(H5Lexists(file, "other", H5P_DEFAULT) > 0 && H5Lexists(file, "copied", H5P_DEFAULT) == 0);
        filtered_file = -1;
        CHECK(H5Dclose(other) >= 0);
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Sclose(scalar) >= 0 && H5Fclose(file) >= 0);
}

/* Strings in a compound go through libhdf5's conversion. */
typedef struct {
    char *text;
    int number;
} row_t;

static hid_t row_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1), row = H5Tcreate(H5T_COMPOUND, sizeof(row_t));
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    CHECK(H5Tinsert(row, "text", HOFFSET(row_t, text), text) >= 0);
    CHECK(H5Tinsert(row, "number", HOFFSET(row_t, number), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tclose(text) >= 0);
    return row;
}

static void write_late(void)
{
    row_t row = {"written late", 5};
    hid_t type = row_type(), scalar = H5Screate(H5S_SCALAR);
    if (text_file < 0)
        text_file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t set = H5Dcreate2(text_file, "late", type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "value", type, scalar, H5P_DEFAULT, H5P_DEFAULT);
    if (set < 0 || attribute < 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &row) < 0 ||
        H5Awrite(attribute, type, &row) < 0 || H5Aclose(attribute) < 0 || H5Dclose(set) < 0 || H5Fclose(text_file) < 0)
        _Exit(3);
}

static void read_late(void)
{
    row_t row = {NULL, 0};
    hid_t type = row_type(), scalar = H5Screate(H5S_SCALAR), file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set = H5Dopen2(file, "late", H5P_DEFAULT), attribute = H5Aopen(set, "value", H5P_DEFAULT);
    CHECK(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &row) >= 0);
    CHECK(strcmp(row.text, "written late") == 0 && row.number == 5 && H5Treclaim(type, scalar, H5P_DEFAULT, &row) >= 0);
    CHECK(H5Aread(attribute, type, &row) >= 0 && strcmp(row.text, "written late") == 0);
    CHECK(H5Treclaim(type, scalar, H5P_DEFAULT, &row) >= 0 && H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Sclose(scalar) >= 0 && H5Fclose(file) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    path = argv[1];
    if (argc > 2 && strcmp(argv[2], "read") == 0) {
        read_late();
        return 0;
    }
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dclose(chunked(file, "chunks", 0)) >= 0 && H5Fclose(file) >= 0);
    if (argc > 2)
        close_while_iterating();
    close_while_visiting();
    short_value();
    reenter(argc > 2);
    /* The handler runs before the library shuts down, while a file is open. */
    text_file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(text_file >= 0 && atexit(write_late) == 0);
    return 0;
}

/* Native code iterates over the objects of containers before any native object was made for them: natives FILE NATIVE. */
#include "check.h"

static const char *ours_name, *native_name;
static hid_t natively;

static int in_list(const hid_t *list, ssize_t count, hid_t wanted)
{
    int found = 0;
    for (ssize_t i = 0; i < count; i++)
        found += list[i] == wanted;
    return found;
}

static hid_t container(const char *suffix, unsigned flags)
{
    char name[4096];
    snprintf(name, sizeof name, "%s%s", ours_name, suffix);
    return flags == H5F_ACC_TRUNC ? H5Fcreate(name, flags, H5P_DEFAULT, H5P_DEFAULT) : H5Fopen(name, flags, H5P_DEFAULT);
}

/* Creates a file with a group, a dataset that has an attribute, and a committed type. */
static void make(const char *suffix)
{
    int value = 5;
    hid_t file = container(suffix, H5F_ACC_TRUNC), scalar = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_STD_I16BE);
    hid_t set = H5Dcreate2(file, "set", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "a", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0 && H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0);
    CHECK(H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK(H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0 && H5Tclose(type) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Sclose(scalar) >= 0 && H5Fclose(file) >= 0);
}

/* The open objects of a file: the file, a group, a dataset, an attribute. */
enum { FILE_ID, GROUP, SET, ATTRIBUTE, KINDS };

static void open_all(const char *suffix, hid_t ids[KINDS])
{
    CHECK((ids[FILE_ID] = container(suffix, H5F_ACC_RDWR)) >= 0);
    CHECK((ids[GROUP] = H5Gopen2(ids[FILE_ID], "group", H5P_DEFAULT)) >= 0);
    CHECK((ids[SET] = H5Dopen2(ids[FILE_ID], "set", H5P_DEFAULT)) >= 0);
    CHECK((ids[ATTRIBUTE] = H5Aopen(ids[SET], "a", H5P_DEFAULT)) >= 0);
}

static void close_all(const hid_t ids[KINDS])
{
    CHECK(H5Aclose(ids[ATTRIBUTE]) >= 0 && H5Dclose(ids[SET]) >= 0 && H5Gclose(ids[GROUP]) >= 0 && H5Fclose(ids[FILE_ID]) >= 0);
}

/* Creates a native file with a dataset in it; with `handed_through` it is opened through h5lake, which passes its calls
 * to native HDF5. */
static hid_t native_file(int handed_through)
{
    hid_t file = H5Fcreate(native_name, H5F_ACC_TRUNC, H5P_DEFAULT, natively), scalar = H5Screate(H5S_SCALAR);
    CHECK(file >= 0);
    if (handed_through)
        CHECK(H5Fclose(file) >= 0 && (file = H5Fopen(native_name, H5F_ACC_RDWR, H5P_DEFAULT)) >= 0);
    hid_t set = H5Dcreate2(file, "set", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dclose(set) >= 0 && H5Sclose(scalar) >= 0);
    return file;
}

/* Finds the file of an object among all open files. */
static void files(void)
{
    hid_t one[KINDS], other[KINDS], file;
    hid_t native = native_file(1);
    open_all("", one);
    open_all(".other", other);
    for (int kind = 0; kind < KINDS; kind++) {
        CHECK(H5Iget_file_id(other[kind]) == other[FILE_ID] && H5Idec_ref(other[FILE_ID]) == 1);
        CHECK(H5Iget_file_id(one[kind]) == one[FILE_ID] && H5Idec_ref(one[FILE_ID]) == 1);
    }
    CHECK(H5Fclose(one[FILE_ID]) >= 0);
    CHECK((file = H5Iget_file_id(one[SET])) >= 0 && file != other[FILE_ID] && file != native);
    CHECK(H5Fget_obj_count(file, H5F_OBJ_ALL) == 4 && H5Fget_obj_count(other[FILE_ID], H5F_OBJ_ALL) == 4);
    one[FILE_ID] = file;
    close_all(one);
    close_all(other);
    CHECK(H5Fget_obj_count(native, H5F_OBJ_ALL) == 1 && H5Fclose(native) >= 0);
}

/* Identifiers are listed for the whole file or for one open of it, of the requested kinds. */
static void listed(void)
{
    hid_t one[KINDS], other[KINDS], again[KINDS], list[16], type;
    open_all("", one);
    open_all("", again);
    open_all(".other", other);
    CHECK((type = H5Topen2(one[FILE_ID], "type", H5P_DEFAULT)) >= 0);
    CHECK(H5Fget_obj_count(one[FILE_ID], H5F_OBJ_ALL) == 9 && H5Fget_obj_count(other[FILE_ID], H5F_OBJ_ALL) == 4);
    CHECK(H5Fget_obj_count(one[FILE_ID], H5F_OBJ_ALL | H5F_OBJ_LOCAL) == 5);
    CHECK(H5Fget_obj_count(again[FILE_ID], H5F_OBJ_ALL | H5F_OBJ_LOCAL) == 4);
    CHECK(H5Fget_obj_ids(one[FILE_ID], H5F_OBJ_ALL | H5F_OBJ_LOCAL, 16, list) == 5);
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(in_list(list, 5, one[kind]) == 1);
    CHECK(in_list(list, 5, type) == 1);
    CHECK(H5Fget_obj_ids(one[FILE_ID], H5F_OBJ_DATASET | H5F_OBJ_ATTR, 16, list) == 4);
    CHECK(in_list(list, 4, one[SET]) && in_list(list, 4, again[SET]) && in_list(list, 4, one[ATTRIBUTE]) && in_list(list, 4, again[ATTRIBUTE]));
    CHECK(H5Fget_obj_ids(one[FILE_ID], H5F_OBJ_ALL, 3, list) == 3 && H5Tclose(type) >= 0);
    /* Native code counts over all files, and unwraps each object. */
    CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_FILE | H5F_OBJ_DATASET | H5F_OBJ_GROUP | H5F_OBJ_ATTR) == 12);
    close_all(one);
    close_all(again);
    close_all(other);
}

/* A native file that closes inspects all open identifiers. */
static void walked_over(int handed_through)
{
    hid_t one[KINDS], native = native_file(handed_through), type;
    open_all("", one);
    CHECK((type = H5Topen2(one[FILE_ID], "type", H5P_DEFAULT)) >= 0);
    CHECK(H5Fflush(native, H5F_SCOPE_GLOBAL) >= 0 && H5Fget_obj_count(native, H5F_OBJ_ALL) == 1 && H5Fclose(native) >= 0);
    CHECK(H5Fget_obj_count(one[FILE_ID], H5F_OBJ_ALL) == 5 && H5Tclose(type) >= 0);
    close_all(one);
}

/* The last close also closes the mounted files: a native file is closed while a container still has an identifier. */
static void last_of_all(void)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    hid_t one[KINDS], child = container(".other", H5F_ACC_RDWR);
    open_all("", one);
    CHECK(H5Fget_mdc_config(child, &config) >= 0 && H5Fmount(one[FILE_ID], "group", child, H5P_DEFAULT) >= 0);
    CHECK(H5Fclose(child) >= 0 && H5Fclose(one[FILE_ID]) >= 0 && H5Gclose(one[GROUP]) >= 0 && H5Aclose(one[ATTRIBUTE]) >= 0);
    CHECK(H5Dclose(one[SET]) >= 0);
}

/* Objects that are open at the end are closed together with the open native files: one native file is closed with its
 * dataset, while a container is open. */
static void left_open(int handed_through)
{
    int value = 8;
    hid_t one[KINDS], native = native_file(handed_through);
    CHECK(H5Dopen2(native, "set", H5P_DEFAULT) >= 0 && H5Fclose(native) >= 0);
    open_all("", one);
    CHECK(H5Dwrite(one[SET], H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0 && H5close() >= 0);
    value = 0;
    open_all("", one);
    CHECK(H5Dread(one[SET], H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0 && value == 8);
    close_all(one);
    CHECK((native = H5Fopen(native_name, H5F_ACC_RDONLY, H5P_DEFAULT)) >= 0 && H5Fclose(native) >= 0 && H5close() >= 0);
}

/* Only the file has a native object beneath. This object is closed with the dataset, which has no native object. */
static void left_half_asked(void)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    hid_t one[KINDS];
    open_all("", one);
    CHECK(H5Fget_mdc_config(one[FILE_ID], &config) >= 0 && H5Aclose(one[ATTRIBUTE]) >= 0);
    CHECK(H5Gclose(one[GROUP]) >= 0 && H5Fclose(one[FILE_ID]) >= 0 && H5close() >= 0);
}

static void begin(void)
{
    hid_t connector = H5VLget_connector_id_by_name("native");
    CHECK(connector >= 0 && (natively = H5Pcreate(H5P_FILE_ACCESS)) >= 0);
    CHECK(H5Pset_vol(natively, connector, NULL) >= 0 && H5VLclose(connector) >= 0);
    make("");
    make(".other");
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    ours_name = argv[1], native_name = argv[2];
    for (int turn = 0; turn < 2; turn++) {
        /* The library has no native objects in the first turn, and has some in the second turn. */
        begin();
        left_open(turn);
        begin();
        left_half_asked();
        begin();
        for (int again = 0; again < 2; again++) {
            last_of_all();
            walked_over(turn);
            files();
            listed();
            walked_over(!turn);
        }
        left_open(turn);
    }
    return 0;
}

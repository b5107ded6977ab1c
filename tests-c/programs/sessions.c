/* One open of a file leaves no state to later opens in the same process: sessions FILE. */
#include "check.h"

#define ROUNDS 40

static hid_t reopened(const char *name)
{
    hid_t file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(file >= 0 && H5Fget_obj_count(file, H5F_OBJ_ALL) == 1);
    return file;
}

/* Region references are positions in the heap of the open file: each open has a heap of its own. */
static void regions(const char *name, hsize_t round)
{
    hsize_t dims[1] = {round + 2}, start[1] = {round}, count[1] = {2}, low[1], high[1];
    hid_t file = reopened(name), space = H5Screate_simple(1, dims, NULL), scalar = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, "set", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t refs = H5Dcreate2(file, "refs", H5T_STD_REF_DSETREG, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hdset_reg_ref_t reference;
    CHECK(set >= 0 && refs >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Rcreate(&reference, file, "set", H5R_DATASET_REGION, space) >= 0);
    CHECK(H5Dwrite(refs, H5T_STD_REF_DSETREG, H5S_ALL, H5S_ALL, H5P_DEFAULT, &reference) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Dclose(refs) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);

    file = reopened(name);
    memset(&reference, 0, sizeof reference);
    CHECK((refs = H5Dopen2(file, "refs", H5P_DEFAULT)) >= 0);
    CHECK(H5Dread(refs, H5T_STD_REF_DSETREG, H5S_ALL, H5S_ALL, H5P_DEFAULT, &reference) >= 0);
    CHECK((space = H5Rget_region(refs, H5R_DATASET_REGION, &reference)) >= 0);
    CHECK(H5Sget_select_bounds(space, low, high) >= 0 && low[0] == round && high[0] == round + 1);
    CHECK(H5Sget_simple_extent_npoints(space) == (hssize_t)round + 2);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(scalar) >= 0 && H5Dclose(refs) >= 0);
    CHECK(H5Ldelete(file, "set", H5P_DEFAULT) >= 0 && H5Ldelete(file, "refs", H5P_DEFAULT) >= 0);
    CHECK(H5Fclose(file) >= 0);
}

/* Settings of the cache belong to one open. */
static void settings(const char *name)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    hid_t file = reopened(name);
    CHECK(H5Fget_mdc_config(file, &config) >= 0 && config.initial_size != 3 << 20);
    config.set_initial_size = 1;
    config.initial_size = 3 << 20;
    config.max_size = 32 << 20;
    CHECK(H5Fset_mdc_config(file, &config) >= 0 && H5Fclose(file) >= 0);
    file = reopened(name);
    CHECK(H5Fget_mdc_config(file, &config) >= 0 && config.initial_size != 3 << 20 && H5Fclose(file) >= 0);
}

/* Committed types, and objects of every kind. */
static void objects(const char *name, int round)
{
    char text[32];
    hid_t file = reopened(name), type = H5Tcopy(H5T_C_S1), scalar = H5Screate(H5S_SCALAR), set, group, attribute;
    CHECK(type >= 0 && H5Tset_size(type, (size_t)round + 1) >= 0);
    snprintf(text, sizeof text, "type%d", round);
    CHECK(H5Tcommit2(file, text, type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    snprintf(text, sizeof text, "set%d", round);
    CHECK((set = H5Dcreate2(file, text, type, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK((attribute = H5Acreate2(set, "a", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &round) >= 0);
    CHECK((group = H5Gopen2(file, "/", H5P_DEFAULT)) >= 0);
    CHECK(H5Fget_obj_count(file, H5F_OBJ_ALL) == 5);
    /* The file closes with the last of its objects. */
    CHECK(H5Fclose(file) >= 0 && H5Gclose(group) >= 0 && H5Aclose(attribute) >= 0 && H5Tclose(type) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(scalar) >= 0);
}

static void kept(const char *name)
{
    char text[32];
    hid_t file = reopened(name);
    for (int round = 0; round < ROUNDS; round++) {
        int value = -1;
        snprintf(text, sizeof text, "set%d", round);
        hid_t attribute = H5Aopen_by_name(file, text, "a", H5P_DEFAULT, H5P_DEFAULT);
        CHECK(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT, &value) >= 0 && value == round);
        CHECK(H5Aclose(attribute) >= 0);
        hid_t set = H5Dopen2(file, text, H5P_DEFAULT), type = H5Dget_type(set);
        CHECK(H5Tcommitted(type) > 0 && H5Tget_size(type) == (size_t)round + 1);
        CHECK(H5Tclose(type) >= 0 && H5Dclose(set) >= 0);
    }
    CHECK(H5Fclose(file) >= 0);
}

/* Opens several files at once, more than are cached. */
static void several(const char *name)
{
    char text[4096];
    hid_t files[9];
    for (int n = 0; n < 9; n++) {
        snprintf(text, sizeof text, "%s.%d", name, n);
        CHECK((files[n] = H5Fcreate(text, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
        CHECK(H5Gclose(H5Gcreate2(files[n], text + strlen(text) - 1, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    }
    for (int n = 8; n >= 0; n--)
        CHECK(H5Fclose(files[n]) >= 0);
    for (int n = 0; n < 9; n++) {
        snprintf(text, sizeof text, "%s.%d", name, n);
        files[n] = reopened(text);
        CHECK(H5Lexists(files[n], text + strlen(text) - 1, H5P_DEFAULT) > 0);
    }
    for (int n = 0; n < 9; n++)
        CHECK(H5Fclose(files[n]) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    /* A library that was shut down starts again without cached state. */
    for (int life = 0; life < 2; life++) {
        CHECK(H5open() >= 0);
        hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(file >= 0 && H5Fclose(file) >= 0);
        for (int round = 0; round < ROUNDS; round++) {
            regions(argv[1], (hsize_t)round);
            objects(argv[1], round);
        }
        settings(argv[1]);
        kept(argv[1]);
        several(argv[1]);
        CHECK(H5close() >= 0);
    }
    return 0;
}

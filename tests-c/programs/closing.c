/* Objects that are open when their file closes: closing write|shut FILE, then closing read FILE. */
#include "check.h"

#define NAME "count"

static hid_t with_degree(H5F_close_degree_t degree)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(list >= 0 && H5Pset_fclose_degree(list, degree) >= 0);
    return list;
}

/* All opens of a file must have the same close degree. */
static void degrees(const char *name)
{
    hid_t weak = with_degree(H5F_CLOSE_WEAK), semi = with_degree(H5F_CLOSE_SEMI), strong = with_degree(H5F_CLOSE_STRONG);
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), same, list;
    H5F_close_degree_t degree;
    H5E_BEGIN_TRY
    {
        CHECK(H5Fopen(name, H5F_ACC_RDWR, semi) < 0);
        CHECK(H5Fopen(name, H5F_ACC_RDWR, strong) < 0);
    }
    H5E_END_TRY
    CHECK((same = H5Fopen(name, H5F_ACC_RDWR, weak)) >= 0);
    CHECK((list = H5Fget_access_plist(file)) >= 0 && H5Pget_fclose_degree(list, &degree) >= 0);
    CHECK(degree == H5F_CLOSE_WEAK);
    CHECK(H5Pclose(list) >= 0 && H5Fclose(same) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Pclose(weak) >= 0 && H5Pclose(semi) >= 0 && H5Pclose(strong) >= 0);
}

/* A close that fails frees neither the file nor its objects. */
static void refused(const char *name)
{
    hid_t semi = with_degree(H5F_CLOSE_SEMI), file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, semi);
    hid_t space = H5Screate(H5S_SCALAR), group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t set = H5Dcreate2(group, "set", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, NAME, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
    int value = 7, seen = 0;
    CHECK(file >= 0 && group >= 0 && set >= 0 && attribute >= 0);
    for (int turn = 0; turn < 3; turn++) {
        H5E_BEGIN_TRY
        {
            CHECK(H5Fclose(file) < 0);
        }
        H5E_END_TRY
        CHECK(H5Fget_obj_count(file, H5F_OBJ_ALL) == 4);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0);
        CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
    }
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Gclose(group) >= 0);
    CHECK(H5Fclose(file) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, semi)) >= 0);
    CHECK((set = H5Dopen2(file, "group/set", H5P_DEFAULT)) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &seen) >= 0 && seen == 7);
    CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0 && H5Sclose(space) >= 0 && H5Pclose(semi) >= 0);
}

/* Leaves one object of each kind open. */
static void leave(const char *name)
{
    hsize_t size = 4;
    int values[4] = {1, 2, 3, 4};
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &size, NULL), type = H5Tcopy(H5T_STD_I16BE);
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    const hid_t types[2] = {H5T_NATIVE_INT, type};
    for (int i = 0; i < 2; i++) {
        hid_t set = H5Dcreate2(group, i ? "typed" : "plain", types[i], space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        hid_t attribute = H5Acreate2(set, NAME, type, space, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Awrite(attribute, H5T_NATIVE_INT, values) >= 0);
    }
}

static void check(const char *name)
{
    int values[4] = {0};
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    for (int i = 0; i < 2; i++) {
        hid_t set = H5Dopen2(file, i ? "group/typed" : "group/plain", H5P_DEFAULT);
        hid_t attribute = H5Aopen(set, NAME, H5P_DEFAULT);
        CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        CHECK(values[0] == 1 && values[3] == 4);
        values[3] = 0;
        CHECK(H5Aread(attribute, H5T_NATIVE_INT, values) >= 0 && values[3] == 4);
        CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0);
    }
    CHECK(H5Fclose(file) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    if (strcmp(argv[1], "read") == 0) {
        check(argv[2]);
        return 0;
    }
    degrees(argv[2]);
    refused(argv[2]);
    leave(argv[2]);
    if (strcmp(argv[1], "shut") == 0) {
        CHECK(H5close() >= 0);
        check(argv[2]);
        leave(argv[2]);
        CHECK(H5close() >= 0);
    }
    return 0;
}

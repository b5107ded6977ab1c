/* A tour of the calls of an ordinary C program, which ends with a file that HDF5's tools can show.
 *     tour write FILE    creates the file
 *     tour read FILE     checks all of it, in another process */
#include "check.h"

static int stop_after;

static herr_t collect(hid_t group, const char *name, const H5L_info2_t *info, void *names)
{
    (void)group, (void)info;
    strcat(strcat(names, name), " ");
    return stop_after && --stop_after == 0 ? 7 : 0;
}

static herr_t collect_attribute(hid_t object, const char *name, const H5A_info_t *info, void *names)
{
    (void)object, (void)info;
    strcat(strcat(names, name), " ");
    return 0;
}

static void number(hid_t object, const char *name, int value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I32BE, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Sclose(space) >= 0);
}

static void write_datasets(hid_t file)
{
    hsize_t size[2] = {6, 5}, chunk[2] = {4, 2}, start[2] = {1, 0}, stride[2] = {2, 3}, count[2] = {3, 2};
    short data[30], fill = -3, some[6] = {100, 101, 102, 103, 104, 105};
    hsize_t six = 6;
    for (int i = 0; i < 30; i++)
        data[i] = (short)(i * i);
    hid_t space = H5Screate_simple(2, size, NULL), memory = H5Screate_simple(1, &six, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE);
    CHECK(H5Pset_create_intermediate_group(links, 1) >= 0);
    hid_t plain = H5Dcreate2(file, "data/plain", H5T_STD_I64BE, space, links, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(plain >= 0 && H5Dwrite(plain, H5T_NATIVE_SHORT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    CHECK(H5Pset_chunk(create, 2, chunk) >= 0 && H5Pset_fill_value(create, H5T_NATIVE_SHORT, &fill) >= 0);
    hid_t chunked = H5Dcreate2(file, "data/chunked", H5T_STD_I16LE, space, links, create, H5P_DEFAULT);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL) >= 0);
    CHECK(chunked >= 0 && H5Dwrite(chunked, H5T_NATIVE_SHORT, memory, space, H5P_DEFAULT, some) >= 0);
    number(chunked, "answer", 42);
    CHECK(H5Lcreate_hard(file, "data/plain", file, "second name", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Lcreate_soft("/data/chunked", file, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Oset_comment(plain, "of a dataset") >= 0 && H5Oset_comment(file, "of a file") >= 0);
    CHECK(H5Dclose(plain) >= 0 && H5Dclose(chunked) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    CHECK(H5Pclose(create) >= 0 && H5Pclose(links) >= 0);
}

static void write_file(const char *path)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), groups = H5Pcreate(H5P_GROUP_CREATE);
    CHECK(file >= 0 && H5Pset_link_creation_order(groups, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED) >= 0);
    hid_t group = H5Gcreate2(file, "ordered", H5P_DEFAULT, groups, H5P_DEFAULT);
    CHECK(group >= 0);
    for (const char *const *name = (const char *const[]){"z", "a", "m", "b", NULL}; *name; name++)
        CHECK(H5Gclose(H5Gcreate2(group, *name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    number(group, "one", 1), number(group, "two", 2);
    write_datasets(file);
    hid_t type = H5Tcreate(H5T_COMPOUND, 12);
    CHECK(H5Tinsert(type, "n", 0, H5T_STD_I32LE) >= 0 && H5Tinsert(type, "x", 4, H5T_IEEE_F64LE) >= 0);
    CHECK(H5Tcommit2(file, "record", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Fget_obj_count(file, H5F_OBJ_ALL) == 2);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    CHECK(H5Gclose(group) >= 0 && H5Pclose(groups) >= 0 && H5Fclose(file) >= 0);
}

static void iterate(hid_t file)
{
    char names[256] = "";
    hsize_t next = 0;
    hid_t group = H5Gopen2(file, "ordered", H5P_DEFAULT);
    CHECK(group >= 0 && H5Literate2(group, H5_INDEX_CRT_ORDER, H5_ITER_INC, NULL, collect, names) == 0);
    CHECK(strcmp(names, "z a m b ") == 0);
    *names = 0;
    CHECK(H5Literate2(group, H5_INDEX_NAME, H5_ITER_DEC, NULL, collect, names) == 0);
    CHECK(strcmp(names, "z m b a ") == 0);
    *names = 0, stop_after = 2;
    CHECK(H5Literate2(group, H5_INDEX_NAME, H5_ITER_INC, &next, collect, names) == 7 && next == 2);
    CHECK(strcmp(names, "a b ") == 0);
    CHECK(H5Literate2(group, H5_INDEX_NAME, H5_ITER_INC, &next, collect, names) == 0 && next == 4);
    CHECK(strcmp(names, "a b m z ") == 0);
    *names = 0, next = 0;
    CHECK(H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, &next, collect_attribute, names) == 0);
    CHECK(strcmp(names, "one two ") == 0 && H5Gclose(group) >= 0);
}

static void objects(hid_t file, const char *path)
{
    H5O_info2_t a, b;
    char name[512];
    unsigned intent = 99;
    hid_t dataset = H5Dopen2(file, "soft", H5P_DEFAULT), same = H5Oopen(file, "/data/chunked", H5P_DEFAULT);
    int equal = 0;
    CHECK(H5Fget_name(file, name, sizeof name) == (ssize_t)strlen(path) && strcmp(name, path) == 0);
    CHECK(H5Fget_intent(file, &intent) >= 0 && intent == H5F_ACC_RDONLY);
    CHECK(H5Fget_obj_count(file, H5F_OBJ_DATASET) == 2 && H5Fget_obj_count(file, H5F_OBJ_ALL) == 3);
    CHECK(H5Oget_info3(dataset, &a, H5O_INFO_ALL) >= 0 && H5Oget_info3(same, &b, H5O_INFO_ALL) >= 0);
    CHECK(H5Otoken_cmp(file, &a.token, &b.token, &equal) >= 0 && equal == 0);
    CHECK(a.type == H5O_TYPE_DATASET && a.rc == 1 && a.num_attrs == 1 && a.fileno == b.fileno);
    CHECK(H5Iget_name(same, name, sizeof name) > 0 && strcmp(name, "/data/chunked") == 0);
    CHECK(H5Oget_info_by_name3(file, "second name", &a, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 && a.rc == 2);
    hid_t by_token = H5Oopen_by_token(file, b.token);
    CHECK(by_token >= 0 && H5Iget_type(by_token) == H5I_DATASET && H5Dclose(by_token) >= 0);
    CHECK(H5Lexists(file, "soft", H5P_DEFAULT) > 0 && H5Lexists(file, "nothing", H5P_DEFAULT) == 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Oclose(same) >= 0);
}

static void values(hid_t file)
{
    int data[30];
    hid_t dataset = H5Dopen2(file, "second name", H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    for (int i = 0; i < 30; i++)
        CHECK(data[i] == i * i);
    CHECK(H5Dclose(dataset) >= 0);
    dataset = H5Dopen2(file, "soft", H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    for (int row = 0, next = 100; row < 6; row++)
        for (int column = 0; column < 5; column++)
            CHECK(data[row * 5 + column] == (row % 2 && column % 3 == 0 ? next++ : -3));
    CHECK(H5Dclose(dataset) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    if (strcmp(argv[1], "write") == 0) {
        write_file(argv[2]);
        return 0;
    }
    hid_t file = H5Fopen(argv[2], H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    iterate(file);
    objects(file, argv[2]);
    values(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

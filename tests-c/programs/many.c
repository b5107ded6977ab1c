/* Several datasets in one call, of different types and layouts: many FILE. */
#include "check.h"

#define COUNT 12

static hid_t dataset(hid_t file, const char *name, hid_t type, hid_t space, hid_t create)
{
    hid_t made = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    CHECK(made >= 0);
    return made;
}

static void some(hid_t virtual, hid_t external, hid_t space)
{
    hsize_t start = 1, stride = 3, count = 4;
    int four[4] = {0}, all[COUNT] = {0}, seven = 7;
    hid_t row = H5Screate_simple(1, &count, NULL), every_third = H5Scopy(space);
    CHECK(H5Sselect_hyperslab(every_third, H5S_SELECT_SET, &start, &stride, &count, NULL) >= 0);
    CHECK(H5Dread(virtual, H5T_NATIVE_INT, row, every_third, H5P_DEFAULT, four) >= 0);
    CHECK(four[0] == 1 && four[3] == 10);
    CHECK(H5Dread(external, H5T_NATIVE_INT, H5S_BLOCK, every_third, H5P_DEFAULT, four) >= 0);
    CHECK(four[0] == -1 && four[3] == -10);
    CHECK(H5Dread(virtual, H5T_NATIVE_INT, H5S_ALL, every_third, H5P_DEFAULT, all) >= 0);
    CHECK(all[0] == 0 && all[1] == 1 && all[4] == 4 && all[5] == 0);
    CHECK(H5Dfill(&seven, H5T_NATIVE_INT, all, H5T_NATIVE_INT, every_third) >= 0);
    CHECK(all[0] == 0 && all[1] == 7 && all[10] == 7);
    CHECK(H5Dgather(every_third, all, H5T_NATIVE_INT, sizeof four, four, NULL, NULL) >= 0 && four[3] == 7);
    CHECK(H5Sclose(row) >= 0 && H5Sclose(every_third) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t size = COUNT, chunk = 5;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    hid_t space = H5Screate_simple(1, &size, NULL);
    hid_t chunked = H5Pcreate(H5P_DATASET_CREATE), shown = H5Pcreate(H5P_DATASET_CREATE);
    hid_t outside = H5Pcreate(H5P_DATASET_CREATE), access = H5Pcreate(H5P_DATASET_ACCESS);
    CHECK(H5Pset_chunk(chunked, 1, &chunk) >= 0 && H5Pset_virtual(shown, space, ".", "plain", space) >= 0);
    CHECK(H5Pset_external(outside, "many.raw", 4, COUNT * sizeof(double)) >= 0);
    CHECK(H5Pset_efile_prefix(access, "${ORIGIN}") >= 0);
    hid_t sets[4] = {
        dataset(file, "plain", H5T_STD_I32LE, space, H5P_DEFAULT),
        dataset(file, "chunked", H5T_STD_I16BE, space, chunked),
        H5Dcreate2(file, "external", H5T_IEEE_F64LE, space, H5P_DEFAULT, outside, access),
        dataset(file, "virtual", H5T_STD_I64LE, space, shown),
    };
    CHECK(sets[2] >= 0);
    int given[3][COUNT], read[4][COUNT];
    for (int i = 0; i < COUNT; i++)
        given[0][i] = i, given[1][i] = 10 * i, given[2][i] = -i;
    hid_t types[4] = {H5T_NATIVE_INT, H5T_NATIVE_INT, H5T_NATIVE_INT, H5T_NATIVE_INT};
    hid_t all[4] = {H5S_ALL, H5S_ALL, H5S_ALL, H5S_ALL};
    const void *from[3] = {given[0], given[1], given[2]};
    void *into[4] = {read[0], read[1], read[2], read[3]};
    CHECK(H5Dwrite_multi(3, sets, types, all, all, H5P_DEFAULT, from) >= 0);
    CHECK(H5Dread_multi(4, sets, types, all, all, H5P_DEFAULT, into) >= 0);
    CHECK(memcmp(given, read, sizeof given) == 0 && memcmp(given[0], read[3], sizeof given[0]) == 0);
    some(sets[3], sets[2], space);
    /* Data that is written after the file was closed exists once the last object is closed. */
    CHECK(H5Dclose(sets[1]) >= 0 && H5Dclose(sets[2]) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Dwrite(sets[3], H5T_STD_I64LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, (int64_t[COUNT]){5, 6}) >= 0);
    CHECK(H5Dclose(sets[0]) >= 0 && H5Dclose(sets[3]) >= 0);
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    sets[0] = H5Dopen2(file, "virtual", H5P_DEFAULT);
    CHECK(H5Dread(sets[0], H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read[0]) >= 0);
    CHECK(read[0][0] == 5 && read[0][1] == 6 && read[0][2] == 0);
    CHECK(H5Dclose(sets[0]) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Pclose(chunked) >= 0 && H5Pclose(shown) >= 0 && H5Pclose(outside) >= 0 && H5Pclose(access) >= 0);
    return H5Sclose(space) >= 0 ? 0 : 1;
}

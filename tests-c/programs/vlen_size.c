/* The results of H5Dvlen_get_buf_size for sequences and strings, also for a virtual dataset that shows them: vlen_size
 * FILE. If libhdf5 does not know that a connector supports the query, it finds the size by reading; the program also
 * queries the connector directly. */
#include "check.h"

#define N 4

static hid_t text_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    return text;
}

static hid_t dataset(hid_t file, const char *name, hid_t type, hid_t space, hid_t list)
{
    hid_t made = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(made >= 0);
    return made;
}

/* Returns the size if both agree, or -1. */
static long size_of(hid_t set, hid_t type, hid_t space)
{
    hsize_t size = 1, asked = 2;
    H5VL_native_dataset_optional_args_t wanted;
    H5VL_optional_args_t arguments = {H5VL_NATIVE_DATASET_GET_VLEN_BUF_SIZE, &wanted};
    memset(&wanted, 0, sizeof wanted);
    wanted.get_vlen_buf_size.type_id = type;
    wanted.get_vlen_buf_size.space_id = space;
    wanted.get_vlen_buf_size.size = &asked;
    CHECK(H5Dvlen_get_buf_size(set, type, space, &size) >= 0);
    hid_t list = H5Pcreate(H5P_DATASET_XFER);
    CHECK(H5VLdataset_optional_op(set, &arguments, list, H5ES_NONE) >= 0 && H5Pclose(list) >= 0);
    return size == asked ? (long)size : -1;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t n = N, more = 2 * N, start = 1, stride = 2, count = 2, chunk = 3;
    int items[10] = {0};
    hvl_t numbers[N] = {{1, items}, {2, items}, {0, NULL}, {7, items}};
    const char *texts[N] = {"", "a", "four", "a text that is somewhat longer"};
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), chunked = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &n, NULL), larger = H5Screate_simple(1, &more, NULL), all = H5Scopy(space);
    hid_t sequence = H5Tvlen_create(H5T_NATIVE_INT), text = text_type(), wide = H5Tvlen_create(H5T_NATIVE_DOUBLE);
    CHECK(file >= 0 && H5Pset_chunk(chunked, 1, &chunk) >= 0);
    hid_t sets[2] = {dataset(file, "numbers", sequence, space, chunked), dataset(file, "texts", text, space, H5P_DEFAULT)};
    CHECK(H5Dwrite(sets[0], sequence, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    CHECK(H5Dwrite(sets[1], text, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) >= 0);
    hsize_t bytes[2] = {10 * sizeof(int), 1 + 2 + 5 + 31}, some[2] = {9 * sizeof(int), 2 + 31};
    hid_t types[2] = {sequence, text};
    const char *names[2] = {"numbers", "texts"}, *shown[2] = {"shown numbers", "shown texts"};
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, &stride, &count, NULL) >= 0);
    for (int i = 0; i < 2; i++) {
        CHECK(size_of(sets[i], types[i], all) == (long)bytes[i]);
        CHECK(size_of(sets[i], types[i], space) == (long)some[i]);
        /* The last elements of the virtual dataset, and the elements in front of them, belong to the source and to no
         * source. */
        hid_t list = H5Pcreate(H5P_DATASET_CREATE), place = H5Scopy(larger), where = H5Scopy(larger);
        hsize_t behind = N, one = 1;
        CHECK(H5Sselect_hyperslab(place, H5S_SELECT_SET, &behind, NULL, &n, NULL) >= 0);
        CHECK(H5Pset_virtual(list, place, ".", names[i], all) >= 0);
        hid_t virtual = dataset(file, shown[i], types[i], larger, list);
        CHECK(size_of(virtual, types[i], place) == (long)bytes[i]);
        behind += start;
        CHECK(H5Sselect_hyperslab(where, H5S_SELECT_SET, &behind, &stride, &count, NULL) >= 0);
        CHECK(size_of(virtual, types[i], where) == (long)some[i]);
        if (i == 0) {
            CHECK(size_of(virtual, sequence, larger) == (long)bytes[i]);
            CHECK(size_of(virtual, wide, place) == (long)(10 * sizeof(double)));
            behind = 0;
            CHECK(H5Sselect_hyperslab(where, H5S_SELECT_SET, &behind, NULL, &one, NULL) >= 0);
            CHECK(size_of(virtual, sequence, where) == 0);
        }
        CHECK(H5Dclose(virtual) >= 0 && H5Pclose(list) >= 0 && H5Sclose(place) >= 0 && H5Sclose(where) >= 0);
        CHECK(H5Dclose(sets[i]) >= 0 && H5Tclose(types[i]) >= 0);
    }
    CHECK(H5Tclose(wide) >= 0 && H5Pclose(chunked) >= 0 && H5Sclose(all) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(larger) >= 0);
    return H5Fclose(file) >= 0 ? 0 : 1;
}

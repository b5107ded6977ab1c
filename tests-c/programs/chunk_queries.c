/* The results of H5Dget_num_chunks and H5Dget_chunk_info: they cover all chunks that were written, whatever a dataspace
 * selects: chunk_queries FILE. */
#include "check.h"

#define SIZE 12
#define CHUNK 4

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t size = SIZE, chunk = CHUNK, start = 0, count = 2, more = 2 * SIZE, n = 99, offset, stored;
    hsize_t written[2] = {0, 2 * CHUNK};
    int values[SIZE] = {0};
    unsigned mask;
    haddr_t address;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &size, NULL), other = H5Screate_simple(1, &more, NULL);
    CHECK(file >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t set = H5Dcreate2(file, "chunked", H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT);
    hid_t row = H5Dcreate2(file, "row", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && row >= 0);
    for (int i = 0; i < 2; i++) {
        hid_t memory = H5Screate_simple(1, &chunk, NULL);
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &written[i], NULL, &chunk, NULL) >= 0);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, values) >= 0 && H5Sclose(memory) >= 0);
    }
    /* The selections are within a chunk, across two chunks, empty, of points, and of another extent. */
    hid_t spaces[6] = {H5S_ALL, H5Scopy(space), H5Scopy(space), H5Scopy(space), H5Scopy(space), other};
    hsize_t points[2] = {1, 9};
    CHECK(H5Sselect_hyperslab(spaces[1], H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    start = CHUNK + 1, count = CHUNK;
    CHECK(H5Sselect_hyperslab(spaces[2], H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    CHECK(H5Sselect_none(spaces[3]) >= 0);
    CHECK(H5Sselect_elements(spaces[4], H5S_SELECT_SET, 2, points) >= 0);
    for (int i = 0; i < 6; i++) {
        CHECK(H5Dget_num_chunks(set, spaces[i], &n) >= 0 && n == 2);
        for (int k = 0; k < 2; k++) {
            CHECK(H5Dget_chunk_info(set, spaces[i], (hsize_t)k, &offset, &mask, &address, &stored) >= 0);
            CHECK(offset == written[k] && mask == 0 && address != HADDR_UNDEF && stored == CHUNK * sizeof(int));
        }
        H5E_BEGIN_TRY {
            CHECK(H5Dget_chunk_info(set, spaces[i], 2, &offset, &mask, &address, &stored) < 0);
            CHECK(H5Dget_num_chunks(row, spaces[i], &n) < 0);
        } H5E_END_TRY
    }
    H5E_BEGIN_TRY {
        CHECK(H5Dget_num_chunks(set, file, &n) < 0 && H5Dget_num_chunks(set, -5, &n) < 0);
        CHECK(H5Dget_chunk_info(set, file, 0, &offset, &mask, &address, &stored) < 0);
    } H5E_END_TRY
    for (int i = 1; i < 6; i++)
        CHECK(H5Sclose(spaces[i]) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Dclose(row) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return H5Fclose(file) >= 0 ? 0 : 1;
}

/* Several datasets in one call, one of which has wrong arguments or belongs to another file: nothing is transferred,
 * not even to the datasets before it: many_wrong FILE [ours]. Native HDF5 writes into chunks that a dataset no longer
 * has. */
#include "check.h"

#define N 8
#define SETS 3

static hid_t sets[SETS], number, text, whole, half;

/* Checks that a call with wrong arguments for the last dataset fails and leaves everything unchanged. */
static void fails(const hid_t *types, const hid_t *memory, const hid_t *spaces, int no_buffer)
{
    int values[SETS][2 * N], back[N];
    void *into[SETS];
    const void *from[SETS];
    for (int k = 0; k < SETS; k++) {
        for (int i = 0; i < 2 * N; i++)
            values[k][i] = 77;
        from[k] = into[k] = k + 1 == SETS && no_buffer ? NULL : values[k];
    }
    hid_t given_types[SETS], given_memory[SETS], given_spaces[SETS], given_sets[SETS];
    memcpy(given_types, types, sizeof given_types);
    memcpy(given_memory, memory, sizeof given_memory);
    memcpy(given_spaces, spaces, sizeof given_spaces);
    memcpy(given_sets, sets, sizeof given_sets);
    herr_t done;
    H5E_BEGIN_TRY {
        done = H5Dwrite_multi(SETS, given_sets, given_types, given_memory, given_spaces, H5P_DEFAULT, from);
    } H5E_END_TRY
    CHECK(done < 0);
    for (int k = 0; k + 1 < SETS; k++) {
        CHECK(H5Dread(sets[k], number, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
        for (int i = 0; i < N; i++)
            CHECK(back[i] == i);
    }
    H5E_BEGIN_TRY {
        done = H5Dread_multi(SETS, given_sets, given_types, given_memory, given_spaces, H5P_DEFAULT, into);
    } H5E_END_TRY
    CHECK(done < 0);
    for (int k = 0; k + 1 < SETS; k++)
        for (int i = 0; i < N; i++)
            CHECK(values[k][i] == 77);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    hsize_t n = N, chunk = 3, start = 0, count = N / 2;
    int values[N];
    for (int i = 0; i < N; i++)
        values[i] = i;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(file >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    number = H5T_NATIVE_INT;
    text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, 4) >= 0);
    whole = H5Screate_simple(1, &n, NULL);
    half = H5Scopy(whole);
    CHECK(H5Sselect_hyperslab(half, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    const char *names[SETS] = {"plain", "chunked", "last"};
    for (int k = 0; k < SETS; k++) {
        sets[k] = H5Dcreate2(file, names[k], H5T_STD_I32LE, whole, H5P_DEFAULT, k == 1 ? list : H5P_DEFAULT, H5P_DEFAULT);
        CHECK(sets[k] >= 0 && H5Dwrite(sets[k], number, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    }
    hid_t right_types[SETS] = {number, number, number}, right[SETS] = {H5S_ALL, H5S_ALL, H5S_ALL};
    hid_t texts[SETS] = {number, number, text}, halves[SETS] = {whole, whole, half}, wholes[SETS] = {whole, whole, whole};
    /* The wrong arguments: a type to which numbers cannot be converted, selections of different sizes, no buffer, and
     * elements outside the extent. */
    fails(texts, right, right, 0);
    fails(right_types, halves, wholes, 0);
    fails(right_types, wholes, halves, 0);
    fails(right_types, right, right, 1);
    hssize_t behind = N - 1;
    CHECK(H5Soffset_simple(half, &behind) >= 0);
    hid_t both[SETS] = {whole, whole, half};
    hid_t row = H5Screate_simple(1, &count, NULL), rows[SETS] = {whole, whole, row};
    fails(right_types, rows, both, 0);
    fails(right_types, both, rows, 0);
    /* The selections are a hyperslab, and everything, of an extent that the dataset had before it was shrunk. */
    hsize_t larger = 2 * N;
    hid_t large = H5Screate_simple(1, &larger, NULL);
    hid_t cut = H5Dcreate2(file, "cut", H5T_STD_I32LE, large, H5P_DEFAULT, list, H5P_DEFAULT);
    hid_t old = H5Dget_space(cut), all_of_old = H5Scopy(old), wide = H5Scopy(old), last = sets[SETS - 1];
    start = N;
    n = N;
    CHECK(H5Sselect_hyperslab(old, H5S_SELECT_SET, &start, NULL, &n, NULL) >= 0 && H5Dset_extent(cut, &n) >= 0);
    sets[SETS - 1] = cut;
    hid_t cut_file[SETS] = {whole, whole, old}, wide_file[SETS] = {whole, whole, all_of_old}, wide_memory[SETS] = {whole, whole, wide};
    if (argc > 2) {
        fails(right_types, wholes, cut_file, 0);
        fails(right_types, wide_memory, wide_file, 0);
    }
    char name[500];
    snprintf(name, sizeof name, "%s-other.h5", argv[1]);
    hid_t other = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(other >= 0);
    sets[SETS - 1] = H5Dcreate2(other, "last", H5T_STD_I32LE, whole, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(sets[SETS - 1] >= 0);
    fails(right_types, right, right, 0);
    CHECK(H5Dclose(sets[SETS - 1]) >= 0 && H5Fclose(other) >= 0);
    sets[SETS - 1] = last;
    CHECK(H5Dclose(cut) >= 0 && H5Sclose(large) >= 0 && H5Sclose(old) >= 0 && H5Sclose(all_of_old) >= 0 && H5Sclose(wide) >= 0);
    for (int k = 0; k < SETS; k++)
        CHECK(H5Dclose(sets[k]) >= 0);
    CHECK(H5Sclose(row) >= 0 && H5Sclose(half) >= 0 && H5Sclose(whole) >= 0 && H5Tclose(text) >= 0 && H5Pclose(list) >= 0);
    return H5Fclose(file) >= 0 ? 0 : 1;
}

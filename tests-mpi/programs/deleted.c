/* Datasets that are deleted while a process has uncommitted elements of them. All other data stays intact, and no flush
 * fails. In some rounds the datasets themselves are uncommitted, too. */

#include "together.h"

enum { EACH = 16, ROUNDS = 12, WRITES = 7 };

static hid_t all_list;

static hid_t make(hid_t file, const char *name) {
    hsize_t count = (hsize_t)(EACH * size);
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t dataset = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

/* Writes a value in all processes except the first one. */
static void write_own(hid_t dataset, int value) {
    int data[EACH];
    for (int n = 0; n < EACH; n++)
        data[n] = value;
    hsize_t start = (hsize_t)(rank * EACH), count = EACH;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    if (rank == 0)
        CHECK(H5Sselect_none(space) >= 0 && H5Sselect_none(memory) >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, all_list, data) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("deleted.h5"), kept = make(file, "kept");
    for (int round = 1; round <= ROUNDS; round++) {
        begin(round % 2 ? "made and deleted" : "made, flushed and deleted");
        hid_t dataset = make(file, "x");
        CHECK(round % 2 || H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        for (int n = 1; n <= WRITES; n++) {
            write_own(dataset, n);
            write_own(kept, round * WRITES + n);
        }
        CHECK(H5Dclose(dataset) >= 0 && H5Ldelete(file, "x", H5P_DEFAULT) >= 0);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    begin("deleted while it is open");
    hid_t dataset = make(file, "x");
    CHECK(H5Ldelete(file, "x", H5P_DEFAULT) >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    write_own(dataset, 1);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 && H5Dclose(dataset) >= 0);
    begin("what was written elsewhere");
    CHECK(H5Dclose(kept) >= 0 && H5Fclose(file) >= 0);
    hid_t access = mpio();
    file = H5Fopen("deleted.h5", H5F_ACC_RDONLY, access);
    CHECK(file >= 0 && H5Lexists(file, "x", H5P_DEFAULT) == 0);
    kept = H5Dopen2(file, "kept", H5P_DEFAULT);
    int *data = malloc(sizeof(int) * (size_t)(EACH * size));
    CHECK(data && H5Dread(kept, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < EACH * size; n++)
        CHECK(data[n] == (n < EACH ? 0 : (ROUNDS + 1) * WRITES));
    free(data);
    CHECK(H5Dclose(kept) >= 0 && H5Pclose(access) >= 0 && H5Pclose(all_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

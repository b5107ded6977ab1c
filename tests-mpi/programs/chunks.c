/* Chunks that other processes have written and committed are counted, even by a process that has read nothing since. */

#include "together.h"

static hid_t all_list;

static int count_one(const hsize_t *offset, unsigned mask, haddr_t address, hsize_t bytes, void *count) {
    (void)offset, (void)mask, (void)address, (void)bytes;
    ++*(int *)count;
    return H5_ITER_CONT;
}

static void check(hid_t dataset) {
    hsize_t count = 0, offset = 0, bytes = 0;
    unsigned mask;
    haddr_t address;
    int visited = 0;
    H5D_space_status_t status;
    CHECK(H5Dget_num_chunks(dataset, H5S_ALL, &count) >= 0 && count == (hsize_t)size);
    CHECK(H5Dget_storage_size(dataset) == sizeof(int) * (hsize_t)size);
    CHECK(H5Dget_space_status(dataset, &status) >= 0 && status == H5D_SPACE_STATUS_ALLOCATED);
    CHECK(H5Dchunk_iter(dataset, H5P_DEFAULT, count_one, &visited) >= 0 && visited == size);
    for (; offset < count; offset++) {
        CHECK(H5Dget_chunk_info_by_coord(dataset, &offset, &mask, &address, &bytes) >= 0);
        CHECK(bytes == sizeof(int) && address != HADDR_UNDEF);
    }
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("chunks.h5");
    begin("written by each");
    hid_t dataset = make_ints(file, "by each", (hsize_t)size, 1);
    CHECK(dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    write_ints(dataset, H5P_DEFAULT, (hsize_t)rank, 1, 1);
    barrier();
    check(dataset);
    CHECK(H5Dclose(dataset) >= 0);
    begin("written by all, and flushed");
    dataset = make_ints(file, "by all", (hsize_t)size, 1);
    CHECK(dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int n = 0; n < 7; n++)
        write_ints(dataset, all_list, (hsize_t)((rank + n) % size), 1, n);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    check(dataset);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0 && H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

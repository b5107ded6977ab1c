/* A flush fails in process 0, which commits for all processes, but has written nothing itself. The elements that the
 * other processes wrote are visible to them, and the next flush commits these elements. */

#include "together.h"
#include <signal.h>

#define EACH 1000
#define ROUNDS 10
/* The last write of a series of this length is not committed immediately. */
#define SERIES 11

static herr_t flush(hid_t file) {
    herr_t flushed;
    H5E_BEGIN_TRY { flushed = H5Fflush(file, H5F_SCOPE_GLOBAL); }
    H5E_END_TRY
    return flushed;
}

/* Process 0 cannot write to files during the flush, so the flush fails if the container is in files. */
static void fail(hid_t file, hid_t dataset, hid_t list, int round) {
    int value = 0;
    for (int n = 0; n < SERIES; n++) {
        value = round * SERIES + n;
        write_ints(dataset, list, (hsize_t)rank * EACH, rank ? EACH : 0, value);
    }
    if (rank == 0)
        limit_files(1);
    herr_t flushed = flush(file);
    if (rank == 0)
        limit_files(RLIM_INFINITY);
    barrier();
    if (rank)
        check_int(dataset, H5P_DEFAULT, (hsize_t)rank * EACH, value);
    CHECK(flushed >= 0 || flush(file) >= 0);
    for (int process = 1; process < size; process++)
        check_int(dataset, H5P_DEFAULT, (hsize_t)(process + 1) * EACH - 1, value);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    signal(SIGXFSZ, SIG_IGN);
    hid_t list = transfers(H5FD_MPIO_COLLECTIVE), file = create("failed-flush.h5");
    for (int chunked = 0; is_ours() && chunked < 2; chunked++) {
        hid_t dataset =
            make_ints(file, chunked ? "chunked" : "contiguous", (hsize_t)size * EACH, chunked ? EACH * 2 / 3 : 0);
        begin(chunked ? "chunks" : "one block");
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        for (int round = 0; round < ROUNDS; round++) {
            fail(file, dataset, list, round);
            barrier();
        }
        CHECK(H5Dclose(dataset) >= 0);
    }
    CHECK(H5Fclose(file) >= 0 && H5Pclose(list) >= 0);
    MPI_Finalize();
    return 0;
}

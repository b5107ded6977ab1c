/* One call of the operating system fails in one process during a flush: the flush succeeds or fails in all processes
 * alike, the next flush succeeds, and no element is lost. Calls fail only if the library failing_calls.c is preloaded. */

#include "together.h"
#include <dlfcn.h>

#define EACH 1000
/* The last write of a series of this length is not committed immediately. */
#define SERIES 11
/* A flush makes fewer calls. */
#define MOST_CALLS 200

static void (*fail_call)(long skipped);
static int (*stop_failing)(void);
static hid_t all_list;
static int value;

static int is_same_everywhere(herr_t done) {
    int mine = done >= 0, least, most;
    MPI_Allreduce(&mine, &least, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&mine, &most, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return least == most;
}

/* Each process writes to its part, except those that do not take part. */
static void write_series(hid_t dataset, int takes_part) {
    for (int n = 0; n < SERIES; n++)
        write_ints(dataset, all_list, (hsize_t)rank * EACH, takes_part ? EACH : 0, ++value);
}

/* The values of the parts, as the processes wrote them. */
static void check_all(hid_t dataset, const int *expected) {
    int *data = malloc(sizeof(int) * (size_t)size * EACH);
    CHECK(data && H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < size * EACH; n++) {
        if (data[n] != expected[n / EACH])
            fprintf(stderr, "process %d, element %d: %d and not %d\n", rank, n, data[n], expected[n / EACH]);
        CHECK(data[n] == expected[n / EACH]);
    }
    free(data);
}

/* Lets one call fail in process `failing`, after `skipped` calls that succeed. Returns whether the flush makes that many
 * calls. If `alone` is a process, the other processes write nothing. */
static int flush_with_a_fault(hid_t file, hid_t dataset, int *expected, int failing, int alone, long skipped) {
    write_series(dataset, alone < 0 || alone == rank);
    for (int n = 0; n < size; n++)
        if (alone < 0 || alone == n)
            expected[n] = value;
    barrier();
    herr_t flushed;
    if (rank == failing && fail_call)
        fail_call(skipped);
    H5E_BEGIN_TRY { flushed = H5Fflush(file, H5F_SCOPE_GLOBAL); }
    H5E_END_TRY
    int has_failed = rank == failing && stop_failing && stop_failing();
    MPI_Bcast(&has_failed, 1, MPI_INT, failing, MPI_COMM_WORLD);
    CHECK(is_same_everywhere(flushed) && (flushed >= 0 || has_failed));
    check_int(dataset, H5P_DEFAULT, (hsize_t)rank * EACH, expected[rank]);
    /* New elements after a failed flush are not lost either. */
    if (flushed < 0 && skipped % 2) {
        write_series(dataset, 1);
        for (int n = 0; n < size; n++)
            expected[n] = value;
    }
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    check_all(dataset, expected);
    return has_failed;
}

static void test(hid_t file, const char *name, hsize_t chunk) {
    int *expected = calloc((size_t)size, sizeof *expected), has_failed = 1;
    hid_t dataset = make_ints(file, name, (hsize_t)size * EACH, chunk);
    CHECK(expected && dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int failing = 0; failing < size; failing++)
        for (int alone = -1; alone < 2; alone++) {
            long skipped = 0;
            do
                has_failed = flush_with_a_fault(file, dataset, expected, failing, alone, skipped++);
            while (has_failed && skipped < MOST_CALLS);
            CHECK(!has_failed);
            if (fail_call && rank == 0)
                printf("%s: process %d, written by %d: %ld calls failed\n", name, failing, alone, skipped - 1);
        }
    CHECK(H5Dclose(dataset) >= 0);
    free(expected);
}

/* Writes that fail in one process are older than what another process then writes to the same elements. */
static void test_independent_writes(hid_t file) {
    hid_t dataset = make_ints(file, "independent", EACH, 0), own_list = transfers(H5FD_MPIO_INDEPENDENT);
    CHECK(dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int failing = 0; failing < size; failing++) {
        int has_failed = 1;
        for (long skipped = 0; has_failed && skipped < MOST_CALLS; skipped++) {
            value += 2;
            if (rank == failing) {
                if (fail_call)
                    fail_call(skipped);
                H5E_BEGIN_TRY { try_write_ints(dataset, own_list, 0, EACH, value - 1); }
                H5E_END_TRY
                has_failed = stop_failing && stop_failing();
            }
            MPI_Bcast(&has_failed, 1, MPI_INT, failing, MPI_COMM_WORLD);
            write_ints(dataset, all_list, 0, rank == (failing + 1) % size ? EACH : 0, value);
            CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
            check_int(dataset, H5P_DEFAULT, EACH / 2, value);
            barrier();
        }
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Pclose(own_list) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    *(void **)&fail_call = dlsym(RTLD_DEFAULT, "fail_call");
    *(void **)&stop_failing = dlsym(RTLD_DEFAULT, "stop_failing");
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    hid_t file = create("failing-calls.h5");
    begin("one block");
    test(file, "contiguous", 0);
    begin("chunks of all processes");
    test(file, "chunked", EACH * 2 / 3);
    begin("independent writes");
    test_independent_writes(file);
    CHECK(H5Fclose(file) >= 0 && H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

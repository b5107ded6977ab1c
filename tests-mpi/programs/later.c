/* A collective read returns everything that processes wrote before it, and nothing that a process writes after it, even
 * if a fast process writes again while a slow one still reads. */

#include <unistd.h>

#include "together.h"

enum { STEPS = 120, EACH = 3 };

static hid_t all_list, own_list;

/* Delays one process after the other, so that the remaining processes run ahead. */
static void hesitate(int step) {
    if (step % size == rank)
        usleep(1000 * (step % 4));
}

static void check(hid_t dataset, int step, int expected) {
    int data[EACH * 16];
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < EACH * size; n++) {
        if (data[n] != expected)
            fprintf(stderr, "process %d, step %d, element %d: %d\n", rank, step, n, data[n]);
        CHECK(data[n] == expected);
    }
}

/* Each process writes its elements, and then all read the elements of all. */
static void steps(hid_t file, const char *name, hid_t list, int flush_every) {
    begin(name);
    hid_t dataset = make_ints(file, name, (hsize_t)(EACH * size), 0);
    CHECK(dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int step = 1; step <= STEPS; step++) {
        hesitate(step);
        write_ints(dataset, list, (hsize_t)(EACH * rank), EACH, step);
        if (flush_every && step % flush_every == 0)
            CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        hesitate(step + 1);
        check(dataset, step, step);
    }
    CHECK(H5Dclose(dataset) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(size <= 16);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    own_list = transfers(H5FD_MPIO_INDEPENDENT);
    hid_t file = create("later.h5");
    steps(file, "written independently", own_list, 0);
    steps(file, "written independently, and flushed", own_list, 5);
    steps(file, "written collectively", all_list, 0);
    CHECK(H5Fset_mpi_atomicity(file, 1) >= 0);
    steps(file, "atomic", own_list, 0);
    CHECK(H5Pclose(all_list) >= 0 && H5Pclose(own_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

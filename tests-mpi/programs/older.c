/* A process independently reads elements that another process has written in a long series of writes, not all of which
 * are committed. It either reads the newest elements, or stderr warns once that the elements may be outdated. After the
 * warning it reads the newest elements. */

#include "together.h"

#include <unistd.h>

enum { EACH = 8, WRITES = 7 };

static const char *const said = "has read by itself";

/* Selects row n of the dataset, which belongs to process n. */
static void select_row(hid_t space, int row) {
    hsize_t start[2] = {(hsize_t)row, 0}, count[2] = {1, EACH};
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
}

static void write_row(hid_t dataset, int row, int value) {
    int data[EACH];
    for (int n = 0; n < EACH; n++)
        data[n] = value;
    hid_t space = H5Dget_space(dataset);
    select_row(space, row);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_BLOCK, space, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
}

static int read_row(hid_t dataset, int row) {
    int data[EACH];
    hid_t space = H5Dget_space(dataset);
    select_row(space, row);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_BLOCK, space, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    for (int n = 1; n < EACH; n++)
        CHECK(data[n] == data[0]);
    return data[0];
}

/* Returns how often the warning was written to the stderr of a process, which is redirected to a file. */
static int warnings(void) {
    static char text[65536];
    fflush(stderr);
    FILE *file = fopen(rank == 0 ? "stderr-0" : rank == 1 ? "stderr-1" : "stderr-2", "r");
    CHECK(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    fclose(file);
    int count = 0, all = 0;
    for (const char *at = strstr(text, said); at; at = strstr(at + 1, said))
        count++;
    MPI_Allreduce(&count, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return all;
}

static void flush(hid_t file) {
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    barrier();
}

int main(int count, char **arguments) {
    MPI_Init(&count, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(size <= 3);
    int kept = dup(2);
    CHECK(freopen(rank == 0 ? "stderr-0" : rank == 1 ? "stderr-1" : "stderr-2", "w", stderr));
    hid_t file = create("older.h5");
    hsize_t dims[2] = {(hsize_t)size, EACH};
    hid_t space = H5Screate_simple(2, dims, NULL);
    hid_t dataset = H5Dcreate2(file, "x", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(dataset >= 0);

    begin("what a process wrote itself");
    for (int n = 1; n <= 20; n++)
        write_row(dataset, rank, n);
    CHECK(read_row(dataset, rank) == 20);
    flush(file);
    CHECK(warnings() == 0);

    begin("read before it is written");
    CHECK(read_row(dataset, (rank + 1) % size) == 20);
    barrier();
    for (int n = 1; n <= WRITES; n++)
        write_row(dataset, rank, 100 + n);
    flush(file);
    CHECK(warnings() == 0);
    CHECK(read_row(dataset, (rank + 1) % size) == 100 + WRITES);
    barrier();

    begin("read after it is written");
    int older = 0, any = 0;
    for (int round = 0; round < 5; round++) {
        if (rank == 0)
            for (int n = 1; n <= WRITES; n++)
                write_row(dataset, 0, 1000 * (round + 1) + n);
        barrier();
        if (rank == 1)
            older |= read_row(dataset, 0) != 1000 * (round + 1) + WRITES;
        barrier();
    }
    MPI_Allreduce(&older, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    flush(file);
    int told = warnings();
    CHECK(told <= 1 && (!any || told == 1));

    begin("after the warning");
    for (int round = 0; told && round < 20; round++) {
        if (rank == 0)
            for (int n = 1; n <= WRITES; n++)
                write_row(dataset, 0, 10000 * (round + 1) + n);
        barrier();
        CHECK(rank != 1 || read_row(dataset, 0) == 10000 * (round + 1) + WRITES);
        barrier();
    }
    H5Dclose(dataset);
    H5Sclose(space);
    CHECK(H5Fclose(file) >= 0);
    CHECK(warnings() <= 1);
    dup2(kept, 2);
    if (rank == 0 && any)
        fprintf(stderr, "older elements were read, and stderr said so\n");
    MPI_Finalize();
    return 0;
}

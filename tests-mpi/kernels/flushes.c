/* Measures the cost of a collective commit: each process writes its own row, then all processes flush, repeatedly.
 *
 *     flushes FILE NAME=NUMBER...
 *
 * The names are flushes, bytes (of a row) and sample. Each process reads the row of the next process back. Prints one
 * line of JSON: see measure.h. */
#include "measure.h"

static int flushes = 16, bytes = 65536, sample;
static char connector[64];

static hid_t row_space(hid_t dataset, int row) {
    hid_t space = H5Dget_space(dataset);
    hsize_t start[2] = {(hsize_t)row, 0}, length[2] = {1, (hsize_t)bytes};
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, length, NULL) >= 0);
    return space;
}

static unsigned char value(int flush, int row) { return (unsigned char)(flush * 7 + row * 3 + 1); }

int main(int arguments, char **words) {
    MPI_Init(&arguments, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(arguments > 1);
    for (int n = 2; n < arguments; n++) {
        int *place = strncmp(words[n], "flushes=", 8) == 0 ? &flushes : strncmp(words[n], "bytes=", 6) == 0 ? &bytes
                     : strncmp(words[n], "sample=", 7) == 0 ? &sample : NULL;
        CHECK(place);
        *place = atoi(strchr(words[n], '=') + 1);
    }
    CHECK(flushes > 0 && bytes > 0 && H5open() >= 0);
    if (sample)
        start_sampling();
    unsigned char *row = malloc((size_t)bytes);
    CHECK(row);
    hid_t file = create(words[1]);
    CHECK(H5VLget_connector_name(file, connector, sizeof connector) > 0);
    hsize_t dims[2] = {(hsize_t)size, (hsize_t)bytes}, one = (hsize_t)bytes;
    hid_t space = H5Screate_simple(2, dims, NULL), memory = H5Screate_simple(1, &one, NULL);
    hid_t dataset = H5Dcreate2(file, "rows", H5T_NATIVE_UCHAR, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t mine = row_space(dataset, rank);
    CHECK(dataset >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    for (int flush = 0; flush < flushes; flush++) {
        memset(row, value(flush, rank), (size_t)bytes);
        begin("write");
        struct moment begun = now();
        CHECK(H5Dwrite(dataset, H5T_NATIVE_UCHAR, memory, mine, H5P_DEFAULT, row) >= 0);
        add_time("write", begun);
        begin("flush");
        begun = now();
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
        add_time("flush", begun);
    }
    begin("read");
    hid_t next = row_space(dataset, (rank + 1) % size);
    CHECK(H5Dread(dataset, H5T_NATIVE_UCHAR, memory, next, H5P_DEFAULT, row) >= 0);
    for (int n = 0; n < bytes; n++)
        CHECK(row[n] == value(flushes - 1, (rank + 1) % size));
    CHECK(H5Sclose(next) >= 0 && H5Sclose(mine) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    free(row);
    report(connector, (double)flushes * size * bytes);
    MPI_Finalize();
    return 0;
}

/* Prints the report of each transfer in its transfer property list, one line for each. Native HDF5 and a connector must
 * print the same lines:
 *
 *     transfers FILE
 *
 * A line has the case, the process, and in hexadecimal: the mode of the transfer, the mode of its chunks, the reasons
 * why the transfer was not collective (in this process, in any process), the reason why no selections were passed to
 * the driver, and the way in which elements were moved. */
#include "../programs/together.h"

enum { ROWS = 64, COLUMNS = 8 };

static hid_t file;
static int value[ROWS * COLUMNS];
static double wide[ROWS * COLUMNS];

/* Selects the rows of this process, or nothing. */
static hid_t rows_of(hid_t dataset, int some) {
    hid_t space = H5Dget_space(dataset);
    if (H5Sget_simple_extent_type(space) != H5S_SIMPLE)
        return space;
    hsize_t start[2] = {(hsize_t)(rank * (ROWS / size)), 0}, count[2] = {(hsize_t)(ROWS / size), COLUMNS};
    CHECK((some ? H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) : H5Sselect_none(space)) >= 0);
    return space;
}

static void report(const char *what, hid_t list) {
    H5D_mpio_actual_io_mode_t io;
    H5D_mpio_actual_chunk_opt_mode_t chunks;
    uint32_t local, global, selection, how;
    CHECK(H5Pget_mpio_actual_io_mode(list, &io) >= 0 && H5Pget_mpio_actual_chunk_opt_mode(list, &chunks) >= 0);
    CHECK(H5Pget_mpio_no_collective_cause(list, &local, &global) >= 0);
    CHECK(H5Pget_no_selection_io_cause(list, &selection) >= 0 && H5Pget_actual_selection_io_mode(list, &how) >= 0);
    char mine[256];
    snprintf(mine, sizeof mine, "%s, process %d: %x %x, %x %x, %x %x\n", what, rank, (unsigned)io, (unsigned)chunks,
             (unsigned)local, (unsigned)global, (unsigned)selection, (unsigned)how);
    /* The first process prints the lines in the order of the processes. */
    char *all = malloc((size_t)size * sizeof mine);
    CHECK(all);
    MPI_Gather(mine, sizeof mine, MPI_CHAR, all, sizeof mine, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int n = 0; rank == 0 && n < size; n++)
        fputs(all + (size_t)n * sizeof mine, stdout);
    free(all);
}

struct layout {
    const char *name;
    H5D_layout_t layout;
    hsize_t rows_of_chunk;
    int deflate, null;
};

static const struct layout layouts[] = {
    {"contiguous", H5D_CONTIGUOUS, 0, 0, 0}, {"chunked", H5D_CHUNKED, 16, 0, 0}, {"deflated", H5D_CHUNKED, 16, 1, 0},
    {"compact", H5D_COMPACT, 0, 0, 0},       {"null", H5D_CONTIGUOUS, 0, 0, 1},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static hid_t create_dataset(const struct layout *l) {
    hsize_t dims[2] = {ROWS, COLUMNS}, chunk[2] = {l->rows_of_chunk, COLUMNS};
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = l->null ? H5Screate(H5S_NULL) : H5Screate_simple(2, dims, NULL);
    CHECK(H5Pset_layout(list, l->layout) >= 0);
    if (l->rows_of_chunk)
        CHECK(H5Pset_chunk(list, 2, chunk) >= 0);
    if (l->deflate)
        CHECK(H5Pset_deflate(list, 1) >= 0);
    hid_t dataset = H5Dcreate2(file, l->name, H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

static hid_t list_of(H5FD_mpio_xfer_t mode, H5D_selection_io_mode_t selections) {
    hid_t list = H5Pcreate(H5P_DATASET_XFER);
    CHECK(list >= 0 && H5Pset_dxpl_mpio(list, mode) >= 0 && H5Pset_selection_io(list, selections) >= 0);
    return list;
}

/* Makes one transfer. Reports its property list after a write, and the same list again after a read. */
static void transfer(hid_t dataset, const struct layout *l, H5FD_mpio_xfer_t mode, H5D_selection_io_mode_t selections, hid_t type,
                     void *data, int some, size_t buffer, const char *more) {
    char what[128];
    hid_t list = list_of(mode, selections), space = rows_of(dataset, some), memory = space;
    if (!l->null && some) {
        /* The elements are contiguous in memory. */
        hsize_t count = (hsize_t)(ROWS / size) * COLUMNS;
        memory = H5Screate_simple(1, &count, NULL);
    }
    if (buffer)
        CHECK(H5Pset_buffer(list, buffer, NULL, NULL) >= 0);
    snprintf(what, sizeof what, "%s, %s, selections %d%s", l->name, mode == H5FD_MPIO_COLLECTIVE ? "collective" : "independent",
             (int)selections, more);
    char step[160];
    /* Native HDF5 writes filtered chunks only collectively. */
    int may_write = !l->deflate || mode == H5FD_MPIO_COLLECTIVE;
    /* Compact elements are in the object header, so all processes must write the same values. */
    if (may_write && l->layout != H5D_COMPACT) {
        CHECK(H5Dwrite(dataset, type, memory, space, list, data) >= 0);
        snprintf(step, sizeof step, "write %s", what);
        report(step, list);
    }
    CHECK(H5Dread(dataset, type, memory, space, list, data) >= 0);
    snprintf(step, sizeof step, "read %s", what);
    report(step, list);
    if (memory != space)
        H5Sclose(memory);
    CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

static void each_mode(hid_t dataset, const struct layout *l) {
    /* Collective transfers come first, because filtered chunks can only be written collectively in native HDF5. */
    for (int mode = 1; mode >= 0; mode--)
        for (int selections = 0; selections < 3; selections++) {
            H5FD_mpio_xfer_t xfer = mode ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT;
            /* Cases that native HDF5 cannot handle are left out: the selection would be passed to the driver although
             * it cannot be. */
            if (selections == H5D_SELECTION_IO_MODE_ON && (l->layout == H5D_COMPACT || l->null))
                continue;
            /* The following results depend on the chunk cache of native HDF5. */
            if (l->deflate && !mode && selections)
                continue;
            transfer(dataset, l, xfer, (H5D_selection_io_mode_t)selections, H5T_NATIVE_INT, value, 1, 0, "");
            if (l->null || l->deflate)
                continue;
            transfer(dataset, l, xfer, (H5D_selection_io_mode_t)selections, H5T_NATIVE_DOUBLE, wide, 1, 0, ", converted");
            transfer(dataset, l, xfer, (H5D_selection_io_mode_t)selections, H5T_NATIVE_DOUBLE, wide, 1, 64, ", converted in parts");
        }
    if (!l->null && l->layout != H5D_COMPACT)
        transfer(dataset, l, H5FD_MPIO_COLLECTIVE, H5D_SELECTION_IO_MODE_DEFAULT, H5T_NATIVE_INT, value, rank == 0, 0,
                 ", by one process");
    /* Only one process converts elements. */
    if (l->layout == H5D_CHUNKED && !l->deflate)
        transfer(dataset, l, H5FD_MPIO_COLLECTIVE, H5D_SELECTION_IO_MODE_OFF, rank == 0 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT,
                 rank == 0 ? (void *)wide : (void *)value, 1, 0, ", converted by one process");
}

/* Transfers chunks linked or one after the other, as the property list requests. */
static void linked(hid_t dataset, const char *name) {
    for (int chunks = 0; chunks < 3; chunks++) {
        hid_t list = list_of(H5FD_MPIO_COLLECTIVE, H5D_SELECTION_IO_MODE_OFF);
        CHECK(H5Pset_dxpl_mpio_chunk_opt(list, (H5FD_mpio_chunk_opt_t)chunks) >= 0);
        char what[128];
        /* All processes write columns in all chunks, so that each chunk is transferred collectively in native HDF5. */
        hid_t space = H5Dget_space(dataset);
        hsize_t start[2] = {0, (hsize_t)(rank * (COLUMNS / size))}, count[2] = {ROWS, (hsize_t)(COLUMNS / size)};
        hsize_t all = (hsize_t)ROWS * (hsize_t)(COLUMNS / size);
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
        hid_t memory = H5Screate_simple(1, &all, NULL);
        CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, list, value) >= 0);
        snprintf(what, sizeof what, "write %s, chunks %d", name, chunks);
        report(what, list);
        CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
    }
}

/* Writes through an expression. The expression of a variable alone changes nothing, and is no reason to break up a
 * transfer. Native HDF5 refuses to write filtered chunks through any other expression. */
static void transformed(hid_t dataset, const struct layout *l, const char *expression) {
    for (int selections = 0; selections < 2; selections++) {
        hid_t list = list_of(H5FD_MPIO_COLLECTIVE, (H5D_selection_io_mode_t)selections), space = rows_of(dataset, 1);
        CHECK(H5Pset_data_transform(list, expression) >= 0);
        CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, space, space, list, value) >= 0);
        char what[128];
        snprintf(what, sizeof what, "write %s through %s, selections %d", l->name, expression, selections);
        report(what, list);
        CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
    }
}

/* Transfers two datasets in one call. */
static void several(hid_t one, hid_t other, const char *name) {
    for (int selections = 0; selections < 2; selections++) {
        hid_t list = list_of(H5FD_MPIO_COLLECTIVE, (H5D_selection_io_mode_t)selections);
        hid_t datasets[2] = {one, other}, types[2] = {H5T_NATIVE_INT, H5T_NATIVE_INT};
        hid_t spaces[2] = {rows_of(one, 1), rows_of(other, 1)};
        const void *data[2] = {value, value};
        CHECK(H5Dwrite_multi(2, datasets, types, spaces, spaces, list, data) >= 0);
        char what[128];
        snprintf(what, sizeof what, "write %s in one call, selections %d", name, selections);
        report(what, list);
        CHECK(H5Sclose(spaces[0]) >= 0 && H5Sclose(spaces[1]) >= 0 && H5Pclose(list) >= 0);
    }
}

int main(int count, char **words) {
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(count == 2 && ROWS % size == 0 && COLUMNS % size == 0);
    hid_t access = mpio(), datasets[LAYOUTS];
    file = H5Fcreate(words[1], H5F_ACC_TRUNC, H5P_DEFAULT, access);
    CHECK(file >= 0);
    for (int n = 0; n < LAYOUTS; n++)
        each_mode(datasets[n] = create_dataset(&layouts[n]), &layouts[n]);
    linked(datasets[1], "chunked");
    linked(datasets[2], "deflated");
    for (int n = 0; n < 3; n++)
        transformed(datasets[n], &layouts[n], "x");
    for (int n = 0; n < 2; n++)
        transformed(datasets[n], &layouts[n], "2*x");
    several(datasets[0], datasets[1], "contiguous and chunked");
    several(datasets[1], datasets[2], "chunked and deflated");
    for (int n = 0; n < LAYOUTS; n++)
        CHECK(H5Dclose(datasets[n]) >= 0);
    CHECK(H5Fclose(file) >= 0);
    /* Read-only files are tested separately, because small chunks are cached there. */
    file = H5Fopen(words[1], H5F_ACC_RDONLY, access);
    CHECK(file >= 0);
    for (int n = 0; n < LAYOUTS; n++) {
        hid_t dataset = H5Dopen2(file, layouts[n].name, H5P_DEFAULT);
        hid_t list = list_of(H5FD_MPIO_COLLECTIVE, H5D_SELECTION_IO_MODE_DEFAULT), space = rows_of(dataset, 1);
        char what[128];
        CHECK(dataset >= 0 && H5Dread(dataset, H5T_NATIVE_INT, space, space, list, value) >= 0);
        snprintf(what, sizeof what, "read %s of a file that is only read", layouts[n].name);
        report(what, list);
        CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0 && H5Dclose(dataset) >= 0);
    }
    CHECK(H5Fclose(file) >= 0 && H5Pclose(access) >= 0);
    MPI_Finalize();
    return 0;
}

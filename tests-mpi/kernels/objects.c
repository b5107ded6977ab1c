/* Creates metadata collectively: groups, small datasets and attributes, as in simulations with many small results.
 *
 *     objects FILE NAME=NUMBER...
 *
 * The names are steps, groups (of a step), datasets (of a group), attributes (of a dataset) and sample.
 *
 * Each step has a group. Each dataset has a row for each process, and every second dataset is chunked. After each step
 * one group is moved, one soft link is created, one group of the previous step is deleted, and the file is flushed.
 * Then the file is opened again, and everything is checked. Prints one line of JSON: see measure.h. */
#include "measure.h"

enum { COLUMNS = 6 };

static int steps = 3, groups = 4, datasets = 4, attributes = 2, sample;
static char connector[64], path[256];

static int value(int step, int group, int dataset, int row, int column) {
    return (((step * 64 + group) * 64 + dataset) * 64 + row) * 8 + column;
}

static const char *place(int step, int group, int dataset) {
    int used = snprintf(path, sizeof path, "/step_%d", step);
    if (group >= 0)
        used += snprintf(path + used, sizeof path - (size_t)used, "/group_%d", group);
    if (dataset >= 0)
        snprintf(path + used, sizeof path - (size_t)used, "/data_%d", dataset);
    return path;
}

/* Selects the row of a process in a dataset. */
static hid_t row_space(hid_t dataset, int row) {
    hid_t space = H5Dget_space(dataset);
    hsize_t start[2] = {(hsize_t)row, 0}, length[2] = {1, COLUMNS};
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, length, NULL) >= 0);
    return space;
}

static void put_attribute(hid_t object, const char *name, int number) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &number) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static int get_attribute(hid_t object, const char *name) {
    int number = -1;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT, &number) >= 0);
    H5Aclose(attribute);
    return number;
}

static const char *attribute_name(int n) {
    static char name[32];
    snprintf(name, sizeof name, "attribute_%d", n);
    return name;
}

static void make_dataset(hid_t file, int step, int group, int n, hid_t transfer) {
    hsize_t dims[2] = {(hsize_t)size, COLUMNS}, chunks[2] = {1, COLUMNS};
    hid_t space = H5Screate_simple(2, dims, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    int fill = -7, data[COLUMNS];
    CHECK(H5Pset_fill_value(list, H5T_NATIVE_INT, &fill) >= 0);
    if (n % 2)
        CHECK(H5Pset_chunk(list, 2, chunks) >= 0);
    hid_t dataset = H5Dcreate2(file, place(step, group, n), H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0);
    for (int column = 0; column < COLUMNS; column++)
        data[column] = value(step, group, n, rank, column);
    hid_t mine = row_space(dataset, rank);
    /* Every third dataset is not written and retains its fill values. */
    if (n % 3 != 2)
        CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_BLOCK, mine, transfer, data) >= 0);
    for (int a = 0; a < attributes; a++)
        put_attribute(dataset, attribute_name(a), value(step, group, n, 0, a));
    H5Sclose(mine);
    H5Dclose(dataset);
    H5Pclose(list);
    H5Sclose(space);
}

static void write_step(hid_t file, int step, hid_t transfer) {
    hid_t parent = H5Gcreate2(file, place(step, -1, -1), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_attribute(parent, "step", step);
    for (int group = 0; group < groups; group++) {
        hid_t made = H5Gcreate2(file, place(step, group, -1), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(made >= 0);
        for (int n = 0; n < datasets; n++)
            make_dataset(file, step, group, n, transfer);
        H5Gclose(made);
    }
    CHECK(H5Lmove(parent, "group_0", parent, "moved", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Lcreate_soft(place(step, 1, -1), parent, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    if (step > 0)
        CHECK(H5Ldelete(file, place(step - 1, groups - 1, -1), H5P_DEFAULT) >= 0);
    H5Gclose(parent);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
}

static void check_dataset(hid_t dataset, int step, int group, int n, hid_t transfer) {
    int data[COLUMNS], row = (rank + 1) % size;
    hid_t other = row_space(dataset, row);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_BLOCK, other, transfer, data) >= 0);
    for (int column = 0; column < COLUMNS; column++)
        CHECK(data[column] == (n % 3 == 2 ? -7 : value(step, group, n, row, column)));
    for (int a = 0; a < attributes; a++)
        CHECK(get_attribute(dataset, attribute_name(a)) == value(step, group, n, 0, a));
    H5Sclose(other);
}

static void check_step(hid_t file, int step, hid_t transfer) {
    H5G_info_t info;
    int left = groups - (step < steps - 1);
    hid_t parent = H5Gopen2(file, place(step, -1, -1), H5P_DEFAULT);
    CHECK(parent >= 0 && get_attribute(parent, "step") == step);
    CHECK(H5Gget_info(parent, &info) >= 0 && info.nlinks == (hsize_t)left + 1);
    for (int group = 0; group < left; group++) {
        const char *name = group == 0 ? "moved" : group == 1 ? "soft" : place(step, group, -1);
        hid_t opened = H5Gopen2(parent, name, H5P_DEFAULT);
        CHECK(opened >= 0 && H5Gget_info(opened, &info) >= 0 && info.nlinks == (hsize_t)datasets);
        for (int n = 0; n < datasets; n++) {
            char own[32];
            snprintf(own, sizeof own, "data_%d", n);
            hid_t dataset = H5Dopen2(opened, own, H5P_DEFAULT);
            CHECK(dataset >= 0);
            check_dataset(dataset, step, group, n, transfer);
            H5Dclose(dataset);
        }
        H5Gclose(opened);
    }
    H5Gclose(parent);
}

static void set(const char *name, int number) {
    struct {
        const char *name;
        int *place;
    } settings[] = {{"steps", &steps}, {"groups", &groups}, {"datasets", &datasets}, {"attributes", &attributes},
                    {"sample", &sample}};
    for (size_t n = 0; n < sizeof settings / sizeof *settings; n++)
        if (strcmp(settings[n].name, name) == 0) {
            *settings[n].place = number;
            return;
        }
    CHECK(!"a setting of that name");
}

int main(int words, char **arguments) {
    MPI_Init(&words, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(words > 1);
    for (int n = 2; n < words; n++) {
        char *equals = strchr(arguments[n], '=');
        CHECK(equals);
        *equals = 0;
        set(arguments[n], atoi(equals + 1));
    }
    CHECK(steps > 0 && groups >= 3 && groups < 64 && datasets < 64 && attributes <= COLUMNS && size < 64);
    CHECK(H5open() >= 0);
    if (sample)
        start_sampling();
    hid_t transfer = transfers(H5FD_MPIO_COLLECTIVE), access = mpio();
    begin("write");
    struct moment whole = now();
    hid_t file = create(arguments[1]);
    CHECK(H5VLget_connector_name(file, connector, sizeof connector) > 0);
    for (int step = 0; step < steps; step++)
        write_step(file, step, transfer);
    CHECK(H5Fclose(file) >= 0);
    add_time("written", whole);
    begin("read");
    whole = now();
    file = H5Fopen(arguments[1], H5F_ACC_RDONLY, access);
    CHECK(file >= 0);
    for (int step = 0; step < steps; step++)
        check_step(file, step, transfer);
    CHECK(H5Fclose(file) >= 0);
    add_time("read whole", whole);
    H5Pclose(access);
    H5Pclose(transfer);
    report(connector, (double)steps * groups * datasets * size * COLUMNS * sizeof(int));
    MPI_Finalize();
    return 0;
}

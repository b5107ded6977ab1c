/* Filters of the application, edge chunks without filters, and the order of encoding when several files and datasets
 * are open on the same chunks. argv[1]: the file. */
#include "check.h"

#define OURS 300
#define SIZE 100
#define CHUNK 40

static int can_applies, set_locals, runs, fail_next;

static htri_t can_apply(hid_t creation, hid_t type, hid_t space)
{
    hsize_t dims[2] = {0, 0};
    (void)creation;
    can_applies++;
    CHECK(H5Sget_simple_extent_ndims(space) == 1);
    CHECK(H5Sget_simple_extent_dims(space, dims, NULL) == 1 && dims[0] == CHUNK);
    return H5Tget_class(type) == H5T_INTEGER;
}

static herr_t set_local(hid_t creation, hid_t type, hid_t space)
{
    unsigned flags, values[4] = {0};
    size_t count = 4;
    (void)space;
    set_locals++;
    CHECK(H5Pget_filter_by_id2(creation, OURS, &flags, &count, values, 0, NULL, NULL) >= 0);
    CHECK(count == 1);
    values[1] = (unsigned)H5Tget_size(type);
    return H5Pmodify_filter(creation, OURS, flags, 2, values);
}

/* Adds a key to every byte, and appends two bytes. */
static size_t filter(unsigned flags, size_t count, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    size_t out = flags & H5Z_FLAG_REVERSE ? bytes - 2 : bytes + 2;
    unsigned char *from = *buffer, *made;
    runs++;
    if (fail_next > 0) {
        fail_next--;
        return 0;
    }
    if (count != 2 || values[1] != 4)
        return 0;
    made = malloc(out);
    for (size_t i = 0; i < out; i++)
        made[i] = i >= bytes ? 0xee : (unsigned char)(from[i] + (flags & H5Z_FLAG_REVERSE ? -values[0] : values[0]));
    free(*buffer);
    *buffer = made;
    *room = out;
    return out;
}

static const H5Z_class2_t class = {H5Z_CLASS_T_VERS, OURS, 1, 1, "plus a key", can_apply, set_local, filter};

static hid_t create(hid_t file, const char *name, hid_t type, unsigned flags, unsigned options, int number)
{
    hsize_t size = SIZE, most = H5S_UNLIMITED, chunk = CHUNK;
    unsigned key = 7;
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &size, &most);
    CHECK(H5Pset_chunk(creation, 1, &chunk) >= 0);
    CHECK(H5Pset_chunk_opts(creation, options) >= 0);
    CHECK(H5Pset_filter(creation, number, flags, number == OURS, &key) >= 0);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Pclose(creation);
    H5Sclose(space);
    return dataset;
}

static void write(hid_t dataset, int base, int count)
{
    int data[SIZE * 2];
    hsize_t start = 0, size = (hsize_t)count;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &size, NULL);
    for (int i = 0; i < count; i++)
        data[i] = base + i;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &size, NULL) >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    H5Sclose(memory);
}

static void expect(hid_t dataset, int base, int count)
{
    int data[SIZE * 2];
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    for (int i = 0; i < count; i++)
        CHECK(data[i] == base + i);
}

static hsize_t stored(hid_t dataset, hsize_t chunk)
{
    hsize_t offset = chunk * CHUNK, size = 0;
    CHECK(H5Dget_chunk_storage_size(dataset, &offset, &size) >= 0);
    return size;
}

static uint32_t mask(hid_t dataset, hsize_t chunk)
{
    hsize_t offset = chunk * CHUNK, size = 0;
    haddr_t address;
    uint32_t mask = 77;
    CHECK(H5Dget_chunk_info_by_coord(dataset, &offset, &mask, &address, &size) >= 0);
    return mask;
}

static void own_filter(hid_t file)
{
    hid_t dataset = create(file, "own", H5T_NATIVE_INT, H5Z_FLAG_MANDATORY, 0, OURS);
    CHECK(dataset >= 0 && can_applies == 1 && set_locals == 1);
    write(dataset, 5, SIZE);

    /* The reported parameters are those that set_local has set. */
    hid_t creation = H5Dget_create_plist(dataset);
    unsigned flags, values[4] = {0};
    size_t count = 4;
    char name[32] = "";
    CHECK(H5Pget_filter_by_id2(creation, OURS, &flags, &count, values, sizeof name, name, NULL) >= 0);
    CHECK(count == 2 && values[0] == 7 && values[1] == 4 && strcmp(name, "plus a key") == 0);
    H5Pclose(creation);

    /* A flush of another file on the same data writes the chunks too. */
    hid_t again = H5Freopen(file);
    CHECK(again >= 0 && H5Fflush(again, H5F_SCOPE_GLOBAL) >= 0 && H5Fclose(again) >= 0);
    CHECK(stored(dataset, 0) == CHUNK * 4 + 2 && mask(dataset, 0) == 0);
    unsigned char raw[CHUNK * 4 + 2];
    hsize_t offset = 0;
    uint32_t filters = 77;
    CHECK(H5Dread_chunk(dataset, H5P_DEFAULT, &offset, &filters, raw) >= 0);
    CHECK(filters == 0 && raw[0] == 12 && raw[4] == 13 && raw[CHUNK * 4] == 0xee);
    write(dataset, 6, SIZE);
    CHECK(H5Dclose(dataset) >= 0);

    dataset = H5Dopen2(file, "own", H5P_DEFAULT);
    expect(dataset, 6, SIZE);
    CHECK(H5Dclose(dataset) >= 0);
    CHECK(runs >= 6);

    /* The filter does not accept this type. */
    H5E_BEGIN_TRY
    dataset = create(file, "doubles", H5T_NATIVE_DOUBLE, H5Z_FLAG_MANDATORY, 0, OURS);
    H5E_END_TRY
    CHECK(dataset < 0 && H5Lexists(file, "doubles", H5P_DEFAULT) == 0);
}

static void failing(hid_t file)
{
    hid_t dataset = create(file, "optional", H5T_NATIVE_INT, H5Z_FLAG_OPTIONAL, 0, OURS);
    write(dataset, 1, SIZE);
    fail_next = 1;
    CHECK(H5Dflush(dataset) >= 0);
    CHECK(fail_next == 0);
    CHECK(mask(dataset, 0) + mask(dataset, 1) + mask(dataset, 2) == 1);
    expect(dataset, 1, SIZE);
    CHECK(H5Dclose(dataset) >= 0);

    dataset = create(file, "mandatory", H5T_NATIVE_INT, H5Z_FLAG_MANDATORY, 0, OURS);
    write(dataset, 1, SIZE);
    fail_next = 1000;
    H5E_BEGIN_TRY
    CHECK(H5Dflush(dataset) < 0);
    fail_next = 0;
    H5E_END_TRY
    CHECK(H5Dflush(dataset) >= 0);
    expect(dataset, 1, SIZE);
    CHECK(H5Dclose(dataset) >= 0);
}

static void edges(hid_t file, const char *name, int number)
{
    hid_t dataset = create(file, name, H5T_NATIVE_INT, H5Z_FLAG_MANDATORY, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, number);
    hsize_t whole = CHUNK * 4, filtered = whole + (number == OURS ? 2 : 4), size;
    CHECK(dataset >= 0);
    write(dataset, 3, SIZE);
    CHECK(stored(dataset, 0) == filtered && stored(dataset, 1) == filtered && stored(dataset, 2) == whole);
    CHECK(mask(dataset, 2) == 0);
    size = 120;
    CHECK(H5Dset_extent(dataset, &size) >= 0);
    CHECK(stored(dataset, 2) == filtered);
    size = 70;
    CHECK(H5Dset_extent(dataset, &size) >= 0);
    CHECK(stored(dataset, 0) == filtered && stored(dataset, 1) == whole);
    CHECK(H5Dclose(dataset) >= 0);
    dataset = H5Dopen2(file, name, H5P_DEFAULT);
    expect(dataset, 3, 70);
    CHECK(H5Dclose(dataset) >= 0);
}

static herr_t find(unsigned n, const H5E_error2_t *error, void *found)
{
    (void)n;
    if (error->desc && strstr(error->desc, "required filter 'plus a key'"))
        *(int *)found = 1;
    return 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(H5Zregister(&class) >= 0);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_LATEST) >= 0);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, access);
    CHECK(file >= 0);
    own_filter(file);
    failing(file);
    edges(file, "own edges", OURS);
    edges(file, "checked edges", H5Z_FILTER_FLETCHER32);
    CHECK(H5Fget_obj_count(file, H5F_OBJ_ALL) == 1);
    CHECK(H5Fclose(file) >= 0);

    /* A reader without the filter gets an error that names it. */
    int data[SIZE], found = 0;
    CHECK(H5Zunregister(OURS) >= 0);
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, access);
    hid_t dataset = H5Dopen2(file, "own", H5P_DEFAULT);
    CHECK(file >= 0 && dataset >= 0);
    H5E_auto2_t printer;
    void *printer_data;
    CHECK(H5Eget_auto2(H5E_DEFAULT, &printer, &printer_data) >= 0 && H5Eset_auto2(H5E_DEFAULT, NULL, NULL) >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0);
    CHECK(H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find, &found) >= 0 && found);
    CHECK(H5Eset_auto2(H5E_DEFAULT, printer, printer_data) >= 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);

    CHECK(H5Zregister(&class) >= 0);
    file = H5Fopen(argv[1], H5F_ACC_RDONLY, access);
    dataset = H5Dopen2(file, "own", H5P_DEFAULT);
    expect(dataset, 6, SIZE);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
    H5Pclose(access);
    return 0;
}

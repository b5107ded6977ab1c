/* The effects of property lists, and the lists that calls return: fill values, functions for flushes, chunk caches, the
 * root group's creation, filters of edge chunks, formats. Also writes to read-only files: properties FILE OTHER. */
#include "quiet.h"

#define DEF H5P_DEFAULT
#define FAILS(what)                                                                                                          \
    do {                                                                                                                     \
        QUIET(what);                                                                                                         \
        CHECK(result < 0);                                                                                                   \
    } while (0)

static const hsize_t four = 4;

static hid_t row(hsize_t size)
{
    hsize_t unlimited = H5S_UNLIMITED;
    return H5Screate_simple(1, &size, &unlimited);
}

/* --- fill values ---------------------------------------------------------------------------------------------- */

static hid_t undefined(hid_t file, const char *name, H5D_layout_t layout, H5D_fill_time_t time, H5D_alloc_time_t allocation)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = layout == H5D_CHUNKED ? row(4) : H5Screate_simple(1, &four, NULL), set;
    CHECK(H5Pset_layout(list, layout) >= 0 && (layout != H5D_CHUNKED || H5Pset_chunk(list, 1, &four) >= 0));
    CHECK(H5Pset_fill_value(list, H5T_NATIVE_INT, NULL) >= 0 && H5Pset_fill_time(list, time) >= 0);
    CHECK(H5Pset_alloc_time(list, allocation) >= 0);
    QUIET(set = H5Dcreate2(file, name, H5T_NATIVE_INT, space, DEF, list, DEF));
    CHECK(H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return set;
}

static int reads(hid_t set)
{
    int values[4];
    QUIET(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values));
    return result >= 0;
}

/* Without a fill value no fill value can be written, and elements are undefined before storage is allocated. */
static void fill_values(hid_t file)
{
    const H5D_layout_t layouts[] = {H5D_CONTIGUOUS, H5D_CHUNKED, H5D_COMPACT};
    hid_t set, nothing = H5Screate_simple(1, &four, NULL);
    int values[4] = {1, 2, 3, 4};
    char name[20];
    CHECK(H5Sselect_none(nothing) >= 0);
    for (int n = 0; n < 3; n++) {
        CHECK(undefined(file, "refused", layouts[n], H5D_FILL_TIME_ALLOC, H5D_ALLOC_TIME_DEFAULT) < 0);
        CHECK(H5Lexists(file, "refused", DEF) == 0);
        snprintf(name, sizeof name, "undefined%d", n);
        CHECK((set = undefined(file, name, layouts[n], H5D_FILL_TIME_IFSET, H5D_ALLOC_TIME_DEFAULT)) >= 0);
        CHECK(reads(set) == (layouts[n] == H5D_COMPACT));
        CHECK(H5Dread(set, H5T_NATIVE_INT, nothing, nothing, DEF, values) >= 0);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && reads(set) && H5Dclose(set) >= 0);
        snprintf(name, sizeof name, "never%d", n);
        CHECK((set = undefined(file, name, layouts[n], H5D_FILL_TIME_NEVER, H5D_ALLOC_TIME_DEFAULT)) >= 0);
        CHECK(reads(set) && H5Dclose(set) >= 0);
        snprintf(name, sizeof name, "early%d", n);
        CHECK((set = undefined(file, name, layouts[n], H5D_FILL_TIME_IFSET, H5D_ALLOC_TIME_EARLY)) >= 0);
        CHECK(reads(set) && H5Dclose(set) >= 0);
    }
    CHECK(H5Sclose(nothing) >= 0);
}

/* --- flushes -------------------------------------------------------------------------------------------------- */

typedef struct {
    hid_t object;
    int calls;
    herr_t answer;
} flushed_t;

static herr_t note(hid_t object, void *data)
{
    flushed_t *flushed = data;
    flushed->object = object;
    flushed->calls++;
    return flushed->answer;
}

/* The function of the file's list is called when an object was flushed, with the object's identifier. */
static void flushes(const char *name)
{
    flushed_t flushed = {0};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), type = H5Tcopy(H5T_NATIVE_INT), space = H5Screate_simple(1, &four, NULL);
    hid_t file, group, set;
    int values[4] = {0}, calls = 0;
    CHECK(H5Pset_object_flush_cb(access, note, &flushed) >= 0);
    CHECK((file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, access)) >= 0 && H5Pclose(access) >= 0);
    group = H5Gcreate2(file, "group", DEF, DEF, DEF);
    CHECK(H5Tcommit2(file, "type", type, DEF, DEF, DEF) >= 0);
    set = H5Dcreate2(file, "set", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && flushed.calls == 0);
    CHECK(H5Gflush(group) >= 0 && flushed.calls == ++calls && flushed.object == group);
    CHECK(H5Tflush(type) >= 0 && flushed.calls == ++calls && flushed.object == type);
    CHECK(H5Dflush(set) >= 0 && flushed.calls == ++calls && flushed.object == set);
    const hid_t objects[] = {set, group, type};
    for (int n = 0; n < 3; n++)
        CHECK(H5Oflush(objects[n]) >= 0 && flushed.calls == ++calls && flushed.object == objects[n]);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 && flushed.calls == calls);
    flushed.answer = -1;
    FAILS(H5Dflush(set));
    CHECK(flushed.calls == ++calls);
    CHECK(H5Dclose(set) >= 0 && H5Gclose(group) >= 0 && H5Tclose(type) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
}

/* --- lists that are given out --------------------------------------------------------------------------------- */

static void cache_is(hid_t set, size_t slots, size_t bytes, double first)
{
    size_t got_slots, got_bytes;
    double got_first;
    hid_t list = H5Dget_access_plist(set);
    CHECK(H5Pget_chunk_cache(list, &got_slots, &got_bytes, &got_first) >= 0 && H5Pclose(list) >= 0);
    if (got_slots != slots || got_bytes != bytes || got_first != first)
        fprintf(stderr, "a chunk cache of %zu slots, %zu bytes, %g\n", got_slots, got_bytes, got_first);
    CHECK(got_slots == slots && got_bytes == bytes && got_first == first);
}

static hid_t open_with(hid_t file, const char *name, size_t slots, size_t bytes, double first)
{
    hid_t list = H5Pcreate(H5P_DATASET_ACCESS), set;
    CHECK(H5Pset_chunk_cache(list, slots, bytes, first) >= 0 && (set = H5Dopen2(file, name, list)) >= 0);
    CHECK(H5Pclose(list) >= 0);
    return set;
}

/* The chunk cache has the file's settings if the dataset's list has none. A dataset without chunks has no chunk cache. */
static void chunk_caches(const char *name)
{
    size_t slots, bytes;
    double first;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), list = H5Pcreate(H5P_DATASET_CREATE), space = row(4), file, set;
    CHECK(H5Pget_cache(access, NULL, &slots, &bytes, &first) >= 0);
    CHECK(H5Pset_cache(access, 0, 101, 4 << 20, 0.25) >= 0 && H5Pset_chunk(list, 1, &four) >= 0);
    CHECK((file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, access)) >= 0);
    set = H5Dcreate2(file, "chunked", H5T_NATIVE_INT, space, DEF, list, DEF);
    cache_is(set, 101, 4 << 20, 0.25);
    CHECK(H5Dclose(set) >= 0 && (set = H5Dopen2(file, "chunked", DEF)) >= 0);
    cache_is(set, 101, 4 << 20, 0.25);
    CHECK(H5Dclose(set) >= 0);
    set = open_with(file, "chunked", 7, H5D_CHUNK_CACHE_NBYTES_DEFAULT, H5D_CHUNK_CACHE_W0_DEFAULT);
    cache_is(set, 7, 4 << 20, 0.25);
    CHECK(H5Dclose(set) >= 0);
    set = open_with(file, "chunked", H5D_CHUNK_CACHE_NSLOTS_DEFAULT, 0, 0.5);
    cache_is(set, 0, 0, 0.5);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
    space = H5Screate_simple(1, &four, NULL);
    CHECK((set = H5Dcreate2(file, "whole", H5T_NATIVE_INT, space, DEF, DEF, DEF)) >= 0);
    cache_is(set, slots, bytes, first);
    CHECK(H5Dclose(set) >= 0);
    set = open_with(file, "whole", 7, 7, 0.5);
    cache_is(set, slots, bytes, first);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Pclose(access) >= 0 && H5Pclose(list) >= 0 && H5Fclose(file) >= 0);
}

/* The root group has the group properties of the list with which its file was created. */
static void root_group(const char *name)
{
    unsigned first, second, flags;
    hid_t list = H5Pcreate(H5P_FILE_CREATE), file, root;
    const unsigned order = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
    CHECK(H5Pset_attr_phase_change(list, 11, 3) >= 0 && H5Pset_link_phase_change(list, 12, 4) >= 0);
    CHECK(H5Pset_est_link_info(list, 13, 5) >= 0 && H5Pset_link_creation_order(list, order) >= 0);
    CHECK(H5Pset_attr_creation_order(list, order) >= 0);
    CHECK((file = H5Fcreate(name, H5F_ACC_TRUNC, list, DEF)) >= 0 && H5Pclose(list) >= 0 && H5Fclose(file) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, DEF)) >= 0 && (root = H5Gopen2(file, "/", DEF)) >= 0);
    CHECK((list = H5Gget_create_plist(root)) >= 0);
    CHECK(H5Pisa_class(list, H5P_GROUP_CREATE) > 0 && H5Pisa_class(list, H5P_FILE_CREATE) == 0);
    CHECK(H5Pget_attr_phase_change(list, &first, &second) >= 0 && first == 11 && second == 3);
    CHECK(H5Pget_link_phase_change(list, &first, &second) >= 0 && first == 12 && second == 4);
    CHECK(H5Pget_est_link_info(list, &first, &second) >= 0 && first == 13 && second == 5);
    CHECK(H5Pget_link_creation_order(list, &flags) >= 0 && flags == order);
    CHECK(H5Pget_attr_creation_order(list, &flags) >= 0 && flags == order);
    CHECK(H5Pclose(list) >= 0 && H5Gclose(root) >= 0 && H5Fclose(file) >= 0);
}

/* --- files that are open to read ------------------------------------------------------------------------------ */

/* Nothing can be written through read-only files, neither to sources in writable files nor an empty selection. */
static void read_only(const char *name, const char *source)
{
    int values[4] = {1, 1, 1, 1}, others[4] = {2, 2, 2, 2};
    hsize_t two = 2;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), chunked = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &four, NULL);
    hid_t file = H5Fcreate(source, H5F_ACC_TRUNC, DEF, DEF), set = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    hid_t unlimited = row(4), sets[2], types[2] = {H5T_NATIVE_INT, H5T_NATIVE_INT}, spaces[2] = {H5S_ALL, H5S_ALL};
    const void *buffers[2] = {others, others};
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Pset_virtual(list, space, source, "x", space) >= 0 && H5Pset_chunk(chunked, 1, &four) >= 0);
    file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF);
    CHECK(H5Dclose(H5Dcreate2(file, "virtual", H5T_NATIVE_INT, space, DEF, list, DEF)) >= 0);
    CHECK(H5Dclose(H5Dcreate2(file, "chunked", H5T_NATIVE_INT, unlimited, DEF, chunked, DEF)) >= 0);
    CHECK(H5Fclose(file) >= 0 && (file = H5Fopen(name, H5F_ACC_RDONLY, DEF)) >= 0 && H5Sselect_none(space) >= 0);
    /* The source is open for writing. */
    hid_t other = H5Fopen(source, H5F_ACC_RDWR, DEF);
    CHECK((sets[0] = H5Dopen2(file, "virtual", DEF)) >= 0 && (sets[1] = H5Dopen2(file, "chunked", DEF)) >= 0);
    for (int n = 0; n < 2; n++) {
        FAILS(H5Dwrite(sets[n], H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, others));
        FAILS(H5Dwrite(sets[n], H5T_NATIVE_INT, space, space, DEF, others));
    }
    FAILS(H5Dwrite_multi(2, sets, types, spaces, spaces, DEF, buffers));
    FAILS(H5Dwrite_multi(1, sets, types, spaces, spaces, DEF, buffers));
    FAILS(H5Dset_extent(sets[1], &two));
    CHECK((set = H5Dopen2(other, "x", DEF)) >= 0 && H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    CHECK(values[0] == 1 && values[3] == 1 && H5Dclose(set) >= 0 && H5Dclose(sets[0]) >= 0 && H5Dclose(sets[1]) >= 0);
    CHECK(H5Fclose(other) >= 0 && H5Fclose(file) >= 0 && H5Pclose(list) >= 0 && H5Pclose(chunked) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(unlimited) >= 0);
}

/* --- edges and formats ----------------------------------------------------------------------------------------- */

static unsigned edges_of(hid_t set)
{
    unsigned options = 99;
    hid_t list = H5Dget_create_plist(set);
    CHECK(H5Pget_chunk_opts(list, &options) >= 0 && H5Pclose(list) >= 0);
    return options;
}

/* The dataset's list returns the option for edge chunks of its creation list, so that it can be used for the next
 * dataset. */
static void edges(const char *name)
{
    const unsigned options[] = {0, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS};
    const char *names[] = {"filtered edges", "plain edges"};
    hid_t file = H5Fopen(name, H5F_ACC_RDWR, DEF), set, space = row(6), list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 1, &four) >= 0 && H5Pset_shuffle(list) >= 0 && H5Pset_fletcher32(list) >= 0);
    for (int n = 0; n < 2; n++) {
        CHECK(H5Pset_chunk_opts(list, options[n]) >= 0);
        CHECK((set = H5Dcreate2(file, names[n], H5T_NATIVE_INT, space, DEF, list, DEF)) >= 0);
        CHECK(edges_of(set) == options[n] && H5Dclose(set) >= 0);
    }
    CHECK(H5Pclose(list) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, DEF)) >= 0);
    for (int n = 0; n < 2; n++)
        CHECK((set = H5Dopen2(file, names[n], DEF)) >= 0 && edges_of(set) == options[n] && H5Dclose(set) >= 0);
    CHECK(H5Fclose(file) >= 0);
}

static void formats(const char *name)
{
    hid_t file = H5Fopen(name, H5F_ACC_RDWR, DEF), list;
    H5F_libver_t low, high;
    CHECK(H5Fset_libver_bounds(file, H5F_LIBVER_V110, H5F_LIBVER_V112) >= 0);
    CHECK((list = H5Fget_access_plist(file)) >= 0 && H5Pget_libver_bounds(list, &low, &high) >= 0);
    CHECK(low == H5F_LIBVER_V110 && high == H5F_LIBVER_V112 && H5Pclose(list) >= 0 && H5Fclose(file) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF);
    fill_values(file);
    CHECK(H5Fclose(file) >= 0);
    flushes(argv[1]);
    chunk_caches(argv[1]);
    root_group(argv[1]);
    edges(argv[1]);
    formats(argv[1]);
    read_only(argv[1], argv[2]);
    return 0;
}

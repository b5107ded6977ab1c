/* Optional operations that succeed, and those that H5VLquery_optional reports as supported: optional FILE [ours]. */
#include "quiet.h"
#include <H5VLconnector.h>
#include <H5VLnative.h>

#define DEF H5P_DEFAULT

/* Objects on which the operations are tried: a file, a group, a chunked and a contiguous dataset, an attribute. */
static hid_t file, group, chunked, contiguous, attribute;

/* --- files ------------------------------------------------------------------------------------------------------ */

static herr_t no_cache_of_links(void) { return H5Fclear_elink_file_cache(file); }
static herr_t image(void) { return H5Fget_file_image(file, NULL, 0) > 0 ? 0 : -1; }
static herr_t free_sections(void) { return H5Fget_free_sections(file, H5FD_MEM_DEFAULT, 0, NULL) >= 0 ? 0 : -1; }
static herr_t free_space(void) { return H5Fget_freespace(file) >= 0 ? 0 : -1; }
static herr_t end(void)
{
    haddr_t at = 0;
    return H5Fget_eoa(file, &at) >= 0 && at > 0 ? 0 : -1;
}
static herr_t larger(void) { return H5Fincrement_filesize(file, 1000); }
static herr_t older_format(void) { return H5Fformat_convert(file); }
static herr_t bounds(void) { return H5Fset_libver_bounds(file, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST); }

static herr_t info(void)
{
    H5F_info2_t told;
    return H5Fget_info2(file, &told);
}

static herr_t cache_settings(void)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    return H5Fget_mdc_config(file, &config);
}

static herr_t set_cache_settings(void)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    CHECK(H5Fget_mdc_config(file, &config) >= 0);
    return H5Fset_mdc_config(file, &config);
}

static herr_t hit_rate(void)
{
    double rate;
    return H5Fget_mdc_hit_rate(file, &rate);
}

static herr_t no_hits(void) { return H5Freset_mdc_hit_rate_stats(file); }

static herr_t cache_size(void)
{
    size_t most, least, now;
    int entries;
    return H5Fget_mdc_size(file, &most, &least, &now, &entries);
}

static herr_t size(void)
{
    hsize_t bytes = 0;
    return H5Fget_filesize(file, &bytes) >= 0 && bytes > 0 ? 0 : -1;
}

static herr_t handle(void)
{
    void *descriptor = NULL;
    return H5Fget_vfd_handle(file, DEF, &descriptor) >= 0 && descriptor ? 0 : -1;
}

static herr_t retries(void)
{
    H5F_retry_info_t told;
    herr_t got = H5Fget_metadata_read_retry_info(file, &told);
    for (size_t n = 0; got >= 0 && n < H5F_NUM_METADATA_READ_RETRY_TYPES; n++)
        H5free_memory(told.retries[n]);
    return got;
}

static herr_t start_log(void) { return H5Fstart_mdc_logging(file); }
static herr_t stop_log(void) { return H5Fstop_mdc_logging(file); }

static herr_t log_state(void)
{
    hbool_t enabled = 2, now = 2;
    herr_t got = H5Fget_mdc_logging_status(file, &enabled, &now);
    CHECK(got < 0 || (!enabled && !now));
    return got;
}

static herr_t cache_image(void)
{
    haddr_t address = 5;
    hsize_t bytes = 5;
    herr_t got = H5Fget_mdc_image_info(file, &address, &bytes);
    CHECK(got < 0 || (address == HADDR_UNDEF && bytes == 0));
    return got;
}

static herr_t no_page_counts(void) { return H5Freset_page_buffering_stats(file); }

static herr_t page_counts(void)
{
    unsigned one[2], two[2], three[2], four[2], five[2];
    return H5Fget_page_buffering_stats(file, one, two, three, four, five);
}

static herr_t small_headers(void)
{
    hbool_t are = 2;
    CHECK(H5Fget_dset_no_attrs_hint(file, &are) >= 0 && !are && H5Fset_dset_no_attrs_hint(file, 1) >= 0);
    herr_t got = H5Fget_dset_no_attrs_hint(file, &are);
    CHECK(are == 1 && H5Fset_dset_no_attrs_hint(file, 0) >= 0);
    return got;
}

/* --- datasets --------------------------------------------------------------------------------------------------- */

static herr_t older_datasets(void) { return H5Dformat_convert(chunked) >= 0 && H5Dformat_convert(contiguous) >= 0 ? 0 : -1; }

static herr_t kind_of_index(void)
{
    H5D_chunk_index_t kind;
    return H5Dget_chunk_index_type(chunked, &kind);
}

static herr_t chunk_size(void)
{
    hsize_t at = 0, bytes = 0;
    return H5Dget_chunk_storage_size(chunked, &at, &bytes) >= 0 && bytes == 20 ? 0 : -1;
}

static herr_t chunk_count(void)
{
    hsize_t count = 0;
    return H5Dget_num_chunks(chunked, H5S_ALL, &count) >= 0 && count == 2 ? 0 : -1;
}

static herr_t chunk_by_number(void)
{
    hsize_t at = 9, bytes = 0;
    haddr_t address;
    unsigned mask;
    return H5Dget_chunk_info(chunked, H5S_ALL, 1, &at, &mask, &address, &bytes) >= 0 && at == 5 && bytes == 20 ? 0 : -1;
}

static herr_t chunk_by_place(void)
{
    hsize_t at = 5, bytes = 0;
    haddr_t address;
    unsigned mask;
    return H5Dget_chunk_info_by_coord(chunked, &at, &mask, &address, &bytes) >= 0 && bytes == 20 ? 0 : -1;
}

static herr_t read_chunk(void)
{
    hsize_t at = 0;
    int values[5] = {0};
    uint32_t mask = 9;
#if H5_VERSION_GE(2, 0, 0)
    /* With a buffer that is too small, the call returns size and mask and reads nothing. */
    size_t room = 8;
    CHECK(H5Dread_chunk2(chunked, DEF, &at, &mask, values, &room) >= 0 && room == 20 && mask == 0 && values[1] == 0);
    CHECK(H5Dread_chunk2(chunked, DEF, &at, &mask, NULL, &room) >= 0 && room == 20);
    herr_t got = H5Dread_chunk2(chunked, DEF, &at, &mask, values, &room);
#else
    herr_t got = H5Dread_chunk(chunked, DEF, &at, &mask, values);
#endif
    return got >= 0 && values[1] == 1 && mask == 0 ? 0 : -1;
}

static herr_t write_chunk(void)
{
    hsize_t at = 0;
    const int values[5] = {0, 1, 2, 3, 4};
    return H5Dwrite_chunk(chunked, DEF, 0, &at, sizeof values, values);
}

static herr_t sequences(void)
{
    hsize_t bytes = 9;
    hid_t space = H5Dget_space(contiguous);
    herr_t got = H5Dvlen_get_buf_size(contiguous, H5T_NATIVE_INT, space, &bytes);
    CHECK(H5Sclose(space) >= 0 && bytes == 0);
    return got;
}

static herr_t offset(void) { return H5Dget_offset(contiguous) == HADDR_UNDEF ? -1 : 0; }

static int each_chunk(const hsize_t *at, unsigned mask, haddr_t address, hsize_t bytes, void *data)
{
    (void)at, (void)address;
    ++*(int *)data;
    return mask == 0 && bytes == 20 ? 0 : -1;
}

static herr_t all_chunks(void)
{
    int count = 0;
    return H5Dchunk_iter(chunked, DEF, each_chunk, &count) >= 0 && count == 2 ? 0 : -1;
}

/* --- groups, objects, attributes -------------------------------------------------------------------------------- */

static herr_t each_name(hid_t at, const char *name, void *data)
{
    (void)at, (void)name;
    ++*(int *)data;
    return 0;
}

static herr_t members(void)
{
    int count = 0;
    return H5Giterate(file, ".", NULL, each_name, &count) >= 0 && count == 3 ? 0 : -1;
}

static herr_t described(void)
{
    H5G_stat_t told;
    return H5Gget_objinfo(file, "group", 1, &told) >= 0 && told.type == H5G_GROUP && told.nlink == 1 ? 0 : -1;
}

static herr_t each_attribute(hid_t at, const char *name, void *data) { return each_name(at, name, data); }

static herr_t attributes(void)
{
    int count = 0;
    unsigned number = 0;
    return H5Aiterate1(group, &number, each_attribute, &count) >= 0 && count == 1 ? 0 : -1;
}

static herr_t comment(void)
{
    char text[20];
    return H5Oget_comment(group, text, sizeof text) == 4 && strcmp(text, "said") == 0 ? 0 : -1;
}

static herr_t set_comment(void) { return H5Oset_comment(group, "said"); }

static herr_t flushes(void)
{
    hbool_t disabled = 0;
    CHECK(H5Odisable_mdc_flushes(group) >= 0 && H5Oare_mdc_flushes_disabled(group, &disabled) >= 0 && disabled);
    return H5Oenable_mdc_flushes(group);
}

static herr_t native_info(void)
{
    H5O_native_info_t told;
    return H5Oget_native_info(group, &told, H5O_NATIVE_INFO_ALL);
}

/* --- all of them ------------------------------------------------------------------------------------------------ */

/* The expected answers of h5lake to H5VLquery_optional: whether an operation is meaningful for containers. */
enum { NOT = 0, YES = H5VL_OPT_QUERY_SUPPORTED };
#define META (YES | H5VL_OPT_QUERY_QUERY_METADATA)
#define CHANGE (YES | H5VL_OPT_QUERY_MODIFY_METADATA)
#define BACK (YES | H5VL_OPT_QUERY_NO_ASYNC)

static const struct operation {
    const char *name;
    hid_t *of;
    H5VL_subclass_t class;
    int number;
    /* Null if another test tries the call. */
    herr_t (*call)(void);
    int succeeds;
    uint64_t ours;
} OPERATIONS[] = {
    {"iterate old", &attribute, H5VL_SUBCLS_ATTR, H5VL_NATIVE_ATTR_ITERATE_OLD, attributes, 1, BACK},
    {"convert dataset", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_FORMAT_CONVERT, older_datasets, 1, NOT},
    {"chunk index", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_CHUNK_INDEX_TYPE, kind_of_index, 1, NOT},
    {"chunk size", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_CHUNK_STORAGE_SIZE, chunk_size, 1, META},
    {"chunk count", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_NUM_CHUNKS, chunk_count, 1, META},
    {"chunk by number", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_IDX, chunk_by_number, 1, META},
    {"chunk by place", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_COORD, chunk_by_place, 1, META},
    {"read chunk", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_CHUNK_READ, read_chunk, 1, YES | H5VL_OPT_QUERY_READ_DATA},
    {"write chunk", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_CHUNK_WRITE, write_chunk, 1, YES | H5VL_OPT_QUERY_WRITE_DATA},
    {"sequences", &contiguous, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_VLEN_BUF_SIZE, sequences, 1, META},
    {"offset", &contiguous, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_GET_OFFSET, offset, 1, NOT},
    {"all chunks", &chunked, H5VL_SUBCLS_DATASET, H5VL_NATIVE_DATASET_CHUNK_ITER, all_chunks, 1, BACK | H5VL_OPT_QUERY_QUERY_METADATA},
    {"clear cache of links", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_CLEAR_ELINK_CACHE, no_cache_of_links, 1, CHANGE},
    {"image", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_FILE_IMAGE, image, 1, META | H5VL_OPT_QUERY_READ_DATA},
    {"free sections", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_FREE_SECTIONS, free_sections, 1, NOT},
    {"free space", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_FREE_SPACE, free_space, 1, NOT},
    {"info", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_INFO, info, 1, NOT},
    {"cache settings", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MDC_CONF, cache_settings, 1, NOT},
    {"hit rate", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MDC_HR, hit_rate, 1, NOT},
    {"cache size", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MDC_SIZE, cache_size, 1, NOT},
    {"size", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_SIZE, size, 1, META},
    {"handle", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_VFD_HANDLE, handle, 1, META},
    {"reset hit rate", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_RESET_MDC_HIT_RATE, no_hits, 1, NOT},
    {"set cache settings", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_SET_MDC_CONFIG, set_cache_settings, 1, NOT},
    {"retries", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_METADATA_READ_RETRY_INFO, retries, 1, NOT},
    {"start swmr", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_START_SWMR_WRITE, NULL, 1, CHANGE | BACK | H5VL_OPT_QUERY_WRITE_DATA},
    {"start log", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_START_MDC_LOGGING, start_log, 0, NOT},
    {"stop log", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_STOP_MDC_LOGGING, stop_log, 0, NOT},
    {"log state", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MDC_LOGGING_STATUS, log_state, 1, META},
    {"convert file", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_FORMAT_CONVERT, older_format, 1, NOT},
    {"reset page counts", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_RESET_PAGE_BUFFERING_STATS, no_page_counts, 0, NOT},
    {"page counts", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_PAGE_BUFFERING_STATS, page_counts, 0, NOT},
    {"cache image", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MDC_IMAGE_INFO, cache_image, 1, META},
    {"end", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_EOA, end, 1, META},
    {"larger", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_INCR_FILESIZE, larger, 1, NOT},
    {"format bounds", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_SET_LIBVER_BOUNDS, bounds, 1, CHANGE},
    {"are headers small", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_GET_MIN_DSET_OHDR_FLAG, small_headers, 1, NOT},
    {"small headers", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_SET_MIN_DSET_OHDR_FLAG, small_headers, 1, NOT},
    {"opened", &file, H5VL_SUBCLS_FILE, H5VL_NATIVE_FILE_POST_OPEN, NULL, 1, YES},
    {"members", &group, H5VL_SUBCLS_GROUP, H5VL_NATIVE_GROUP_ITERATE_OLD, members, 1, BACK},
    {"described", &group, H5VL_SUBCLS_GROUP, H5VL_NATIVE_GROUP_GET_OBJINFO, described, 1, META},
    {"set comment", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_SET_COMMENT, set_comment, 1, CHANGE},
    {"comment", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_GET_COMMENT, comment, 1, META},
    {"no flushes", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_DISABLE_MDC_FLUSHES, flushes, 1, YES},
    {"flushes", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_ENABLE_MDC_FLUSHES, flushes, 1, YES},
    {"are flushes disabled", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_ARE_MDC_FLUSHES_DISABLED, flushes, 1, YES},
    {"native info", &group, H5VL_SUBCLS_OBJECT, H5VL_NATIVE_OBJECT_GET_NATIVE_INFO, native_info, 1, NOT},
};

static void try_all(int ours)
{
    int wrong = 0;
    for (size_t n = 0; n < sizeof OPERATIONS / sizeof *OPERATIONS; n++) {
        const struct operation *one = &OPERATIONS[n];
        uint64_t told = 99;
        if (one->call) {
            QUIET(one->call());
            if ((result >= 0) != one->succeeds)
                wrong++, fprintf(stderr, "%s: the call %s\n", one->name, result < 0 ? "fails" : "succeeds");
        }
        QUIET(H5VLquery_optional(*one->of, one->class, one->number, &told));
        /* Native HDF5 reports all of its own operations as supported, except that it forgets the iteration over chunks and fails. */
        if (ours ? result < 0 || told != one->ours : result >= 0 && !(told & H5VL_OPT_QUERY_SUPPORTED))
            wrong++, fprintf(stderr, "%s: answered %d with flags %llx\n", one->name, (int)result, (unsigned long long)told);
    }
    CHECK(wrong == 0);
}

/* Queries about chunks fail on a dataset without chunks. */
static void without_chunks(void)
{
    hsize_t at = 0, bytes = 0, count = 0;
    haddr_t address;
    unsigned mask = 0, seen = 0;
    int values[10];
    H5D_chunk_index_t kind;
    hid_t space = H5Screate(H5S_SCALAR), unwritten = H5Dcreate2(file, "unwritten", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    QUIET(H5Dget_chunk_storage_size(unwritten, &at, &bytes));
    CHECK(result < 0 && H5Dget_offset(unwritten) == HADDR_UNDEF && H5Dclose(unwritten) >= 0 && H5Sclose(space) >= 0);
    QUIET(H5Dget_chunk_index_type(contiguous, &kind));
    CHECK(result < 0);
    QUIET(H5Dget_chunk_storage_size(contiguous, &at, &bytes));
    CHECK(result < 0);
    QUIET(H5Dget_num_chunks(contiguous, H5S_ALL, &count));
    CHECK(result < 0);
    QUIET(H5Dget_chunk_info(contiguous, H5S_ALL, 0, &at, &mask, &address, &bytes));
    CHECK(result < 0);
    QUIET(H5Dget_chunk_info_by_coord(contiguous, &at, &mask, &address, &bytes));
    CHECK(result < 0);
    QUIET(H5Dwrite_chunk(contiguous, DEF, 0, &at, sizeof values, values));
    CHECK(result < 0);
    QUIET(H5Dchunk_iter(contiguous, DEF, each_chunk, &seen));
    CHECK(result < 0 && seen == 0);
    CHECK(H5Dget_offset(chunked) == HADDR_UNDEF);
}

/* An unknown operation is reported as unsupported, for every kind of object. */
static void unknown(int ours)
{
    const H5VL_subclass_t kinds[] = {H5VL_SUBCLS_ATTR, H5VL_SUBCLS_DATASET, H5VL_SUBCLS_FILE, H5VL_SUBCLS_LINK, H5VL_SUBCLS_OBJECT};
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        uint64_t told = 99;
        QUIET(H5VLquery_optional(file, kinds[n], 999, &told));
        CHECK(ours ? result >= 0 && told == 0 : result < 0);
    }
}

int main(int count, char **arguments)
{
    CHECK(count >= 2);
    const int ours = count > 2, values[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    hsize_t ten = 10, five = 5;
    hid_t space = H5Screate_simple(1, &ten, NULL), chunks = H5Pcreate(H5P_DATASET_CREATE);
    CHECK((file = H5Fcreate(arguments[1], H5F_ACC_TRUNC, DEF, DEF)) >= 0 && H5Pset_chunk(chunks, 1, &five) >= 0);
    CHECK((group = H5Gcreate2(file, "group", DEF, DEF, DEF)) >= 0);
    CHECK((chunked = H5Dcreate2(file, "chunked", H5T_NATIVE_INT, space, DEF, chunks, DEF)) >= 0);
    CHECK((contiguous = H5Dcreate2(file, "contiguous", H5T_NATIVE_INT, space, DEF, DEF, DEF)) >= 0);
    CHECK((attribute = H5Acreate2(group, "attribute", H5T_NATIVE_INT, space, DEF, DEF)) >= 0);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, values) >= 0);
    CHECK(H5Dwrite(chunked, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    CHECK(H5Dwrite(contiguous, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    try_all(ours);
    without_chunks();
    unknown(ours);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(contiguous) >= 0 && H5Dclose(chunked) >= 0 && H5Gclose(group) >= 0);
    CHECK(H5Pclose(chunks) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

/* Calls that few programs make: about chunks and storage, hard-link counts, comments, anonymous objects, mounts,
 * property lists of the application, a filter that is no longer registered; and deprecated calls: calls FILE OTHER
 * [ours]. */
#include "check.h"

#define DEF H5P_DEFAULT

static hid_t open_again(hid_t file, const char *name)
{
    CHECK(H5Fclose(file) >= 0);
    file = H5Fopen(name, H5F_ACC_RDWR, DEF);
    CHECK(file >= 0);
    return file;
}

/* --- chunks and storage --------------------------------------------------------------------------------------- */

typedef struct {
    int chunks;
    hsize_t bytes, last[2];
    unsigned masks;
} seen_t;

static int see(const hsize_t *offset, unsigned mask, haddr_t address, hsize_t size, void *data)
{
    seen_t *seen = data;
    CHECK(offset[0] % 4 == 0 && offset[1] % 5 == 0 && address != 0);
    seen->chunks++;
    seen->bytes += size;
    seen->masks |= mask;
    memcpy(seen->last, offset, sizeof seen->last);
    return seen->chunks == 3 ? H5_ITER_STOP : H5_ITER_CONT;
}

static void space_status(hid_t set, H5D_space_status_t wanted)
{
    H5D_space_status_t status;
    CHECK(H5Dget_space_status(set, &status) >= 0 && status == wanted);
}

static void chunks(hid_t file)
{
    hsize_t size[2] = {12, 10}, chunk[2] = {4, 5}, start[2] = {0, 0}, count, offset[2], bytes, of_chunk;
    hsize_t block[2] = {5, 10};
    int values[50] = {0};
    unsigned mask;
    haddr_t address;
    char connector[32];
    hid_t space = H5Screate_simple(2, size, NULL), memory, list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(H5Pset_chunk(list, 2, chunk) >= 0);
    hid_t set = H5Dcreate2(file, "chunks", H5T_NATIVE_INT, space, DEF, list, DEF);
    seen_t seen = {0};
    space_status(set, H5D_SPACE_STATUS_NOT_ALLOCATED);
    CHECK(H5Dget_storage_size(set) == 0 && H5Dget_num_chunks(set, H5S_ALL, &count) >= 0 && count == 0);
    CHECK(H5Dchunk_iter(set, DEF, see, &seen) >= 0 && seen.chunks == 0);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, block, NULL) >= 0);
    memory = H5Screate_simple(2, block, NULL);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, DEF, values) >= 0 && H5Sclose(memory) >= 0);
    space_status(set, H5D_SPACE_STATUS_PART_ALLOCATED);
    CHECK(H5Dget_num_chunks(set, H5S_ALL, &count) >= 0 && count == 4 && H5Dget_storage_size(set) == 4 * 80);
    /* A callback that returns the request to stop is not called again. */
    CHECK(H5Dchunk_iter(set, DEF, see, &seen) >= 0 && seen.chunks == 3 && seen.bytes == 240 && !seen.masks);
    CHECK(H5Dget_chunk_info(set, H5S_ALL, 3, offset, &mask, &address, &bytes) >= 0 && bytes == 80 && !mask);
    CHECK(offset[0] == 4 && offset[1] == 5 && address != HADDR_UNDEF);
    /* A container's chunk has an address that cannot be read in any file. */
    CHECK(H5VLget_connector_name(file, connector, sizeof connector) > 0);
    CHECK((address > INT64_MAX) == !strcmp(connector, "h5lake"));
    CHECK(H5Dget_chunk_info_by_coord(set, offset, &mask, &address, &bytes) >= 0 && bytes == 80);
    CHECK(H5Dget_chunk_storage_size(set, offset, &of_chunk) >= 0 && of_chunk == 80);
    offset[0] = 8;
    CHECK(H5Dget_chunk_info_by_coord(set, offset, &mask, &address, &bytes) >= 0 && bytes == 0 && address == HADDR_UNDEF);
    H5E_BEGIN_TRY
    {
        CHECK(H5Dget_chunk_info(set, H5S_ALL, 4, offset, &mask, &address, &bytes) < 0);
    }
    H5E_END_TRY
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, calloc(120, sizeof(int))) >= 0);
    space_status(set, H5D_SPACE_STATUS_ALLOCATED);
    CHECK(H5Dclose(set) >= 0);
    set = H5Dcreate2(file, "whole", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    space_status(set, H5D_SPACE_STATUS_NOT_ALLOCATED);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, calloc(120, sizeof(int))) >= 0);
    space_status(set, H5D_SPACE_STATUS_ALLOCATED);
    CHECK(H5Dget_storage_size(set) == 480);
    H5E_BEGIN_TRY
    {
        CHECK(H5Dget_num_chunks(set, H5S_ALL, &count) < 0 && H5Dchunk_iter(set, DEF, see, &seen) < 0);
    }
    H5E_END_TRY
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

static void sequences(hid_t file)
{
    hsize_t three = 3, bytes;
    int items[] = {1, 2, 3, 4};
    hvl_t values[3] = {{2, items}, {0, NULL}, {4, items}};
    hid_t type = H5Tvlen_create(H5T_NATIVE_INT), space = H5Screate_simple(1, &three, NULL);
    hid_t set = H5Dcreate2(file, "sequences", type, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    CHECK(H5Dvlen_get_buf_size(set, type, space, &bytes) >= 0 && bytes == 6 * sizeof(int));
    CHECK(H5Dread(set, type, H5S_ALL, H5S_ALL, DEF, values) >= 0 && values[2].len == 4 && ((int *)values[2].p)[3] == 4);
    CHECK(H5Dvlen_reclaim(type, space, DEF, values) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Tclose(type) >= 0);
}

/* --- objects -------------------------------------------------------------------------------------------------- */

static unsigned links_to(hid_t object)
{
    H5O_info2_t info;
    CHECK(H5Oget_info3(object, &info, H5O_INFO_BASIC) >= 0);
    return info.rc;
}

static void counts(hid_t *file, const char *name)
{
    char text[20];
    H5O_info2_t info;
    hid_t group = H5Gcreate2(*file, "counted", DEF, DEF, DEF);
    CHECK(links_to(group) == 1 && H5Oincr_refcount(group) >= 0 && links_to(group) == 2);
    /* The object has no link, but a count that retains it. */
    CHECK(H5Ldelete(*file, "counted", DEF) >= 0 && links_to(group) == 1);
    CHECK(H5Oset_comment(group, "held") >= 0 && H5Oget_info3(group, &info, H5O_INFO_BASIC) >= 0 && H5Gclose(group) >= 0);
    *file = open_again(*file, name);
    group = H5Oopen_by_token(*file, info.token);
    CHECK(group >= 0 && H5Oget_comment(group, text, sizeof text) == 4 && strcmp(text, "held") == 0);
    CHECK(H5Olink(group, *file, "found", DEF, DEF) >= 0 && links_to(group) == 2);
    CHECK(H5Odecr_refcount(group) >= 0 && links_to(group) == 1 && H5Gclose(group) >= 0);
    CHECK(H5Oset_comment_by_name(*file, "found", NULL, DEF) >= 0);
    CHECK(H5Oget_comment_by_name(*file, "found", text, sizeof text, DEF) == 0);
}

static void anonymous(hid_t *file, const char *name)
{
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_NATIVE_SHORT);
    hid_t group = H5Gcreate_anon(*file, DEF, DEF), set = H5Dcreate_anon(*file, H5T_NATIVE_INT, space, DEF, DEF);
    int value = 7;
    CHECK(H5Tcommit_anon(*file, type, DEF, DEF) >= 0 && H5Tcommitted(type) > 0);
    CHECK(links_to(group) == 0 && links_to(set) == 0);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    CHECK(H5Olink(set, group, "set", DEF, DEF) >= 0 && H5Olink(group, *file, "named", DEF, DEF) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Gclose(group) >= 0 && H5Tclose(type) >= 0 && H5Sclose(space) >= 0);
    *file = open_again(*file, name);
    set = H5Dopen2(*file, "named/set", DEF);
    value = 0;
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && value == 7);
    /* The object is deleted while it is open. */
    CHECK(H5Ldelete(*file, "named", DEF) >= 0);
    value = 8;
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && value == 8 && H5Dclose(set) >= 0);
}

/* Returns whether a mount is refused. */
static int is_refused(hid_t loc, const char *name, hid_t child)
{
    herr_t done;
    H5E_BEGIN_TRY
    {
        done = H5Fmount(loc, name, child, DEF);
    }
    H5E_END_TRY
    return done < 0;
}

/* A file can be mounted only once, and not on itself, not even through other files. "other" has the group "inside". */
static void refused_mounts(hid_t file, hid_t other, const char *other_name)
{
    char name[200];
    hid_t third, strong = H5Pcreate(H5P_FILE_ACCESS), again = H5Freopen(file);
    CHECK(snprintf(name, sizeof name, "third_%s", other_name) > 0 && again >= 0);
    CHECK(H5Pset_fclose_degree(strong, H5F_CLOSE_STRONG) >= 0);
    third = H5Fcreate(name, H5F_ACC_TRUNC, DEF, strong);
    CHECK(third >= 0 && is_refused(file, "mount", third) && H5Fclose(third) >= 0 && H5Pclose(strong) >= 0);
    third = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF);
    CHECK(third >= 0 && H5Gclose(H5Gcreate2(third, "deep", DEF, DEF, DEF)) >= 0);
    CHECK(is_refused(file, "mount", file) && is_refused(file, "mount", again));
    CHECK(H5Fmount(file, "mount", other, DEF) >= 0 && H5Fmount(file, "mount/inside", third, DEF) >= 0);
    CHECK(H5Lexists(file, "mount/inside/deep", DEF) > 0);
    CHECK(is_refused(third, "deep", file) && is_refused(third, "deep", again) && is_refused(third, "deep", other));
    CHECK(is_refused(file, "mount/inside/deep", file) && is_refused(file, "mount/inside/deep", again));
    CHECK(is_refused(again, "mount", other));
    CHECK(H5Funmount(file, "mount/inside") >= 0 && H5Funmount(file, "mount") >= 0);
    /* An unmounted file can be mounted again, also the other way round. */
    CHECK(H5Fmount(third, "deep", other, DEF) >= 0 && H5Lexists(third, "deep/inside", DEF) > 0);
    CHECK(is_refused(other, "inside", third) && H5Funmount(third, "deep") >= 0);
    CHECK(H5Fclose(third) >= 0 && H5Fclose(again) >= 0 && H5Fdelete(name, DEF) >= 0);
}

static void mounts(hid_t file, const char *other_name)
{
    hid_t other = H5Fcreate(other_name, H5F_ACC_TRUNC, DEF, DEF), group, again;
    char name[40];
    group = H5Gcreate2(other, "inside", DEF, DEF, DEF);
    CHECK(H5Gclose(group) >= 0);
    group = H5Gcreate2(file, "mount", DEF, DEF, DEF);
    CHECK(H5Gclose(H5Gcreate2(group, "hidden", DEF, DEF, DEF)) >= 0 && H5Gclose(group) >= 0);
    refused_mounts(file, other, other_name);
    CHECK(H5Fmount(file, "mount", other, DEF) >= 0);
    CHECK(H5Lexists(file, "mount/inside", DEF) > 0 && H5Lexists(file, "mount/hidden", DEF) == 0);
    group = H5Gopen2(file, "mount/inside", DEF);
    CHECK(group >= 0 && H5Iget_name(group, name, sizeof name) > 0 && strcmp(name, "/mount/inside") == 0);
    CHECK(H5Gclose(H5Gcreate2(group, "new", DEF, DEF, DEF)) >= 0 && H5Gclose(group) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Fmount(file, "mount", file, DEF) < 0);
    }
    H5E_END_TRY
    CHECK(H5Funmount(file, "mount") >= 0 && H5Lexists(file, "mount/hidden", DEF) > 0);
    CHECK(H5Lexists(other, "inside/new", DEF) > 0);
    again = H5Freopen(other);
    CHECK(again >= 0 && H5Fclose(other) >= 0 && H5Lexists(again, "inside/new", DEF) > 0 && H5Fclose(again) >= 0);
    CHECK(H5Fis_accessible(other_name, DEF) > 0 && H5Fdelete(other_name, DEF) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Fopen(other_name, H5F_ACC_RDONLY, DEF) < 0 && H5Fis_accessible(other_name, DEF) <= 0);
    }
    H5E_END_TRY
}

/* A property that the application defined stays with the open dataset. */
static void properties(hid_t file)
{
    int mine = 42, got = 0;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate(H5S_SCALAR), again;
    CHECK(H5Pinsert2(list, "mine", sizeof mine, &mine, NULL, NULL, NULL, NULL, NULL, NULL) >= 0);
    hid_t set = H5Dcreate2(file, "with a property", H5T_NATIVE_INT, space, DEF, list, DEF);
    again = H5Dget_create_plist(set);
    CHECK(H5Pexist(again, "mine") > 0 && H5Pget(again, "mine", &got) >= 0 && got == 42);
    CHECK(H5Pclose(again) >= 0 && H5Pclose(list) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
}

/* --- a filter that is gone ------------------------------------------------------------------------------------ */

static size_t turn(unsigned flags, size_t n, const unsigned *values, size_t bytes, size_t *room, void **data)
{
    (void)flags, (void)n, (void)values, (void)room;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)*data)[i] ^= 0x55;
    return bytes;
}

static herr_t note(unsigned n, const H5E_error2_t *frame, void *data)
{
    (void)n;
    if (frame->desc)
        strncat(data, frame->desc, 3000 - strlen(data));
    return 0;
}

static void missing_filter(hid_t file, int ours)
{
    const H5Z_class2_t class = {H5Z_CLASS_T_VERS, 300, 1, 1, "turner", NULL, NULL, turn};
    hsize_t size = 8, chunk = 4;
    int values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static char words[3001];
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &size, NULL);
    CHECK(H5Zregister(&class) >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    CHECK(H5Pset_filter(list, 300, H5Z_FLAG_MANDATORY, 0, NULL) >= 0);
    hid_t set = H5Dcreate2(file, "turned", H5T_NATIVE_INT, space, DEF, list, DEF);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Dclose(set) >= 0);
    CHECK(H5Zunregister(300) >= 0 && H5Zfilter_avail(300) == 0);
    set = H5Dopen2(file, "turned", DEF);
    H5E_BEGIN_TRY
    {
        CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) < 0);
        CHECK(H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, note, words) >= 0);
        CHECK(H5Dcreate2(file, "never", H5T_NATIVE_INT, space, DEF, list, DEF) < 0);
    }
    H5E_END_TRY
    /* Native HDF5 names the filter only if the file contains the name. */
    CHECK(!ours || (strstr(words, "turner") && strstr(words, "300")));
    CHECK(H5Zregister(&class) >= 0 && H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && values[7] == 8);
    CHECK(H5Dclose(set) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
}

/* --- deprecated calls ----------------------------------------------------------------------------------------- */

static herr_t each_member(hid_t group, const char *name, void *data)
{
    H5G_stat_t told;
    CHECK(H5Gget_objinfo(group, name, 0, &told) >= 0);
    CHECK(told.type == (strcmp(name, "link") ? strcmp(name, "set") ? strcmp(name, "type") ? H5G_GROUP : H5G_TYPE : H5G_DATASET : H5G_LINK));
    strcat(strcat(data, name), " ");
    return 0;
}

static herr_t each_link(hid_t group, const char *name, const H5L_info1_t *info, void *data)
{
    (void)group;
    CHECK(info->type == (strcmp(name, "link") ? H5L_TYPE_HARD : H5L_TYPE_SOFT));
    strcat(strcat(data, name), " ");
    return 0;
}

static herr_t each_object(hid_t group, const char *name, const H5O_info1_t *info, void *data)
{
    (void)group;
    CHECK(info->rc == 1 && info->addr != HADDR_UNDEF);
    strcat(strcat(data, name), " ");
    return 0;
}

static herr_t each_attribute(hid_t object, const char *name, void *data)
{
    (void)object;
    strcat(strcat(data, name), " ");
    return 0;
}

static void deprecated(hid_t file)
{
    char text[200] = "";
    hsize_t members;
    int value = 3, at = 0;
    hobj_ref_t reference;
    H5O_info1_t info, again;
    H5L_info1_t link;
    H5G_stat_t told;
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_NATIVE_INT), group = H5Gcreate1(file, "old", 0);
    CHECK(group >= 0 && H5Gclose(H5Gcreate1(group, "group", 0)) >= 0 && H5Tcommit1(group, "type", type) >= 0);
    hid_t set = H5Dcreate1(group, "set", H5T_NATIVE_INT, space, DEF), attribute;
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    attribute = H5Acreate1(set, "a", H5T_NATIVE_INT, space, DEF);
    CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0 && H5Aclose(attribute) >= 0);
    attribute = H5Acreate1(set, "b", type, space, DEF);
    CHECK(attribute >= 0 && H5Aclose(attribute) >= 0 && H5Aget_num_attrs(set) == 2);
    CHECK(H5Aiterate1(set, NULL, each_attribute, text) >= 0 && strcmp(text, "a b ") == 0);
    attribute = H5Aopen_name(set, "b");
    CHECK(attribute >= 0 && H5Aclose(attribute) >= 0);
    attribute = H5Aopen_idx(set, 1);
    CHECK(H5Aget_name(attribute, sizeof text, text) == 1 && strcmp(text, "b") == 0 && H5Aclose(attribute) >= 0);
    CHECK(H5Glink(group, H5G_LINK_SOFT, "set", "link") >= 0);
    text[0] = 0;
    CHECK(H5Giterate(file, "old", NULL, each_member, text) >= 0 && strcmp(text, "group link set type ") == 0);
    text[0] = 0;
    CHECK(H5Giterate(file, "old", &at, each_member, text) >= 0 && at == 4);
    text[0] = 0;
    CHECK(H5Literate1(group, H5_INDEX_NAME, H5_ITER_DEC, NULL, each_link, text) >= 0 && strcmp(text, "type set link group ") == 0);
    text[0] = 0;
    CHECK(H5Lvisit1(group, H5_INDEX_NAME, H5_ITER_INC, each_link, text) >= 0 && strcmp(text, "group link set type ") == 0);
    text[0] = 0;
    CHECK(H5Ovisit_by_name1(file, "old/group", H5_INDEX_NAME, H5_ITER_INC, each_object, text, DEF) >= 0 && strcmp(text, ". ") == 0);
    CHECK(H5Gget_num_objs(group, &members) >= 0 && members == 4);
    CHECK(H5Gget_objname_by_idx(group, 2, text, sizeof text) == 3 && strcmp(text, "set") == 0);
    CHECK(H5Gget_objtype_by_idx(group, 2) == H5G_DATASET);
    CHECK(H5Gget_linkval(group, "link", sizeof text, text) >= 0 && strcmp(text, "set") == 0);
    CHECK(H5Gset_comment(group, "set", "said") >= 0 && H5Gget_comment(group, "set", sizeof text, text) == 4);
    CHECK(strcmp(text, "said") == 0);
    CHECK(H5Oget_info1(set, &info) >= 0 && info.type == H5O_TYPE_DATASET && info.num_attrs == 2);
    CHECK(H5Oget_info_by_name1(group, "link", &again, DEF) >= 0 && info.addr == again.addr && info.fileno == again.fileno);
    CHECK(H5Gget_objinfo(group, "link", 1, &told) >= 0 && told.type == H5G_DATASET && told.nlink == 1);
    CHECK(H5Lget_info1(group, "set", &link, DEF) >= 0 && link.type == H5L_TYPE_HARD && link.u.address == info.addr);
    CHECK(H5Rcreate(&reference, group, "set", H5R_OBJECT, -1) >= 0 && H5Rget_obj_type1(file, H5R_OBJECT, &reference) == H5G_DATASET);
    hid_t other = H5Rdereference1(file, H5R_OBJECT, &reference);
    CHECK(other >= 0 && H5Rget_name(file, H5R_OBJECT, &reference, text, sizeof text) > 0 && strcmp(text, "/old/set") == 0);
    CHECK(H5Oopen_by_addr(file, info.addr) >= 0 && H5Dclose(other) >= 0);
    other = H5Topen1(group, "type");
    CHECK(other >= 0 && H5Tequal(other, type) > 0 && H5Tclose(other) >= 0);
    CHECK(H5Gmove(group, "set", "moved") >= 0 && H5Gmove2(group, "moved", file, "moved") >= 0);
    other = H5Dopen1(file, "moved");
    CHECK(other >= 0 && H5Dclose(other) >= 0 && H5Gunlink(file, "moved") >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Tclose(type) >= 0 && H5Sclose(space) >= 0 && H5Gclose(group) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF);
    chunks(file);
    sequences(file);
    counts(&file, argv[1]);
    anonymous(&file, argv[1]);
    mounts(file, argv[2]);
    properties(file);
    missing_filter(file, argc > 3);
    deprecated(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

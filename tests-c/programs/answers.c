/* The answers of calls that few programs make: copies of references, names of moved objects, deleted attributes,
 * classes of links, intents, iterations that end with an error: answers FILE OTHER [ours]. */
#include "quiet.h"
#include <sys/stat.h>
#include <unistd.h>

#define DEF H5P_DEFAULT
#define FAILS(what)                                                                                                          \
    do {                                                                                                                     \
        QUIET(what);                                                                                                         \
        CHECK(result < 0);                                                                                                   \
    } while (0)

static int is_named(hid_t object, const char *wanted)
{
    char name[200] = "";
    CHECK(H5Iget_name(object, name, sizeof name) >= 0);
    if (strcmp(name, wanted) != 0)
        fprintf(stderr, "named %s, not %s\n", name, wanted);
    return strcmp(name, wanted) == 0;
}

static void group(hid_t at, const char *name)
{
    CHECK(H5Gclose(H5Gcreate2(at, name, DEF, DEF, DEF)) >= 0);
}

/* References within a file lead to the same objects after a copy, also if the copy is to expand them. */
static void references(hid_t file)
{
    hsize_t two = 2;
    hobj_ref_t references[2];
    hid_t space = H5Screate_simple(1, &two, NULL), set, copy = H5Pcreate(H5P_OBJECT_COPY), target;
    H5G_info_t before, after;
    group(file, "from"), group(file, "from/in"), group(file, "beside");
    CHECK(H5Rcreate(&references[0], file, "from/in", H5R_OBJECT, -1) >= 0);
    CHECK(H5Rcreate(&references[1], file, "beside", H5R_OBJECT, -1) >= 0);
    set = H5Dcreate2(file, "from/references", H5T_STD_REF_OBJ, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(set, H5T_STD_REF_OBJ, H5S_ALL, H5S_ALL, DEF, references) >= 0 && H5Dclose(set) >= 0);
    /* A copy that is to expand external links is made by another function. */
    CHECK(H5Lcreate_external("none.h5", "/", file, "from/out", DEF, DEF) >= 0);
    const unsigned flags[] = {H5O_COPY_EXPAND_REFERENCE_FLAG, H5O_COPY_EXPAND_REFERENCE_FLAG | H5O_COPY_EXPAND_EXT_LINK_FLAG};
    for (size_t n = 0; n < 2; n++) {
        CHECK(H5Pset_copy_object(copy, flags[n]) >= 0 && H5Gget_info(file, &before) >= 0);
        CHECK(H5Ocopy(file, "from", file, n ? "to2" : "to", copy, DEF) >= 0 && H5Gget_info(file, &after) >= 0);
        CHECK(after.nlinks == before.nlinks + 1);
        set = H5Dopen2(file, n ? "to2/references" : "to/references", DEF);
        CHECK(H5Dread(set, H5T_STD_REF_OBJ, H5S_ALL, H5S_ALL, DEF, references) >= 0);
        CHECK((target = H5Rdereference2(set, DEF, H5R_OBJECT, &references[0])) >= 0 && is_named(target, "/from/in"));
        CHECK(H5Oclose(target) >= 0);
        CHECK((target = H5Rdereference2(set, DEF, H5R_OBJECT, &references[1])) >= 0 && is_named(target, "/beside"));
        CHECK(H5Oclose(target) >= 0 && H5Dclose(set) >= 0);
    }
    CHECK(H5Sclose(space) >= 0 && H5Pclose(copy) >= 0);
}

/* References in an attribute lead to copies if a copy is to expand them, as in native HDF5. References in a compound do
 * not. */
static void references_of_attributes(hid_t file, int ours)
{
    hsize_t two = 2;
    hobj_ref_t references[2];
    hid_t space = H5Screate_simple(1, &two, NULL), of, attribute, copy = H5Pcreate(H5P_OBJECT_COPY), target, compound;
    char name[64];
    H5G_info_t before, after;
    group(file, "of"), group(file, "of/in"), group(file, "near");
    of = H5Gopen2(file, "of", DEF);
    CHECK(H5Rcreate(&references[0], file, "of/in", H5R_OBJECT, -1) >= 0);
    CHECK(H5Rcreate(&references[1], file, "near", H5R_OBJECT, -1) >= 0);
    compound = H5Tcreate(H5T_COMPOUND, sizeof(hobj_ref_t));
    CHECK(H5Tinsert(compound, "reference", 0, H5T_STD_REF_OBJ) >= 0);
    CHECK((attribute = H5Acreate2(of, "plain", H5T_STD_REF_OBJ, space, DEF, DEF)) >= 0);
    CHECK(H5Awrite(attribute, H5T_STD_REF_OBJ, references) >= 0 && H5Aclose(attribute) >= 0);
    CHECK((attribute = H5Acreate2(of, "compound", compound, space, DEF, DEF)) >= 0);
    CHECK(H5Awrite(attribute, compound, references) >= 0 && H5Aclose(attribute) >= 0 && H5Gclose(of) >= 0);
    /* A copy that is to expand external links is made by another function. */
    CHECK(H5Lcreate_external("none.h5", "/", file, "of/out", DEF, DEF) >= 0);
    const unsigned flags[] = {H5O_COPY_EXPAND_REFERENCE_FLAG, H5O_COPY_EXPAND_REFERENCE_FLAG | H5O_COPY_EXPAND_EXT_LINK_FLAG};
    for (size_t n = 0; n < 2; n++) {
        CHECK(H5Pset_copy_object(copy, flags[n]) >= 0 && H5Gget_info(file, &before) >= 0);
        CHECK(H5Ocopy(file, "of", file, n ? "at2" : "at1", copy, DEF) >= 0 && H5Gget_info(file, &after) >= 0);
        /* Native HDF5 gives the copy of "in" a second link in the root group. */
        CHECK(after.nlinks == before.nlinks + 2 + !ours);
        CHECK((attribute = H5Aopen_by_name(file, n ? "at2" : "at1", "plain", DEF, DEF)) >= 0);
        CHECK(H5Aread(attribute, H5T_STD_REF_OBJ, references) >= 0);
        CHECK((target = H5Rdereference2(file, DEF, H5R_OBJECT, &references[0])) >= 0 && (!ours || is_named(target, n ? "/at2/in" : "/at1/in")));
        CHECK(H5Oclose(target) >= 0 && (target = H5Rdereference2(file, DEF, H5R_OBJECT, &references[1])) >= 0);
        CHECK(H5Iget_name(target, name, sizeof name) > 0 && strncmp(name, "/~obj_pointed_by_", 17) == 0);
        CHECK(H5Oclose(target) >= 0 && H5Aclose(attribute) >= 0);
        CHECK((attribute = H5Aopen_by_name(file, n ? "at2" : "at1", "compound", DEF, DEF)) >= 0);
        CHECK(H5Aread(attribute, compound, references) >= 0 && H5Aclose(attribute) >= 0);
        CHECK((target = H5Rdereference2(file, DEF, H5R_OBJECT, &references[1])) >= 0 && is_named(target, "/near"));
        CHECK(H5Oclose(target) >= 0);
    }
    CHECK(H5Sclose(space) >= 0 && H5Pclose(copy) >= 0 && H5Tclose(compound) >= 0);
}

/* Names follow moved links. */
static void names(hid_t file)
{
    hid_t in, on, deep;
    group(file, "a"), group(file, "a/b"), group(file, "a/b/c"), group(file, "z");
    in = H5Gopen2(file, "a/b", DEF), on = H5Gopen2(file, "a", DEF), deep = H5Gopen2(in, "c", DEF);
    CHECK(H5Lmove(file, "a", file, "z/m", DEF, DEF) >= 0 && is_named(on, "/z/m") && is_named(in, "/z/m/b"));
    CHECK(is_named(deep, "/z/m/b/c") && H5Lmove(on, "b", file, "moved", DEF, DEF) >= 0 && is_named(deep, "/moved/c"));
    group(file, "a");
    CHECK(is_named(on, "/z/m") && is_named(in, "/moved") && is_named(deep, "/moved/c"));
    CHECK(H5Ldelete(file, "moved", DEF) >= 0 && is_named(in, ""));
    CHECK(H5Gclose(in) >= 0 && H5Gclose(on) >= 0 && H5Gclose(deep) >= 0);
}

/* A write to a deleted attribute would be lost, so it fails. */
static void deleted_attribute(hid_t file)
{
    hid_t space = H5Screate(H5S_SCALAR), attribute, other;
    int value = 7;
    attribute = H5Acreate2(file, "gone", H5T_NATIVE_INT, space, DEF, DEF), other = H5Aopen(file, "gone", DEF);
    CHECK(H5Awrite(other, H5T_NATIVE_INT, &value) >= 0 && H5Adelete(file, "gone") >= 0);
    FAILS(H5Awrite(attribute, H5T_NATIVE_INT, &value));
    FAILS(H5Awrite(other, H5T_NATIVE_INT, &value));
    CHECK(H5Aclose(attribute) >= 0 && H5Aclose(other) >= 0 && H5Sclose(space) >= 0 && H5Aexists(file, "gone") == 0);
}

static hid_t follow(const char *name, hid_t at, const void *value, size_t size, hid_t access, hid_t transfer)
{
    (void)name, (void)size, (void)transfer;
    return H5Oopen(at, value, access);
}

/* A class of links has to be registered. */
static void link_class(hid_t file)
{
    const H5L_class_t class = {H5L_LINK_CLASS_T_VERS, (H5L_type_t)101, "mine", NULL, NULL, NULL, follow, NULL, NULL};
    FAILS(H5Lcreate_ud(file, "mine", (H5L_type_t)101, "/z", 3, DEF, DEF));
    CHECK(H5Lregister(&class) >= 0 && H5Lcreate_ud(file, "mine", (H5L_type_t)101, "/z", 3, DEF, DEF) >= 0);
    CHECK(H5Lunregister((H5L_type_t)101) >= 0);
    FAILS(H5Lcopy(file, "mine", file, "yours", DEF, DEF));
    FAILS(H5Lmove(file, "mine", file, "ours", DEF, DEF));
    CHECK(H5Lexists(file, "mine", DEF) > 0);
}

/* A file has the intent of its first open, whichever identifier is used. */
static void intents(hid_t file, const char *name)
{
    unsigned intent = 99;
    hid_t again = H5Fopen(name, H5F_ACC_RDONLY, DEF);
    CHECK(again >= 0 && H5Fget_intent(again, &intent) >= 0 && intent == H5F_ACC_RDWR);
    CHECK(H5Fget_intent(file, &intent) >= 0 && intent == H5F_ACC_RDWR && H5Fclose(again) >= 0);
}

/* The descriptor and the image of a file belong to the file that was opened, and show its current content. */
static void descriptor_and_image(const char *name)
{
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF), image, list = H5Pcreate(H5P_FILE_ACCESS);
    int *number = NULL, value = 1;
    struct stat opened, found;
    char before[4096], *bytes;
    hid_t space = H5Screate(H5S_SCALAR), set = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    CHECK(stat(name, &opened) == 0 && getcwd(before, sizeof before) && chdir("/") == 0);
    CHECK(H5Fget_vfd_handle(file, DEF, (void **)&number) >= 0 && fstat(*number, &found) == 0);
    CHECK(opened.st_dev == found.st_dev && opened.st_ino == found.st_ino && chdir(before) == 0);
    ssize_t size = H5Fget_file_image(file, NULL, 0);
    value = 2;
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    CHECK(size > 0 && (bytes = malloc((size_t)size + 65536)) && (size = H5Fget_file_image(file, bytes, (size_t)size + 65536)) > 0);
    CHECK(H5Pset_fapl_core(list, 65536, 0) >= 0 && H5Pset_file_image(list, bytes, (size_t)size) >= 0);
    CHECK((image = H5Fopen("image", H5F_ACC_RDONLY, list)) >= 0);
    CHECK(H5Dclose(set) >= 0 && (set = H5Dopen2(image, "x", DEF)) >= 0);
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && value == 2);
    CHECK(H5Dclose(set) >= 0 && H5Fclose(image) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    free(bytes);
}

/* A file that was closed while an object of it stays open can neither be reopened with more rights nor be replaced. */
static void object_of_a_closed_file(const char *name)
{
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, DEF), set = H5Dopen2(file, "x", DEF);
    CHECK(set >= 0 && H5Fclose(file) >= 0);
    FAILS(H5Fopen(name, H5F_ACC_RDWR, DEF));
    FAILS(H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF));
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, DEF)) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Dclose(set) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDWR, DEF)) >= 0 && H5Lexists(file, "x", DEF) > 0 && H5Fclose(file) >= 0);
}

static herr_t end(hid_t at, const char *name, const H5L_info2_t *info, void *how)
{
    (void)name, (void)info;
    if (*(int *)how == 1)
        return -3;
    return H5Iis_valid(at) > 0 ? H5Gclose(at) : 0;
}

/* An error of the callback leaves the position unchanged, and so does an error that closes the group. */
static void iterations(hid_t file)
{
    int how = 1;
    hsize_t position = 1;
    FAILS(H5Literate2(file, H5_INDEX_NAME, H5_ITER_INC, &position, end, &how));
    CHECK(position == 1);
    how = 2;
    FAILS(H5Literate2(file, H5_INDEX_NAME, H5_ITER_INC, &position, end, &how));
    CHECK(position == 1);
}

static H5O_mcdt_search_ret_t stop(void *data)
{
    (void)data;
    return H5O_MCDT_SEARCH_STOP;
}

/* Committed types are searched for in the whole file; other searches are refused. */
static void merging(hid_t file, const char *name, int ours)
{
    hid_t other = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF), type = H5Tcopy(H5T_NATIVE_INT);
    hid_t plain = H5Pcreate(H5P_OBJECT_COPY), first = H5Pcreate(H5P_OBJECT_COPY), asking = H5Pcreate(H5P_OBJECT_COPY);
    CHECK(H5Tcommit2(file, "type", type, DEF, DEF, DEF) >= 0);
    CHECK(H5Pset_copy_object(plain, H5O_COPY_MERGE_COMMITTED_DTYPE_FLAG) >= 0);
    CHECK(H5Pset_copy_object(first, H5O_COPY_MERGE_COMMITTED_DTYPE_FLAG) >= 0);
    CHECK(H5Pset_copy_object(asking, H5O_COPY_MERGE_COMMITTED_DTYPE_FLAG) >= 0);
    CHECK(H5Padd_merge_committed_dtype_path(first, "/one") >= 0 && H5Pset_mcdt_search_cb(asking, stop, NULL) >= 0);
    CHECK(H5Ocopy(file, "type", other, "one", plain, DEF) >= 0);
    QUIET(H5Ocopy(file, "type", other, "two", first, DEF));
    CHECK((result >= 0) == !ours);
    QUIET(H5Ocopy(file, "type", other, "three", asking, DEF));
    CHECK((result >= 0) == !ours);
    CHECK(H5Pclose(plain) >= 0 && H5Pclose(first) >= 0 && H5Pclose(asking) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Fclose(other) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF);
    references(file);
    references_of_attributes(file, argc > 3);
    names(file);
    deleted_attribute(file);
    link_class(file);
    intents(file, argv[1]);
    iterations(file);
    merging(file, argv[2], argc > 3);
    CHECK(H5Fclose(file) >= 0);
    descriptor_and_image(argv[2]);
    object_of_a_closed_file(argv[2]);
    return 0;
}

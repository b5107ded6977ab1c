/* The links that calls follow when they create links and objects, the groups that they leave behind, and the stored
 * values of links: making FILE OTHER AWAY [stored]. AWAY is created in the folder "away". */
#include "quiet.h"
#include <sys/stat.h>

#define DEF H5P_DEFAULT
#define KINDS 3
#define FAILS(what)                                                                                                          \
    do {                                                                                                                     \
        QUIET(what);                                                                                                         \
        CHECK(result < 0);                                                                                                   \
    } while (0)

static void group(hid_t at, const char *name)
{
    CHECK(H5Gclose(H5Gcreate2(at, name, DEF, DEF, DEF)) >= 0);
}

static void number(hid_t at, const char *name, int value)
{
    hid_t space = H5Screate(H5S_SCALAR), dataset = H5Dcreate2(at, name, H5T_NATIVE_INT, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Sclose(space) >= 0);
}

/* Creates a group, a dataset or a committed datatype, and deletes it; returns whether it could be created. */
static int makes(hid_t file, int kind, const char *name, hid_t access)
{
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_NATIVE_INT), made = -1;
    H5E_BEGIN_TRY
    {
        if (kind == 0)
            made = H5Gcreate2(file, name, DEF, DEF, access);
        else if (kind == 1)
            made = H5Dcreate2(file, name, type, space, DEF, DEF, access);
        else
            made = H5Tcommit2(file, name, type, DEF, DEF, access) < 0 ? -1 : type;
    }
    H5E_END_TRY
    CHECK(made < 0 || made == type || H5Oclose(made) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Sclose(space) >= 0);
    CHECK(made < 0 || H5Ldelete(file, name, access) >= 0);
    return made >= 0;
}

static int called;

static herr_t refuse(const char *parent, const char *path, const char *file, const char *object, unsigned *flags,
                     hid_t access, void *data)
{
    (void)parent, (void)path, (void)file, (void)object, (void)flags, (void)access, (void)data;
    called++;
    return -1;
}

/* Links on the path to a new object are followed as its access list says. */
static void lists(hid_t file)
{
    const hid_t classes[KINDS] = {H5P_GROUP_ACCESS, H5P_DATASET_ACCESS, H5P_DATATYPE_ACCESS};
    group(file, "in");
    CHECK(H5Lcreate_soft("/in", file, "s1", DEF, DEF) >= 0 && H5Lcreate_soft("/s1", file, "s2", DEF, DEF) >= 0);
    for (int kind = 0; kind < KINDS; kind++) {
        hid_t access = H5Pcreate(classes[kind]);
        CHECK(!makes(file, kind, "away/n", DEF) && H5Pset_elink_prefix(access, "away") >= 0);
        CHECK(makes(file, kind, "away/n", access));
        CHECK(H5Pset_elink_cb(access, refuse, NULL) >= 0);
        called = 0;
        CHECK(!makes(file, kind, "away/n", access) && called == 1 && H5Pclose(access) >= 0);
        CHECK((access = H5Pcreate(classes[kind])) >= 0 && H5Pset_nlinks(access, 1) >= 0);
        CHECK(makes(file, kind, "s1/n", access) && !makes(file, kind, "s2/n", access) && makes(file, kind, "s2/n", DEF));
        CHECK(H5Pclose(access) >= 0);
    }
    for (int kind = 0; kind < KINDS; kind++)
        CHECK(makes(file, kind, "other/n", DEF));
    for (int kind = 0; kind < KINDS; kind++) {
        hid_t access = H5Pcreate(classes[kind]);
        CHECK(H5Pset_elink_acc_flags(access, H5F_ACC_RDONLY) >= 0 && !makes(file, kind, "other/n", access));
        CHECK(H5Pclose(access) >= 0);
    }
}

/* ${ORIGIN} has no meaning in the variable. */
static void origin(hid_t file)
{
    hid_t opened;
    CHECK(setenv("HDF5_EXT_PREFIX", "${ORIGIN}/away", 1) == 0);
    FAILS(H5Gopen2(file, "away", DEF));
    CHECK(setenv("HDF5_EXT_PREFIX", "away", 1) == 0);
    CHECK((opened = H5Gopen2(file, "away", DEF)) >= 0 && H5Gclose(opened) >= 0 && unsetenv("HDF5_EXT_PREFIX") == 0);
}

static int value_of(hid_t dataset)
{
    int value = 0;
    CHECK(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    return value;
}

/* Writes to a file that an external link opens in memory, without backing store, are discarded. */
static void forgotten(hid_t file)
{
    int nine = 9;
    hid_t files = H5Pcreate(H5P_FILE_ACCESS), access = H5Pcreate(H5P_LINK_ACCESS), dataset;
    CHECK(H5Pset_fapl_core(files, 1 << 16, 0) >= 0 && H5Pset_elink_fapl(access, files) >= 0);
    CHECK((dataset = H5Oopen(file, "other/four", access)) >= 0 && value_of(dataset) == 4);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &nine) >= 0 && value_of(dataset) == 9);
    CHECK(H5Oclose(dataset) >= 0 && (dataset = H5Oopen(file, "other/four", DEF)) >= 0 && value_of(dataset) == 4);
    CHECK(H5Oclose(dataset) >= 0 && H5Pclose(access) >= 0 && H5Pclose(files) >= 0);
}

/* A hard link to another file is refused, and creates no groups. */
static void refused(hid_t file, hid_t other, hid_t groups)
{
    FAILS(H5Lcreate_hard(file, "a", other, "x/y/z", groups, DEF));
    CHECK(H5Lexists(other, "x", DEF) == 0 && H5Lcreate_hard(file, "a", file, "x/y/z", groups, DEF) >= 0);
    CHECK(H5Lexists(file, "x/y/z/n", DEF) > 0 && H5Ldelete(file, "x", DEF) >= 0);
}

/* A copy of a group into itself does not contain the groups that are created on the path to it. */
static void copied_into_itself(hid_t file, hid_t groups)
{
    CHECK(H5Ocopy(file, "a", file, "a/e/d", DEF, groups) >= 0);
    CHECK(H5Lexists(file, "a/e/d/n", DEF) > 0 && H5Lexists(file, "a/e/d/e", DEF) == 0);
    FAILS(H5Ocopy(file, "a", file, "a/e/d", DEF, groups));
    FAILS(H5Ocopy(file, "none", file, "a/f/d", DEF, groups));
    CHECK(H5Lexists(file, "a/f", DEF) == 0);
}

/* Soft links are stored without superfluous slashes. */
static void slashes(hid_t file)
{
    const char *paths[][2] = {{"a//b", "a/b"}, {"/a/./b", "/a/./b"}, {"a/", "a"}, {"//", "/"}, {"/a//", "/a"}, {"./a", "./a"},
                              {"/./a/../b", "/./a/../b"}};
    char kept[20];
    H5L_info2_t info;
    for (size_t n = 0; n < sizeof paths / sizeof *paths; n++) {
        CHECK(H5Lcreate_soft(paths[n][0], file, "soft", DEF, DEF) >= 0);
        CHECK(H5Lget_val(file, "soft", kept, sizeof kept, DEF) >= 0 && strcmp(kept, paths[n][1]) == 0);
        CHECK(H5Lget_info2(file, "soft", &info, DEF) >= 0 && info.u.val_size == strlen(paths[n][1]) + 1);
        CHECK(H5Ldelete(file, "soft", DEF) >= 0);
    }
}

/* A reference to no object has no name, which is not an error. */
static void no_name(hid_t file)
{
    hobj_ref_t none = 0, some;
    char name[20] = "";
    CHECK(H5Rget_name(file, H5R_OBJECT, &none, name, sizeof name) == 0 && name[0] == '\0');
    CHECK(H5Rcreate(&some, file, "a/n", H5R_OBJECT, -1) >= 0);
    CHECK(H5Rget_name(file, H5R_OBJECT, &some, name, sizeof name) == 4 && strcmp(name, "/a/n") == 0);
}

int main(int argc, char **argv)
{
    char path[400];
    CHECK(argc >= 4);
    mkdir("away", 0777);
    snprintf(path, sizeof path, "away/%s", argv[3]);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF), other = H5Fcreate(argv[2], H5F_ACC_TRUNC, DEF, DEF);
    hid_t groups = H5Pcreate(H5P_LINK_CREATE);
    CHECK(file >= 0 && other >= 0 && H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, DEF, DEF)) >= 0);
    CHECK(H5Pset_create_intermediate_group(groups, 1) >= 0);
    group(file, "a"), number(file, "a/n", 1), number(other, "four", 4);
    no_name(file);
    refused(file, other, groups);
    copied_into_itself(file, groups);
    slashes(file);
    CHECK(H5Fclose(other) >= 0 && H5Lcreate_external(argv[2], "/", file, "other", DEF, DEF) >= 0);
    CHECK(H5Lcreate_external(argv[3], "/", file, "away", DEF, DEF) >= 0);
    /* A file driver selects a local file. */
    if (argc == 4)
        forgotten(file);
    origin(file);
    lists(file);
    CHECK(H5Pclose(groups) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

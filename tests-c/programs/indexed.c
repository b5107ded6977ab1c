/* Objects by their index if a path leads into another file, groups on which files are mounted, and the group of an
 * external link: indexed FILE OTHER. */
#include "check.h"
#include <time.h>

#define DEF H5P_DEFAULT
#define IN H5_INDEX_NAME, H5_ITER_INC

static void group(hid_t at, const char *name)
{
    CHECK(H5Gclose(H5Gcreate2(at, name, DEF, DEF, DEF)) >= 0);
}

/* Creates a file with a dataset "g/d", a group "g/s" with `links` links, and a soft link "g/z" to the dataset. */
static hid_t create(const char *name, int value, int links)
{
    char link[20];
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF), space = H5Screate(H5S_SCALAR), set;
    group(file, "g");
    set = H5Dcreate2(file, "g/d", H5T_NATIVE_INT, space, DEF, DEF, DEF);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0);
    group(file, "g/s");
    for (int n = 0; n < links; n++) {
        snprintf(link, sizeof link, "g/s/%d", n);
        CHECK(H5Lcreate_soft("/g", file, link, DEF, DEF) >= 0);
    }
    CHECK(H5Lcreate_soft("/g/d", file, "g/z", DEF, DEF) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
    return file;
}

static int value_at(hid_t file, const char *path)
{
    int value = -1;
    hid_t set = H5Dopen2(file, path, DEF);
    CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && H5Dclose(set) >= 0);
    return value;
}

/* A lookup by index finds objects of the file that the path leads to. Both files have objects with the same numbers. */
static void external(hid_t file, hid_t other, const char *name)
{
    H5O_info2_t found, wanted;
    H5G_info_t info;
    int value = 3;
    hid_t set;
    CHECK(H5Lcreate_external(name, "/g", file, "out", DEF, DEF) >= 0);
    for (hsize_t n = 0; n < 3; n += 2) {
        CHECK((set = H5Oopen_by_idx(file, "out", IN, n, DEF)) >= 0);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, &value) >= 0 && H5Oclose(set) >= 0);
        CHECK(value_at(other, "g/d") == value && value_at(file, "g/d") == 1);
        CHECK(H5Oget_info_by_name3(other, "g/d", &wanted, H5O_INFO_BASIC, DEF) >= 0);
        CHECK(H5Oget_info_by_idx3(file, "out", IN, n, &found, H5O_INFO_BASIC, DEF) >= 0 && found.fileno == wanted.fileno);
        value++;
    }
    CHECK(H5Gget_info_by_idx(file, "out", IN, 1, &info, DEF) >= 0 && info.nlinks == 5);
    CHECK(H5Gget_info_by_idx(file, "g", IN, 1, &info, DEF) >= 0 && info.nlinks == 2);
    CHECK(H5Ldelete(file, "out", DEF) >= 0);
}

static int is_mounted(hid_t at, const char *path)
{
    H5G_info_t info;
    if (path)
        CHECK(H5Gget_info_by_name(at, path, &info, DEF) >= 0);
    else
        CHECK(H5Gget_info(at, &info) >= 0);
    return info.mounted;
}

/* Looks up objects through a mount, and the mount point itself. Only the group below reports that it is a mount point:
 * a path leads past it. */
static void mounted(hid_t file, hid_t other)
{
    hid_t before, object;
    group(file, "a");
    CHECK((before = H5Gopen2(file, "a", DEF)) >= 0 && !is_mounted(before, NULL) && !is_mounted(file, "a"));
    CHECK(H5Fmount(file, "a", other, DEF) >= 0);
    CHECK(is_mounted(before, NULL) && is_mounted(before, ".") && !is_mounted(file, "a") && !is_mounted(file, "g"));
    CHECK((object = H5Oopen_by_idx(file, "a/g", IN, 0, DEF)) >= 0 && H5Oclose(object) >= 0);
    CHECK((object = H5Oopen_by_idx(file, ".", IN, 0, DEF)) >= 0 && H5Lexists(object, "g", DEF) > 0);
    CHECK(value_at(object, "g/d") == value_at(file, "a/g/d") && H5Oclose(object) >= 0);
    CHECK((object = H5Oopen_by_idx(file, "a/g", IN, 0, DEF)) >= 0 && value_at(object, ".") == value_at(file, "a/g/d"));
    CHECK(value_at(object, ".") != value_at(file, "g/d") && H5Oclose(object) >= 0 && H5Funmount(file, "a") >= 0);
    CHECK(!is_mounted(before, NULL) && H5Gclose(before) >= 0);
}

static herr_t note_group(const char *parent, const char *path, const char *file, const char *object, unsigned *flags,
                         hid_t access, void *data)
{
    (void)parent, (void)file, (void)object, (void)access;
    strcpy(data, path);
    *flags = H5F_ACC_RDWR;
    return 0;
}

/* Returns the time in seconds that it takes to follow a link `times` times. */
static double time_of(hid_t at, const char *link, int times)
{
    struct timespec begun, ended;
    hid_t object;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &begun) == 0);
    for (int n = 0; n < times; n++)
        CHECK((object = H5Oopen(at, link, DEF)) >= 0 && H5Oclose(object) >= 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &ended) == 0);
    return (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
}

/* A callback gets the group that contains an external link. Without a callback the file is not searched for that group. */
static void group_of_link(hid_t file, const char *name)
{
    char path[200] = "";
    hid_t access = H5Pcreate(H5P_LINK_ACCESS), object, many, hidden;
    group(file, "deep"), group(file, "deep/er");
    CHECK(H5Lcreate_external(name, "/g", file, "deep/er/out", DEF, DEF) >= 0);
    CHECK(H5Pset_elink_cb(access, note_group, path) >= 0);
    CHECK((object = H5Oopen(file, "deep/er/out", access)) >= 0 && H5Oclose(object) >= 0 && strcmp(path, "/deep/er") == 0);
    CHECK((many = H5Gopen2(file, "deep/er", DEF)) >= 0 && (object = H5Oopen(many, "out/d", access)) >= 0);
    CHECK(strcmp(path, "/deep/er") == 0 && H5Oclose(object) >= 0 && H5Gclose(many) >= 0 && H5Pclose(access) >= 0);
    /* No path leads to the content of a group without a name. */
    group(file, "many");
    CHECK((many = H5Gopen2(file, "many", DEF)) >= 0);
    for (int n = 0; n < 20000; n++) {
        char link[20];
        snprintf(link, sizeof link, "%d", n);
        group(many, link);
    }
    CHECK((hidden = H5Gcreate_anon(file, DEF, DEF)) >= 0);
    group(hidden, "in");
    CHECK(H5Lcreate_external(name, "/g", hidden, "in/out", DEF, DEF) >= 0);
    CHECK(H5Lcreate_external(name, "/g", file, "out", DEF, DEF) >= 0 && time_of(file, "out", 1) >= 0);
    double of_root = time_of(file, "out", 20), of_hidden = time_of(hidden, "in/out", 20);
    if (of_hidden > 0.3 + 5 * of_root)
        fprintf(stderr, "%.3f s, %.3f s in the root group\n", of_hidden, of_root);
    CHECK(of_hidden <= 0.3 + 5 * of_root && H5Gclose(many) >= 0 && H5Gclose(hidden) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    hid_t file = create(argv[1], 1, 2), other = create(argv[2], 2, 5);
    external(file, other, argv[2]);
    mounted(file, other);
    group_of_link(file, argv[2]);
    CHECK(H5Fclose(other) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

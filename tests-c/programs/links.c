/* External links: prefix, flags of access, callback and access list; and links of an application's own class: links FILE
 * OTHER [ours]. OTHER is made in the folder "away". */
#include "check.h"
#include <sys/stat.h>

#define DEF H5P_DEFAULT
#define MINE 100

static int called;

static herr_t allow(const char *parent, const char *path, const char *file, const char *object, unsigned *flags,
                    hid_t access, void *data)
{
    (void)parent, (void)path, (void)access;
    CHECK(strstr(file, (const char *)data) && strcmp(object, "/group") == 0);
    called++;
    if (called == 2)
        return -1; /* refused */
    *flags = H5F_ACC_RDONLY;
    return 0;
}

static int opens(hid_t file, const char *path, hid_t access, int write)
{
    hid_t group, made = -1;
    int can_write;
    H5E_BEGIN_TRY
    {
        group = H5Gopen2(file, path, access);
        if (group >= 0)
            made = H5Gcreate2(group, "made", DEF, DEF, DEF);
    }
    H5E_END_TRY
    if (group < 0)
        return 0;
    can_write = made >= 0;
    if (can_write)
        CHECK(H5Gclose(made) >= 0 && H5Ldelete(group, "made", DEF) >= 0);
    CHECK(H5Gclose(group) >= 0 && can_write == write);
    return 1;
}

static void external(hid_t file, const char *other)
{
    hid_t access = H5Pcreate(H5P_LINK_ACCESS), files = H5Pcreate(H5P_FILE_ACCESS), got;
    char away[300];
    unsigned flags;
    H5L_elink_traverse_t function;
    void *data;
    CHECK(H5Lcreate_external(other, "/group", file, "out", DEF, DEF) >= 0);
    CHECK(!opens(file, "out", DEF, 1));
    CHECK(H5Pset_elink_prefix(access, "away") >= 0 && H5Pget_elink_prefix(access, away, sizeof away) == 4);
    CHECK(opens(file, "out", access, 1));
    /* The file is opened read-only. */
    CHECK(H5Pset_elink_acc_flags(access, H5F_ACC_RDONLY) >= 0 && H5Pget_elink_acc_flags(access, &flags) >= 0 && flags == 0);
    CHECK(opens(file, "out", access, 0));
    CHECK(H5Pset_elink_acc_flags(access, H5F_ACC_DEFAULT) >= 0);
    CHECK(H5Pset_elink_fapl(access, files) >= 0 && (got = H5Pget_elink_fapl(access)) >= 0 && H5Pclose(got) >= 0);
    CHECK(opens(file, "out", access, 1));
    /* The callback first chooses the access, and then refuses. */
    CHECK(H5Pset_elink_cb(access, allow, (void *)other) >= 0 && H5Pget_elink_cb(access, &function, &data) >= 0);
    CHECK(function == allow && data == other);
    CHECK(opens(file, "out", access, 0) && called == 1);
    CHECK(!opens(file, "out", access, 1) && called == 2);
    /* Chains of soft links are followed, unless they are too long. */
    CHECK(H5Lcreate_soft("a1", file, "a0", DEF, DEF) >= 0 && H5Lcreate_soft("a2", file, "a1", DEF, DEF) >= 0);
    CHECK(H5Lcreate_soft("in", file, "a2", DEF, DEF) >= 0 && H5Gclose(H5Gcreate2(file, "in", DEF, DEF, DEF)) >= 0);
    CHECK(opens(file, "a0", DEF, 1) && H5Pset_elink_cb(access, NULL, NULL) >= 0);
    CHECK(H5Pset_nlinks(access, 2) >= 0 && !opens(file, "a0", access, 1));
    CHECK(H5Pset_nlinks(access, 3) >= 0 && opens(file, "a0", access, 1));
    CHECK(H5Lcreate_soft("r1", file, "r0", DEF, DEF) >= 0 && H5Lcreate_soft("r0", file, "r1", DEF, DEF) >= 0);
    CHECK(!opens(file, "r0", DEF, 1));
    CHECK(H5Pclose(access) >= 0 && H5Pclose(files) >= 0);
}

static hid_t follow(const char *name, hid_t group, const void *value, size_t size, hid_t access, hid_t transfer)
{
    (void)name, (void)size, (void)transfer;
    return H5Oopen(group, value, access);
}

static ssize_t query(const char *name, const void *value, size_t size, void *out, size_t room)
{
    (void)name;
    if (out)
        memcpy(out, value, size < room ? size : room);
    return (ssize_t)size;
}

/* Links of an application's own class are retained, listed and copied everywhere; containers do not follow them, and
 * report that. */
static void user_defined(hid_t file, int ours)
{
    const H5L_class_t class = {H5L_LINK_CLASS_T_VERS, (H5L_type_t)MINE, "mine", NULL, NULL, NULL, follow, NULL, query};
    H5L_info2_t info;
    char value[20];
    CHECK(H5Lregister(&class) >= 0 && H5Lis_registered((H5L_type_t)MINE) > 0);
    CHECK(H5Lcreate_ud(file, "mine", (H5L_type_t)MINE, "/in", 4, DEF, DEF) >= 0);
    CHECK(H5Lget_info2(file, "mine", &info, DEF) >= 0 && (int)info.type == MINE && info.u.val_size == 4);
    CHECK(H5Lget_val(file, "mine", value, sizeof value, DEF) >= 0 && strcmp(value, "/in") == 0);
    CHECK(H5Lcopy(file, "mine", file, "copy", DEF, DEF) >= 0 && H5Lmove(file, "copy", file, "moved", DEF, DEF) >= 0);
    CHECK(opens(file, "moved", DEF, 1) == !ours);
    CHECK(H5Lexists(file, "moved", DEF) > 0 && H5Ldelete(file, "mine", DEF) >= 0 && H5Lunregister((H5L_type_t)MINE) >= 0);
}

int main(int argc, char **argv)
{
    char path[400];
    CHECK(argc >= 3);
    mkdir("away", 0777);
    snprintf(path, sizeof path, "away/%s", argv[2]);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF), other = H5Fcreate(path, H5F_ACC_TRUNC, DEF, DEF);
    CHECK(H5Gclose(H5Gcreate2(other, "group", DEF, DEF, DEF)) >= 0 && H5Fclose(other) >= 0);
    external(file, argv[2]);
    user_defined(file, argc > 3);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

/* Paths: final components, files that are mounted on each other, links to other files: paths FILE OTHER THIRD. */
#include "quiet.h"

#define DEF H5P_DEFAULT
#define FAILS(what) CHECK(failed((long long)(what)))

static int failed(long long answer)
{
    return answer < 0;
}

static void group(hid_t at, const char *name)
{
    CHECK(H5Gclose(H5Gcreate2(at, name, DEF, DEF, DEF)) >= 0);
}

static int is_named(hid_t object, const char *wanted)
{
    char name[200] = "";
    if (object < 0 || H5Iget_name(object, name, sizeof name) < 0)
        return 0;
    if (strcmp(name, wanted) != 0)
        fprintf(stderr, "named %s, not %s\n", name, wanted);
    return strcmp(name, wanted) == 0;
}

/* A path that ends in "." names an object: there is no link to read, move, delete or create. */
static void ends(hid_t file)
{
    const char *ends[] = {"g/.", "g/./", "s/.", "./g/.", "/g/.//", "./", ".//", "."};
    H5L_info2_t info;
    group(file, "g");
    CHECK(H5Lcreate_soft("g", file, "s", DEF, DEF) >= 0);
    for (size_t n = 0; n < sizeof ends / sizeof *ends; n++) {
        CHECK(H5Lexists(file, ends[n], DEF) == 0);
        QUIET(H5Lget_info2(file, ends[n], &info, DEF));
        FAILS(result);
        QUIET(H5Lmove(file, ends[n], file, "q", DEF, DEF));
        FAILS(result);
        QUIET(H5Ldelete(file, ends[n], DEF));
        FAILS(result);
        QUIET(H5Lcreate_soft("x", file, ends[n], DEF, DEF));
        FAILS(result);
        QUIET(H5Lcreate_hard(file, "g", file, ends[n], DEF, DEF));
        FAILS(result);
        QUIET(H5Gcreate2(file, ends[n], DEF, DEF, DEF));
        FAILS(result);
        CHECK(H5Lexists(file, "g", DEF) > 0 && H5Lexists(file, "s", DEF) > 0 && H5Lexists(file, "q", DEF) == 0);
        CHECK(H5Gclose(H5Gopen2(file, ends[n], DEF)) >= 0 && H5Oexists_by_name(file, ends[n], DEF) > 0);
    }
    QUIET(H5Gcreate2(file, "none/.", DEF, DEF, DEF));
    FAILS(result);
    QUIET(H5Oexists_by_name(file, "none/.", DEF));
    FAILS(result);
    CHECK(H5Lexists(file, "none", DEF) == 0 && H5Lexists(file, "g/", DEF) > 0 && H5Lexists(file, "/", DEF) > 0);
    CHECK(H5Ldelete(file, "s/", DEF) >= 0 && H5Lexists(file, "s", DEF) == 0);
}

/* A hard link stays in its file, whatever path leads there. "copy" has the same objects with the same numbers. */
static void hard_links(hid_t file, hid_t copy, const char *name)
{
    hid_t object;
    CHECK(H5Lcreate_external(name, "/g", file, "out", DEF, DEF) >= 0);
    QUIET(H5Lcreate_hard(file, "/", file, "out/root", DEF, DEF));
    FAILS(result);
    QUIET(H5Lcreate_hard(file, "g", file, "out/g", DEF, DEF));
    FAILS(result);
    CHECK((object = H5Gopen2(file, "g", DEF)) >= 0);
    QUIET(H5Olink(object, file, "out/linked", DEF, DEF));
    FAILS(result);
    CHECK(H5Gclose(object) >= 0 && H5Lexists(copy, "g/root", DEF) == 0 && H5Lexists(copy, "g/g", DEF) == 0);
    CHECK(H5Lexists(copy, "g/linked", DEF) == 0);
    /* Both paths lead into the other file. */
    CHECK(H5Lcreate_hard(file, "out/.", file, "out/self", DEF, DEF) >= 0 && H5Lexists(copy, "g/self/self", DEF) > 0);
    CHECK(H5Ldelete(file, "out/self", DEF) >= 0);
    QUIET(H5Ldelete(file, "out/.", DEF));
    FAILS(result);
    CHECK(H5Lexists(file, "out/.", DEF) == 0 && H5Ldelete(file, "out", DEF) >= 0);
}

/* The limit on followed links counts soft links and the external link after them together. */
static void link_count(hid_t file, const char *other)
{
    hid_t access = H5Pcreate(H5P_LINK_ACCESS), object;
    CHECK(H5Lcreate_external(other, "/g", file, "e", DEF, DEF) >= 0);
    CHECK(H5Lcreate_soft("/e", file, "s1", DEF, DEF) >= 0 && H5Lcreate_soft("s1", file, "s2", DEF, DEF) >= 0);
    for (size_t most = 1; most < 4; most++) {
        CHECK(H5Pset_nlinks(access, most) >= 0);
        const char *names[] = {"e", "s1", "s2"};
        for (size_t n = 0; n < 3; n++) {
            QUIET(object = H5Oopen(file, names[n], access));
            CHECK((object >= 0) == (n < most));
            CHECK(object < 0 || H5Oclose(object) >= 0);
        }
    }
    CHECK(H5Ldelete(file, "e", DEF) >= 0 && H5Ldelete(file, "s1", DEF) >= 0 && H5Ldelete(file, "s2", DEF) >= 0);
    CHECK(H5Pclose(access) >= 0);
}

/* Paths from the root begin in the file at the bottom, also for a mounted file, and so do its soft links. */
static void mounted(hid_t file, hid_t child)
{
    hid_t in, made, before, lists = H5Pcreate(H5P_LINK_CREATE);
    group(file, "mp"), group(file, "mp/hidden"), group(file, "other"), group(child, "in");
    CHECK(H5Lcreate_hard(file, "mp", file, "again", DEF, DEF) >= 0);
    CHECK(H5Lcreate_soft("/other", child, "below", DEF, DEF) >= 0 && H5Lcreate_soft("/in", child, "own", DEF, DEF) >= 0);
    CHECK(H5Lcreate_soft("mp/in", file, "through", DEF, DEF) >= 0);
    CHECK((before = H5Gopen2(file, "mp", DEF)) >= 0 && H5Fmount(file, "mp", child, DEF) >= 0);
    CHECK((in = H5Gopen2(file, "mp/in", DEF)) >= 0 && is_named(in, "/mp/in"));
    CHECK(H5Lexists(in, "/other", DEF) > 0 && H5Lexists(in, "/in", DEF) == 0);
    CHECK((made = H5Gcreate2(in, "/made", DEF, DEF, DEF)) >= 0 && is_named(made, "/made") && H5Gclose(made) >= 0);
    CHECK(H5Oexists_by_name(file, "mp/below", DEF) > 0 && H5Oexists_by_name(file, "mp/own", DEF) == 0);
    CHECK((made = H5Gopen2(file, "through", DEF)) >= 0 && is_named(made, "/through") && H5Gclose(made) >= 0);
    CHECK((made = H5Gopen2(file, "again/in", DEF)) >= 0 && is_named(made, "/again/in") && H5Gclose(made) >= 0);
    CHECK((made = H5Gopen2(file, "mp/below", DEF)) >= 0 && is_named(made, "/mp/below") && H5Gclose(made) >= 0);
    /* A group that was opened before the mount stays the group below. */
    CHECK(H5Lexists(before, "hidden", DEF) > 0 && H5Lexists(before, "in", DEF) == 0);
    CHECK((made = H5Gopen2(before, ".", DEF)) >= 0 && H5Lexists(made, "in", DEF) == 0 && H5Gclose(made) >= 0);
    /* The file's identifier refers to the file at the bottom. */
    CHECK(H5Lexists(child, "made", DEF) > 0 && H5Lexists(child, "in", DEF) == 0 && H5Lexists(child, "/other", DEF) > 0);
    /* The first link stays in the mounted file, the second one would not. */
    CHECK(H5Lcreate_hard(file, "mp/in", file, "mp/hard", DEF, DEF) >= 0);
    QUIET(H5Lcreate_hard(file, "/", file, "mp/root", DEF, DEF));
    FAILS(result);
    QUIET(H5Lcreate_hard(file, "other", file, "mp/other", DEF, DEF));
    FAILS(result);
    QUIET(H5Lcreate_hard(file, "mp/in", file, "from", DEF, DEF));
    FAILS(result);
    /* Missing groups are created in the file that is visible there. */
    CHECK(H5Pset_create_intermediate_group(lists, 1) >= 0);
    CHECK((made = H5Gcreate2(file, "mp/a/b/c", lists, DEF, DEF)) >= 0 && is_named(made, "/mp/a/b/c") && H5Gclose(made) >= 0);
    CHECK(H5Lexists(in, "/mp/a/b", DEF) > 0 && H5Funmount(file, "mp") >= 0);
    CHECK(H5Lexists(file, "mp/a", DEF) == 0 && H5Lexists(child, "a/b/c", DEF) > 0 && H5Lexists(child, "hard", DEF) > 0);
    CHECK(H5Lexists(file, "made", DEF) > 0 && H5Lexists(child, "made", DEF) == 0);
    CHECK(H5Gclose(in) >= 0 && H5Gclose(before) >= 0 && H5Pclose(lists) >= 0);
}

/* A file that is mounted on a mount point is mounted on the file there. */
static void stacked(hid_t file, hid_t child, hid_t third)
{
    hid_t in;
    group(third, "top");
    CHECK(H5Fmount(file, "mp", child, DEF) >= 0 && H5Fmount(file, "mp", third, DEF) >= 0);
    CHECK((in = H5Gopen2(file, "mp/top", DEF)) >= 0 && is_named(in, "/mp/top") && H5Lexists(file, "mp/in", DEF) == 0);
    CHECK(H5Funmount(file, "mp") >= 0 && H5Lexists(file, "mp/in", DEF) > 0 && H5Lexists(file, "mp/top", DEF) == 0);
    CHECK(H5Funmount(file, "mp") >= 0 && H5Lexists(file, "mp/in", DEF) == 0 && H5Gclose(in) >= 0);
    QUIET(H5Funmount(file, "mp"));
    FAILS(result);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    /* Both files have the same objects, created in the same order. */
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF), child = H5Fcreate(argv[2], H5F_ACC_TRUNC, DEF, DEF), third;
    ends(file), ends(child);
    third = H5Fcreate(argv[3], H5F_ACC_TRUNC, DEF, DEF);
    hard_links(file, child, argv[2]);
    link_count(file, argv[2]);
    mounted(file, child);
    stacked(file, child, third);
    CHECK(H5Fclose(third) >= 0 && H5Fclose(child) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

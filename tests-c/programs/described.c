/* H5Gget_objinfo on links that it does not follow and on objects behind external links, and comments: described FILE. */
#include "quiet.h"
#include <H5VLconnector.h>
#include <unistd.h>

#define DEF H5P_DEFAULT
#define MINE 101

static hid_t file, group;

static hid_t nowhere(const char *name, hid_t at, const void *value, size_t size, hid_t access, hid_t transfer)
{
    (void)name, (void)at, (void)value, (void)size, (void)access, (void)transfer;
    return -1;
}

static ssize_t length(const char *name, const void *value, size_t size, void *buffer, size_t room)
{
    (void)name;
    if (buffer)
        memcpy(buffer, value, size < room ? size : room);
    return (ssize_t)size;
}

static void links(void)
{
    const H5L_class_t class = {.version = H5L_LINK_CLASS_T_VERS, .id = MINE, .comment = "mine", .trav_func = nowhere, .query_func = length};
    static const struct { const char *name; H5G_obj_t type; } LINKS[] = {
        {"hard", H5G_GROUP}, {"soft", H5G_LINK}, {"external", H5G_UDLINK}, {"mine", H5G_UDLINK}, {"long", H5G_LINK},
    };
    hid_t at = H5Gcreate2(file, "links", DEF, DEF, DEF);
    char path[3000];
    H5G_stat_t told, of_group;
    H5L_info2_t link;
    memset(path, 'p', sizeof path), path[sizeof path - 1] = 0;
    CHECK(H5Lregister(&class) >= 0 && H5Lcreate_hard(file, "group", at, "hard", DEF, DEF) >= 0);
    CHECK(H5Lcreate_soft("/nothing/there", at, "soft", DEF, DEF) >= 0 && H5Lcreate_soft(path, at, "long", DEF, DEF) >= 0);
    CHECK(H5Lcreate_external("other.h5", "/a/b", at, "external", DEF, DEF) >= 0);
    CHECK(H5Lcreate_ud(at, "mine", MINE, "12345", 5, DEF, DEF) >= 0);
    CHECK(H5Gget_objinfo(at, ".", 0, &of_group) >= 0);
    for (size_t n = 0; n < sizeof LINKS / sizeof *LINKS; n++) {
        CHECK(H5Gget_objinfo(at, LINKS[n].name, 0, &told) >= 0 && H5Lget_info2(at, LINKS[n].name, &link, DEF) >= 0);
        CHECK(told.type == LINKS[n].type && told.linklen == (link.type == H5L_TYPE_HARD ? 0 : link.u.val_size));
        CHECK(told.fileno[0] == of_group.fileno[0]);
        QUIET(H5Gget_objinfo(at, LINKS[n].name, 1, &told));
        CHECK((result >= 0) == (n == 0));
    }
    CHECK(H5Gget_objinfo(at, "soft", 0, &told) >= 0 && told.linklen == strlen("/nothing/there") + 1);
    CHECK(H5Gget_objinfo(at, "external", 0, &told) >= 0 && told.linklen == 1 + strlen("other.h5") + 1 + strlen("/a/b") + 1);
    CHECK(H5Gget_objinfo(at, "mine", 0, &told) >= 0 && told.linklen == 5);
    CHECK(H5Ldelete(at, "mine", DEF) >= 0 && H5Lunregister(MINE) >= 0 && H5Gclose(at) >= 0);
}

/* An object in another file, here a native file, is described like an object of this file. */
static void behind_external_links(const char *name)
{
    hid_t natively = H5Pcreate(H5P_FILE_ACCESS), id = H5VLget_connector_id_by_name("native"), other, at;
    char path[4096], text[20];
    H5G_stat_t told, wanted;
    snprintf(path, sizeof path, "%s.native", name);
    CHECK(H5Pset_vol(natively, id, NULL) >= 0 && H5VLclose(id) >= 0);
    CHECK((other = H5Fcreate(path, H5F_ACC_TRUNC, DEF, natively)) >= 0);
    CHECK((at = H5Gcreate2(other, "group", DEF, DEF, DEF)) >= 0 && H5Oset_comment(at, "afar") >= 0);
    CHECK(H5Gget_objinfo(other, "group", 1, &wanted) >= 0 && H5Gclose(at) >= 0 && H5Fclose(other) >= 0);
    CHECK(H5Lcreate_external(path, "/group", file, "afar", DEF, DEF) >= 0);
    CHECK(H5Gget_objinfo(file, "afar", 1, &told) >= 0 && told.type == H5G_GROUP && told.nlink == 1 && told.linklen == 0);
    CHECK(told.objno[0] == wanted.objno[0] && told.ohdr.size == wanted.ohdr.size && told.ohdr.nmesgs == wanted.ohdr.nmesgs);
    CHECK(H5Oget_comment_by_name(file, "afar", text, sizeof text, DEF) == 4 && strcmp(text, "afar") == 0);
    CHECK(H5Ldelete(file, "afar", DEF) >= 0 && H5Pclose(natively) >= 0 && unlink(path) == 0);
}

/* A comment fills a buffer of exactly its length, without a terminator. h5dump and h5ls pass such buffers. */
static void comments(void)
{
    char text[8] = ".......";
    CHECK(H5Oset_comment(group, "comment") >= 0 && H5Oget_comment(group, NULL, 0) == 7);
    CHECK(H5Oget_comment(group, text, 3) == 7 && memcmp(text, "com....", 7) == 0);
    CHECK(H5Oget_comment(group, text, 7) == 7 && memcmp(text, "comment", 8) == 0);
    text[7] = '.';
    CHECK(H5Oget_comment(group, text, 8) == 7 && text[7] == 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 2 && (file = H5Fcreate(arguments[1], H5F_ACC_TRUNC, DEF, DEF)) >= 0);
    CHECK((group = H5Gcreate2(file, "group", DEF, DEF, DEF)) >= 0);
    links();
    behind_external_links(arguments[1]);
    comments();
    CHECK(H5Gclose(group) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

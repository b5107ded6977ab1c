/* Changes behind an external link. If a path fails in the linked file in one process, the call fails in all processes,
 * and no process hangs. Attributes are committed within the call, like all other changes in the linked file. Native
 * HDF5 guarantees neither. */

#include "together.h"

static hid_t all_list;

/* Returns a path that exists in all processes except the last one. */
static const char *path(const char *name) {
    static char paths[4][64];
    static int next;
    char *text = paths[next++ % 4];
    snprintf(text, sizeof paths[0], rank == size - 1 ? "/ext/nowhere/%s" : "/ext/%s", name);
    return text;
}

#define FAILS(call)                                                                                                    \
    do {                                                                                                               \
        herr_t answer;                                                                                                 \
        H5E_BEGIN_TRY { answer = (herr_t)((call) < 0 ? -1 : 0); }                                                      \
        H5E_END_TRY                                                                                                    \
        CHECK(answer < 0);                                                                                             \
        barrier();                                                                                                     \
    } while (0)

static void fail_to_make(hid_t file, hid_t space) {
    begin("objects");
    hid_t type = H5Tcopy(H5T_NATIVE_INT), list = H5Pcreate(H5P_LINK_CREATE);
    FAILS(H5Gcreate2(file, path("group"), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Dcreate2(file, path("x"), H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Tcommit2(file, path("type"), type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Ocopy(file, "own", file, path("copy"), H5P_DEFAULT, H5P_DEFAULT));
    begin("a copy of something there");
    FAILS(H5Ocopy(file, rank == size - 1 ? "/ext/nowhere" : "/ext/there", file, "copied", H5P_DEFAULT, H5P_DEFAULT));
    begin("objects behind new groups");
    CHECK(H5Pset_create_intermediate_group(list, 1) >= 0);
    /* A dataset prevents the creation of the intermediate group. */
    FAILS(H5Gcreate2(file, rank == size - 1 ? "/ext/numbers/way/x" : "/ext/way/x", list, H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Lcreate_soft("/x", file, rank == size - 1 ? "/ext/numbers/way/x" : "/ext/on/the/way", list, H5P_DEFAULT));
    CHECK(H5Pclose(list) >= 0 && H5Tclose(type) >= 0);
}

/* Failed changes are not undone, so each object is changed only once. */
static void fail_to_link(hid_t file, hid_t space) {
    begin("links");
    FAILS(H5Lcreate_soft("/x", file, path("soft"), H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Lcreate_hard(file, path("there"), file, "/ext/hard", H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Lcreate_hard(file, "/ext/there", file, path("hard too"), H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Lmove(file, path("moving"), file, "/ext/moved", H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Lcopy(file, "/ext/a soft one", file, path("copied"), H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Ldelete(file, path("a soft one"), H5P_DEFAULT));
    begin("comments and attributes");
    FAILS(H5Oset_comment_by_name(file, path("commented"), "text", H5P_DEFAULT));
    FAILS(H5Acreate_by_name(file, path("named"), "n", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    FAILS(H5Arename_by_name(file, path("named"), "kept", "other", H5P_DEFAULT));
    FAILS(H5Adelete_by_name(file, path("commented"), "kept", H5P_DEFAULT));
}

/* An attribute of this name exists only in the last process. */
static void fail_to_name(hid_t file, hid_t space) {
    begin("an attribute that one process has already");
    const char *name = rank == size - 1 ? "kept" : "new";
    FAILS(H5Acreate_by_name(file, "/ext/there", name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    hid_t there = H5Gopen2(file, "/ext/there", H5P_DEFAULT);
    CHECK(there >= 0);
    name = rank == size - 1 ? "kept" : "new too";
    FAILS(H5Acreate2(there, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT));
    CHECK(H5Gclose(there) >= 0);
}

/* Checks an attribute in a process that has no object of the linked file open. */
static void check_attribute(const char *target, const char *name, int expected) {
    int value = -1;
    hid_t file = H5Fopen(target, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t attribute = H5Aopen_by_name(file, "there", name, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0 && attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT, &value) >= 0 && value == expected);
    CHECK(H5Aclose(attribute) >= 0 && H5Fclose(file) >= 0);
}

/* The first process keeps the attribute open, so the other processes see only what was committed before. */
static void commit_attributes(hid_t file, hid_t space, const char *target) {
    for (int by_handle = 0; by_handle < 2; by_handle++) {
        begin(by_handle ? "an attribute by a group" : "an attribute by a path");
        const char *name = by_handle ? "by handle" : "by path";
        hid_t there = by_handle ? H5Gopen2(file, "/ext/there", H5P_DEFAULT) : -1, attribute;
        if (by_handle)
            attribute = H5Acreate2(there, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
        else
            attribute = H5Acreate_by_name(file, "/ext/there", name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        for (int value = 5; value < 8; value++)
            CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
        CHECK(!by_handle || H5Gclose(there) >= 0);
        CHECK(rank == 0 || H5Aclose(attribute) >= 0);
        barrier();
        if (rank > 0)
            check_attribute(target, name, 7);
        barrier();
        CHECK(rank > 0 || H5Aclose(attribute) >= 0);
        barrier();
    }
}

/* The failures must not make the processes diverge: the next object that they create is the same in all of them. */
static void go_on(hid_t file) {
    begin("they go on");
    hid_t dataset = make_ints(file, "/ext/last", (hsize_t)size, 0);
    CHECK(dataset >= 0);
    write_ints(dataset, all_list, (hsize_t)rank, 1, 10 + rank);
    for (int n = 0; n < size; n++)
        check_int(dataset, all_list, (hsize_t)n, 10 + n);
    CHECK(H5Dclose(dataset) >= 0);
    CHECK((dataset = make_ints(file, "last", (hsize_t)size, 0)) >= 0 && H5Dclose(dataset) >= 0);
}

/* Creates the linked file with the objects that are changed. */
static void make_target(const char *name, hid_t space) {
    const char *groups[] = {"there", "commented", "named", "moving"};
    hid_t file = create(name), numbers = make_ints(file, "numbers", 4, 0);
    CHECK(numbers >= 0 && H5Dclose(numbers) >= 0);
    for (int n = 0; n < 4; n++) {
        hid_t group = H5Gcreate2(file, groups[n], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        hid_t attribute = H5Acreate2(group, "kept", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(group >= 0 && attribute >= 0 && H5Aclose(attribute) >= 0 && H5Gclose(group) >= 0);
    }
    CHECK(H5Lcreate_soft("/there", file, "a soft one", H5P_DEFAULT, H5P_DEFAULT) >= 0 && H5Fclose(file) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    const char *target = "broken-paths-target.h5";
    hid_t space = H5Screate(H5S_SCALAR);
    make_target(target, space);
    hid_t file = create("broken-paths.h5"), own = make_ints(file, "own", 4, 0);
    CHECK(own >= 0 && H5Dclose(own) >= 0);
    CHECK(H5Lcreate_external(target, "/", file, "ext", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    commit_attributes(file, space, target);
    fail_to_make(file, space);
    fail_to_link(file, space);
    fail_to_name(file, space);
    go_on(file);
    CHECK(H5Fclose(file) >= 0 && H5Sclose(space) >= 0 && H5Pclose(all_list) >= 0);
    MPI_Finalize();
    return 0;
}

/* Changes that no close of the program commits, or that its last close cannot commit: unclosed CASE FILE OTHER, then
 * unclosed check FILE. */
#include "quiet.h"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEF H5P_DEFAULT
#define COUNT 100000

static int values[COUNT];

static void set_all(int value)
{
    for (int n = 0; n < COUNT; n++)
        values[n] = value;
}

static hid_t space_of_all(void)
{
    hsize_t count = COUNT;
    return H5Screate_simple(1, &count, NULL);
}

static hid_t with_dataset(const char *name, hid_t list)
{
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF), space = space_of_all();
    hid_t set = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, DEF, list, DEF);
    set_all(1);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    return set;
}

static void add_virtual(hid_t file, const char *name, const char *source)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = space_of_all();
    CHECK(H5Pset_virtual(list, space, source, "x", space) >= 0);
    CHECK(H5Dclose(H5Dcreate2(file, name, H5T_NATIVE_INT, space, DEF, list, DEF)) >= 0);
    CHECK(H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
}

/* Writes through a virtual dataset while another handle has its source open, flushes, and is killed. */
static void through_virtual(const char *how, const char *name, const char *source)
{
    char same[200];
    snprintf(same, sizeof same, "./%.100s", source);
    CHECK(H5Dclose(with_dataset(source, DEF)) >= 0);
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF), set, other = H5I_INVALID_HID;
    add_virtual(file, "v", source);
    add_virtual(file, "w", same);
    CHECK(H5Lcreate_external(source, "/x", file, "link", DEF, DEF) >= 0 && H5Fclose(file) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDWR, DEF)) >= 0 && (set = H5Dopen2(file, "v", DEF)) >= 0);
    /* The source stays open from now on. */
    CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && values[0] == 1);
    if (strcmp(how, "read-only") == 0)
        CHECK((other = H5Fopen(source, H5F_ACC_RDONLY, DEF)) >= 0);
    else if (strcmp(how, "link") == 0)
        CHECK((other = H5Dopen2(file, "link", DEF)) >= 0);
    else {
        CHECK((other = H5Dopen2(file, strcmp(how, "names") == 0 ? "w" : "v", DEF)) >= 0);
        CHECK(H5Dread(other, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && values[0] == 1);
    }
    set_all(2);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    CHECK(H5Dflush(set) >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    kill(getpid(), SIGKILL);
}

static void limit(rlim_t bytes)
{
    struct rlimit most;
    CHECK(getrlimit(RLIMIT_FSIZE, &most) == 0);
    most.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &most) == 0);
}

/* There is not enough space for the last changes when their dataset is closed, and more space later. */
static void without_room(const char *how, const char *name, const char *other)
{
    hid_t set = with_dataset(name, DEF), file;
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    set_all(2);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    limit(100);
    CHECK((strcmp(how, "by-object") == 0 ? H5Oclose(set) : H5Dclose(set)) >= 0);
    limit(RLIM_INFINITY);
    CHECK(H5Iis_valid(set) == 0 && H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
    if (strcmp(how, "at-exit") == 0)
        return;
    CHECK((file = H5Fopen(name, H5F_ACC_RDWR, DEF)) >= 0 && H5Fclose(file) >= 0);
    /* No pending work refers to the file, so the file is released. */
    CHECK(rename(name, other) == 0 && (file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, DEF)) >= 0 && H5Fclose(file) >= 0);
    CHECK(rename(other, name) == 0);
}

static int fails;

static size_t filter(unsigned flags, size_t count, const unsigned *with, size_t bytes, size_t *size, void **buffer)
{
    (void)count, (void)with, (void)size, (void)buffer;
    return fails && !(flags & H5Z_FLAG_REVERSE) ? 0 : bytes;
}

/* A filter fails when chunks are encoded during the close. The close fails, and the identifier is gone. */
static void failing_filter(const char *name, const char *other)
{
    const H5Z_class2_t class = {H5Z_CLASS_T_VERS, 400, 1, 1, "fails", NULL, NULL, filter};
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), set, file, space = space_of_all();
    hsize_t chunk = 1000;
    CHECK(H5Zregister(&class) >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0 && H5Pset_filter(list, 400, 0, 0, NULL) >= 0);
    CHECK((file = H5Fcreate(other, H5F_ACC_TRUNC, DEF, DEF)) >= 0);
    CHECK((set = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, DEF, list, DEF)) >= 0);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
    fails = 1;
    QUIET(H5Dclose(set));
    CHECK(result < 0 && H5Iis_valid(set) == 0);
    fails = 0;
    QUIET(H5Fclose(file));
    CHECK(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
    CHECK((file = H5Fcreate(other, H5F_ACC_TRUNC, DEF, DEF)) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5Pclose(list) >= 0 && H5Sclose(space) >= 0 && H5Zunregister(400) >= 0);
    set = with_dataset(name, DEF);
    set_all(2);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Dclose(set) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    const char *how = argv[1], *name = argv[2];
    if (strcmp(how, "check") == 0) {
        hid_t file = H5Fopen(name, H5F_ACC_RDONLY, DEF), set = H5Dopen2(file, "x", DEF);
        CHECK(H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
        CHECK(values[0] == 2 && values[COUNT - 1] == 2);
        CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
    } else if (strcmp(how, "filter") == 0)
        failing_filter(name, argv[3]);
    else if (strcmp(how, "again") == 0 || strcmp(how, "by-object") == 0 || strcmp(how, "at-exit") == 0)
        without_room(how, name, argv[3]);
    else
        through_virtual(how, name, argv[3]);
    return 0;
}

/* Transfers and flushes in event sets: events CASE FILE [ours]. */
#include "events.h"
#include <unistd.h>

/* Writes, a flush and reads with one event set, with identifiers that are closed at once, and a read without a barrier. */
static void order(const char *name)
{
    hsize_t count = 1000, start = 100, length = 50;
    hid_t file = made(name), events = H5EScreate(), big = make(file, "big", LONG, 1), small = make(file, "small", count, -1);
    int64_t *values = noisy(LONG), *few = noisy(count), *seen = take(LONG), *part = take(count);
    int32_t narrow[50];
    write_all(big, values, events);
    write_all(small, few, events);
    CHECK(waiting(events) == (ours ? 2 : 0));
    /* Writes the same elements again, converted, with a type, spaces and a list that are closed when the call returns. */
    for (int n = 0; n < 50; n++)
        few[100 + n] = narrow[n] = n - 25;
    hid_t type = H5Tcopy(H5T_NATIVE_INT32), list = H5Pcreate(H5P_DATASET_XFER);
    hid_t space = H5Screate_simple(1, &count, NULL), memory = H5Screate_simple(1, &length, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &length, NULL) >= 0);
    CHECK(H5Dwrite_async(small, type, memory, space, list, narrow, events) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    memset(narrow, 0, sizeof narrow); /* buffers of conversions are copied */
    CHECK(H5Fflush_async(file, H5F_SCOPE_LOCAL, events) >= 0);
    CHECK(H5Dread_async(big, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen, events) >= 0);
    CHECK(H5Dread_async(small, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, part, events) >= 0);
    CHECK(waiting(events) == (ours ? 6 : 0));
    /* A read without an event set runs after all these operations. */
    int64_t *now = take(count);
    CHECK(H5Dread(small, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, now) >= 0 && same(now, few, count));
    CHECK(same(seen, values, LONG) && same(part, few, count));
    wait_all(events);
    CHECK(H5ESclose(events) >= 0 && H5Dclose(big) >= 0 && H5Dclose(small) >= 0 && H5Fclose(file) >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT)) >= 0);
    check_values(file, "big", values, LONG);
    check_values(file, "small", few, count);
    CHECK(H5Fclose(file) >= 0);
}

/* Transfers every second element of a buffer, several datasets in one call, and elements into a buffer with gaps. */
static void scattered(const char *name)
{
    hsize_t count = LONG / 2, all = LONG, zero = 0, two = 2;
    hid_t file = made(name), events = H5EScreate(), sets[2] = {make(file, "a", count, 1), make(file, "b", count, -1)};
    hid_t memory = H5Screate_simple(1, &all, NULL), types[2] = {H5T_NATIVE_INT64, H5T_NATIVE_INT64};
    CHECK(H5Sselect_hyperslab(memory, H5S_SELECT_SET, &zero, &two, &count, NULL) >= 0);
    hid_t memories[2] = {memory, memory}, whole[2] = {H5S_ALL, H5S_ALL};
    int64_t *values = noisy(LONG), *seen = take(LONG);
    const void *from[2] = {values, values + 1};
    CHECK(H5Dwrite_multi_async(2, sets, types, memories, whole, H5P_DEFAULT, from, events) >= 0);
    CHECK(waiting(events) == (ours ? 1 : 0));
    memset(seen, 0, LONG * 8);
    CHECK(H5Dread_async(sets[0], H5T_NATIVE_INT64, memory, H5S_ALL, H5P_DEFAULT, seen, events) >= 0);
    CHECK(H5Sclose(memory) >= 0);
    wait_all(events);
    for (hsize_t n = 0; n < LONG; n++)
        CHECK(seen[n] == (n % 2 ? 0 : values[n]));
    CHECK(H5Dclose(sets[0]) >= 0 && H5Dclose(sets[1]) >= 0 && H5Fclose(file) >= 0 && H5ESclose(events) >= 0);
}

static size_t told;

static int count_told(const H5ES_op_info_t *info, H5ES_status_t status, hid_t stack, void *count)
{
    CHECK(status == H5ES_STATUS_SUCCEED && stack == H5I_INVALID_HID && info->op_exec_time > 0);
    ++*(size_t *)count;
    return 0;
}

/* Operations on several files in one set end in any order, while the program waits for short times: none is lost. */
static void random_ends(const char *name)
{
    enum { FILES = 4, ROUNDS = 12, EACH = 40 };
    hid_t files[FILES], sets[FILES][2];
    int64_t *values = noisy(LONG / 4);
    char path[500];
    for (int f = 0; f < FILES; f++) {
        snprintf(path, sizeof path, "%d-%s", f, name);
        files[f] = made(path);
        sets[f][0] = make(files[f], "quick", 16, -1);
        sets[f][1] = make(files[f], "slow", LONG / 4, f % 2 ? 6 : 1);
    }
    for (int round = 0; round < ROUNDS; round++) {
        size_t begun = 0;
        hid_t events = H5EScreate();
        told = 0;
        CHECK(H5ESregister_complete_func(events, count_told, &told) >= 0);
        for (int n = 0; n < EACH; n++) {
            size_t before = waiting(events), left;
            hbool_t failed;
            int f = (int)(noise() % FILES), slow = noise() % 8 == 0;
            if (noise() % 8 == 0)
                CHECK(H5Fflush_async(files[f], H5F_SCOPE_LOCAL, events) >= 0);
            else
                write_all(sets[f][slow], values, events);
            begun += waiting(events) - before;
            if (noise() % 2) {
                CHECK(H5ESwait(events, noise() % 3 ? noise() % 2000000 : 0, &left, &failed) >= 0 && !failed);
                CHECK(left == waiting(events));
            }
        }
        CHECK(!ours || begun == EACH);
        wait_all(events);
        CHECK(told == begun);
        CHECK(H5ESclose(events) >= 0);
    }
    for (int f = 0; f < FILES; f++)
        CHECK(H5Dclose(sets[f][0]) >= 0 && H5Dclose(sets[f][1]) >= 0 && H5Fclose(files[f]) >= 0);
}

/* Cancels a set with a running first operation, which therefore stays in the set. Then cancels a set with a single
 * operation that waits behind that operation, and is cancelled. Returns false if the first operation had not begun
 * after `pause` microseconds, or had ended before both sets were cancelled. */
static bool cancels(hid_t slow, hid_t last, const int64_t *values, hid_t sets[2], useconds_t pause)
{
    size_t left = 0, kept = 9;
    hbool_t failed = 1;
    write_all(slow, values, sets[0]);
    write_all(last, values, sets[1]);
    write_all(last, values, sets[0]);
    CHECK(H5ESwait(sets[0], 0, &left, &failed) >= 0 && left == (ours ? 2 : 0) && !failed);
    CHECK(H5ESwait(sets[0], 1000, &left, &failed) >= 0 && left == (ours ? 2 : 0) && !failed);
    usleep(pause);
    CHECK(H5EScancel(sets[0], &kept, &failed) >= 0 && !failed);
    bool stayed = kept == (ours ? 2 : 0);
    CHECK(H5EScancel(sets[1], &kept, &failed) >= 0 && !failed);
    return stayed && kept == 0 && waiting(sets[1]) == 0;
}

/* Waits with timeouts, and cancels. If the first operation of a set stays, no operation of the set is cancelled. */
static void waits(const char *name)
{
    hid_t file = made(name), first = H5EScreate(), second = H5EScreate(), sets[2] = {first, second};
    hid_t slow = make(file, "slow", 4 * LONG, 9), last = make(file, "last", LONG, -1);
    int64_t *values = noisy(4 * LONG), *none = take(LONG), *seen = take(LONG);
    size_t kept = 9;
    hbool_t failed = 1;
    /* The program can see neither when an operation begins nor how fast the machine is. */
    int tries = 0;
    while (!cancels(slow, last, values, sets, 200000 >> tries % 6)) {
        CHECK(++tries < 60);
        wait_all(first);
        wait_all(second);
    }
    wait_all(first);
    CHECK(H5EScancel(first, &kept, &failed) >= 0 && kept == 0 && !failed);
    CHECK(H5Dread(last, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0 && same(seen, values, LONG));
    /* A cancelled write has no effect. */
    hid_t other = H5I_INVALID_HID;
    for (kept = 1, tries = 0; kept > 0; tries++) {
        char path[20];
        CHECK(tries < 60 && (tries == 0 || H5Dclose(other) >= 0));
        snprintf(path, sizeof path, "other %d", tries);
        other = make(file, path, LONG, -1);
        write_all(slow, values, first);
        write_all(other, values, second);
        CHECK(H5EScancel(second, &kept, &failed) >= 0);
        wait_all(first);
        wait_all(second);
    }
    CHECK(H5Dread(other, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0);
    CHECK(same(seen, ours ? none : values, LONG));
    CHECK(H5Dclose(slow) >= 0 && H5Dclose(last) >= 0 && H5Dclose(other) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5ESclose(first) >= 0 && H5ESclose(second) >= 0);
}

/* Closes return no token, and wait for running operations; a set may outlive its file. */
static void closes(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, 1), group;
    int64_t *values = noisy(LONG);
    hid_t attribute_space = H5Screate(H5S_SCALAR);
    write_all(set, values, events);
    size_t before = waiting(events);
    CHECK((group = H5Gcreate_async(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT, events)) >= 0);
    hid_t attribute = H5Acreate_async(group, "a", H5T_NATIVE_INT64, attribute_space, H5P_DEFAULT, H5P_DEFAULT, events);
    CHECK(attribute >= 0 && H5Awrite_async(attribute, H5T_NATIVE_INT64, values, events) >= 0);
    CHECK(H5Aclose_async(attribute, events) >= 0 && H5Gclose_async(group, events) >= 0);
    CHECK(H5Dclose_async(set, events) >= 0);
    CHECK(waiting(events) == before);
    CHECK(H5Fclose_async(file, events) >= 0 && waiting(events) == before);
    /* The file is complete before any wait. */
    CHECK((file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT)) >= 0);
    check_values(file, "x", values, LONG);
    CHECK(H5Aexists_by_name(file, "group", "a", H5P_DEFAULT) > 0);
    wait_all(events);
    /* A synchronous close completes the read. */
    int64_t *seen = take(LONG);
    CHECK((set = H5Dopen2(file, "x", H5P_DEFAULT)) >= 0);
    CHECK(H5Dread_async(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen, events) >= 0);
    CHECK(H5Dclose(set) >= 0 && same(seen, values, LONG));
    wait_all(events);
    CHECK(H5Fclose(file) >= 0 && H5ESclose(events) >= 0 && H5Sclose(attribute_space) >= 0);
}

static size_t keep(unsigned flags, size_t count, const unsigned values[], size_t bytes, size_t *size, void **buffer)
{
    (void)flags, (void)count, (void)values, (void)size, (void)buffer;
    return bytes;
}

static const H5Z_class2_t KEEP = {.version = H5Z_CLASS_T_VERS, .id = 300, .encoder_present = 1, .decoder_present = 1,
                                  .name = "keep", .filter = keep};

/* Operations that need libhdf5 are complete when the call returns. */
static void at_once(const char *name)
{
    hsize_t count = 8;
    hid_t file = made(name), events = H5EScreate(), space = H5Screate_simple(1, &count, NULL);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0 && H5Zregister(&KEEP) >= 0);
    CHECK(H5Pset_chunk(list, 1, &count) >= 0 && H5Pset_filter(list, 300, 0, 0, NULL) >= 0);
    const char *words[8] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    int64_t values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int32_t seen[8];
    hid_t strings = H5Dcreate2(file, "strings", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t filtered = H5Dcreate2(file, "filtered", H5T_NATIVE_INT64, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(H5Pclose(list) >= 0 && (list = H5Pcreate(H5P_DATASET_CREATE)) >= 0);
    CHECK(H5Pset_virtual(list, space, ".", "plain", space) >= 0);
    hid_t plain = make(file, "plain", count, -1);
    hid_t virtual = H5Dcreate2(file, "virtual", H5T_NATIVE_INT64, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(H5Dwrite_async(strings, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, words, events) >= 0);
    write_all(filtered, values, events);
    write_all(virtual, values, events);
    CHECK(H5Dread_async(plain, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen, events) >= 0);
    CHECK(seen[0] == 1 && seen[7] == 8);
    /* The application's own filters run in libhdf5, so that a flush could need them. */
    CHECK(H5Fflush_async(file, H5F_SCOPE_LOCAL, events) >= 0);
    CHECK(H5Dset_extent_async(filtered, &count, events) < 0 || waiting(events) == 0);
    CHECK(waiting(events) == 0);
    CHECK(H5Dclose(strings) >= 0 && H5Dclose(filtered) >= 0 && H5Dclose(virtual) >= 0 && H5Dclose(plain) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0 && H5Tclose(text) >= 0 && H5ESclose(events) >= 0);
    CHECK(H5Fclose(file) >= 0 && H5Zunregister(300) >= 0);
}

/* There are more operations than may be queued: the program performs the excess ones itself. */
static void many(const char *name)
{
    enum { COPIES = 1500 };
    hsize_t count = 8192;
    hid_t file = made(name), events = H5EScreate(), slow = make(file, "slow", LONG, 9), set = make(file, "x", count, -1);
    int64_t *values = noisy(LONG);
    size_t all = COPIES, left = all;
    /* Slow operations delay the copies; on a busy machine more of them may be necessary. */
    for (int slow_ones = 1; left == all; slow_ones *= 2) {
        CHECK(slow_ones <= 64);
        for (int n = 0; n < slow_ones; n++)
            write_all(slow, values, events);
        for (int n = 0; n < COPIES; n++) {
            values[0] = n;
            write_all(set, values, events);
        }
        all = (size_t)slow_ones + COPIES;
        left = waiting(events);
        wait_all(events);
        check_values(file, "x", values, count);
    }
    CHECK(H5Dclose(slow) >= 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0 && H5ESclose(events) >= 0);
}

/* A write through one file is visible through another file that links to it, in the order of the calls. */
static void elsewhere(const char *name)
{
    char source[200];
    snprintf(source, sizeof source, "%.100s-source.h5", name);
    hsize_t count = LONG;
    hid_t file = made(name), other = made(source), events = H5EScreate(), set = make(other, "x", LONG, 9), virtual, copy;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &count, NULL);
    int64_t *first = noisy(LONG), *second = noisy(LONG), *seen = take(LONG);
    CHECK(H5Pset_virtual(list, space, source, "x", space) >= 0);
    CHECK((virtual = H5Dcreate2(file, "v", H5T_NATIVE_INT64, space, H5P_DEFAULT, list, H5P_DEFAULT)) >= 0);
    CHECK(H5Lcreate_external(source, "/", file, "link", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    write_all(set, first, events);
    CHECK(H5Dread(virtual, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0 && same(seen, first, LONG));
    write_all(set, first, events);
    write_all(virtual, second, events);
    wait_all(events);
    check_values(other, "x", second, LONG);
    write_all(set, first, events);
    CHECK(H5Ocopy(file, "link/x", file, "copy", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    check_values(file, "copy", first, LONG);
    wait_all(events);
    CHECK((copy = H5Gcreate2(file, "mounted", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0 && H5Gclose(copy) >= 0);
    CHECK(H5Fmount(file, "mounted", other, H5P_DEFAULT) >= 0);
    write_all(set, second, events);
    CHECK(H5Ocopy(file, "mounted/x", file, "copy2", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    check_values(file, "copy2", second, LONG);
    wait_all(events);
    CHECK(H5Funmount(file, "mounted") >= 0 && H5Dclose(set) >= 0 && H5Dclose(virtual) >= 0 && H5ESclose(events) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Pclose(list) >= 0 && H5Fclose(other) >= 0 && H5Fclose(file) >= 0);
}

/* One call for datasets of two files is refused, as in native HDF5, because it could not be queued in the order of both
 * files. */
static void files(const char *name)
{
    char second[200];
    snprintf(second, sizeof second, "%.100s-second.h5", name);
    hid_t one = made(name), two = made(second), events = H5EScreate(), sets[2] = {make(one, "x", LONG, -1), make(two, "x", LONG, -1)};
    hid_t types[2] = {H5T_NATIVE_INT64, H5T_NATIVE_INT64}, whole[2] = {H5S_ALL, H5S_ALL};
    int64_t *first = noisy(LONG), *values = noisy(LONG), *seen[2] = {take(LONG), take(LONG)};
    const void *from[2] = {values, values};
    void *into[2] = {seen[0], seen[1]};
    for (int n = 0; n < 2; n++)
        CHECK(H5Dwrite(sets[n], H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, first) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Dwrite_multi_async(2, sets, types, whole, whole, H5P_DEFAULT, from, events) < 0);
        CHECK(H5Dread_multi_async(2, sets, types, whole, whole, H5P_DEFAULT, into, events) < 0);
    }
    H5E_END_TRY
    CHECK(waiting(events) == 0 && seen[0][0] == 0);
    check_values(one, "x", first, LONG);
    check_values(two, "x", first, LONG);
    CHECK(H5Dclose(sets[0]) >= 0 && H5Dclose(sets[1]) >= 0 && H5Fclose(one) >= 0 && H5Fclose(two) >= 0);
    CHECK(H5ESclose(events) >= 0);
}

/* A wait for one set does not count as a wait for another. */
static void sets(const char *name)
{
    hid_t file = made(name), one = H5EScreate(), two = H5EScreate(), set = make(file, "x", LONG, 9), other = make(file, "y", LONG, 9);
    int64_t *values = noisy(LONG);
    size_t left = 1;
    hbool_t failed = 1;
    write_all(set, values, one);
    write_all(other, values, two);
    CHECK(H5ESwait(one, 0, &left, &failed) >= 0 && !failed);
    CHECK(H5ESwait(two, UINT64_C(600000000000), &left, &failed) >= 0 && left == 0 && !failed);
    wait_all(one);
    CHECK(H5Dclose(set) >= 0 && H5Dclose(other) >= 0 && H5Fclose(file) >= 0 && H5ESclose(one) >= 0 && H5ESclose(two) >= 0);
}

int main(int argc, char **argv)
{
    static const struct named_case CASES[] = {{"order", order}, {"scattered", scattered}, {"random", random_ends}, {"waits", waits},
                 {"closes", closes}, {"at-once", at_once}, {"many", many}, {"elsewhere", elsewhere}, {"sets", sets}, {"files", files}};
    return run_case(CASES, sizeof CASES / sizeof *CASES, argc, argv);
}

/* Measures how costs grow with the number of items in a container: scale WHAT AXIS COUNT PATH WARM TIMES
 *
 * AXIS is the kind of the COUNT items: objects, chunks, attributes, versions or reopenings. WHAT is make, or the measured
 * operation: open, read, commit, delete, reopen. It is repeated TIMES times. WARM is another container, which is opened before
 * each measured open, so that the code has run before and nothing of PATH is in the process's memory. Prints one line of
 * JSON: processor seconds, system calls and bytes of one operation, and the largest resident size. The data that is read is
 * compared with the data written. */
#include "../../tests-c/programs/check.h"
#include <stdbool.h>
#include <sys/prctl.h>
#include <time.h>

#define CHUNK 32
#define USUAL 1000 /* chunks of a container if the axis is not chunks */
#define APPENDED 4
#define DELETED 400 /* the last chunks, which are deleted, and neither read nor changed */

static const char *axis, *path, *warm;
static long count, times;

/* The resources that the process has used so far. */
struct spent {
    double cpu, wall, calls, read, written;
};

static double clock_of(clockid_t clock)
{
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct spent counts(void)
{
    struct spent s = {0};
    char line[128];
    double value;
    FILE *io = fopen("/proc/self/io", "r");
    CHECK(io != NULL);
    while (fgets(line, sizeof line, io)) {
        if (sscanf(line, "rchar: %lf", &value) == 1)
            s.read = value;
        else if (sscanf(line, "wchar: %lf", &value) == 1)
            s.written = value;
        else if (sscanf(line, "syscr: %lf", &value) == 1 || sscanf(line, "syscw: %lf", &value) == 1)
            s.calls += value;
    }
    fclose(io);
    return s;
}

static struct spent begin(void)
{
    struct spent s = counts();
    s.cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), s.wall = clock_of(CLOCK_MONOTONIC);
    return s;
}

static struct spent total;

static void add_since(struct spent begun)
{
    double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), wall = clock_of(CLOCK_MONOTONIC);
    struct spent end = counts();
    end.cpu = cpu, end.wall = wall;
    total.cpu += end.cpu - begun.cpu, total.wall += end.wall - begun.wall, total.calls += end.calls - begun.calls;
    total.read += end.read - begun.read, total.written += end.written - begun.written;
}

static bool by(const char *name)
{
    return strcmp(axis, name) == 0;
}

/* Returns positions spread over the whole range, the same in each run. */
static long place(long i, long of)
{
    return (long)(((unsigned long)i * 2654435761UL + 40503UL) % (unsigned long)of);
}

/* Returns an item to read: items of odd numbers are deleted. */
static long kept(long i)
{
    return 2 * place(i, count / 2);
}

static long chunks(void)
{
    return by("chunks") ? count : USUAL;
}

static hid_t open_file(const char *name, unsigned how)
{
    hid_t file = H5Fopen(name, how, H5P_DEFAULT);
    CHECK(file >= 0);
    return file;
}

static void value_of(int *data, long chunk)
{
    for (int i = 0; i < CHUNK; i++)
        data[i] = (int)(chunk * 7 + i);
}

/* Reads or writes one chunk of the open dataset. */
static void one_chunk(hid_t set, long chunk, int *data, bool writes)
{
    hsize_t start = (hsize_t)chunk * CHUNK, size = CHUNK;
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, &size, NULL);
    CHECK(space >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &size, NULL) >= 0);
    CHECK((writes ? H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, data)
                  : H5Dread(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, data)) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
}

static void make_chunks(hid_t file)
{
    hsize_t size = (hsize_t)chunks() * CHUNK, none = H5S_UNLIMITED, chunk = CHUNK;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &size, &none);
    CHECK(list >= 0 && space >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t set = H5Dcreate2(file, "x", H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0);
    enum { STEP = 1000 };
    static int data[STEP * CHUNK];
    for (long at = 0; at < chunks(); at += STEP) {
        hsize_t start = (hsize_t)at * CHUNK, length = STEP * CHUNK;
        for (long i = 0; i < STEP; i++)
            value_of(data + i * CHUNK, at + i);
        hid_t memory = H5Screate_simple(1, &length, NULL);
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &length, NULL) >= 0);
        CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, data) >= 0 && H5Sclose(memory) >= 0);
    }
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

static void name_of(char *name, const char *letter, long n)
{
    snprintf(name, 32, "%s%08ld", letter, n);
}

static void make_objects(hid_t file)
{
    char name[32];
    hsize_t size = 4;
    hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(1, &size, NULL);
    for (long n = 0; by("objects") && n < count; n++) {
        int data[] = {(int)n, 1, 2, 3};
        name_of(name, "o", n);
        hid_t set = H5Dcreate2(group, name, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(set >= 0 && H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0 && H5Dclose(set) >= 0);
    }
    CHECK(H5Sclose(space) >= 0);
    space = H5Screate(H5S_SCALAR);
    for (int n = 0; by("attributes") && n < count; n++) {
        name_of(name, "a", n);
        hid_t made = H5Acreate2(group, name, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(made >= 0 && H5Awrite(made, H5T_NATIVE_INT, &n) >= 0 && H5Aclose(made) >= 0);
    }
    CHECK(H5Sclose(space) >= 0 && H5Gclose(group) >= 0);
}

/* Writes a chunk again, and commits. */
static void change(hid_t file, hid_t set, long i)
{
    int data[CHUNK];
    long chunk = place(i + 7777777, chunks() - DELETED); /* not those that are read */
    value_of(data, chunk);
    one_chunk(set, chunk, data, true);
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
}

/* Runs a session that appends some elements. */
static void append(void)
{
    hsize_t size, more, added = APPENDED;
    int data[APPENDED] = {1, 2, 3, 4};
    hid_t file = open_file(path, H5F_ACC_RDWR), set = H5Dopen2(file, "log", H5P_DEFAULT), space = H5Dget_space(set);
    CHECK(set >= 0 && H5Sget_simple_extent_dims(space, &size, NULL) == 1 && H5Sclose(space) >= 0);
    more = size + APPENDED;
    CHECK(H5Dset_extent(set, &more) >= 0 && (space = H5Dget_space(set)) >= 0);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &size, NULL, &added, NULL) >= 0);
    hid_t memory = H5Screate_simple(1, &added, NULL);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, data) >= 0);
    CHECK(H5Sclose(memory) >= 0 && H5Sclose(space) >= 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
}

static void make_log(hid_t file)
{
    hsize_t size = 0, none = H5S_UNLIMITED, chunk = 1024;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &size, &none);
    CHECK(list >= 0 && space >= 0 && H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t set = H5Dcreate2(file, "log", H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Pclose(list) >= 0);
}

static void make(void)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    make_chunks(file);
    make_objects(file);
    make_log(file);
    if (by("versions")) {
        hid_t set = H5Dopen2(file, "x", H5P_DEFAULT);
        for (long i = 0; i < count; i++)
            change(file, set, i);
        CHECK(H5Dclose(set) >= 0);
    }
    CHECK(H5Fclose(file) >= 0);
    for (long i = 0; by("reopenings") && i < count; i++)
        append();
}

/* Reads one of the items; from a container of many versions, a chunk. */
static void look(hid_t file, long i)
{
    char name[64];
    int data[CHUNK] = {-1}, wanted[CHUNK];
    if (by("objects")) {
        long n = kept(i);
        memcpy(name, "g/", 2), name_of(name + 2, "o", n);
        hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
        CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0 && H5Dclose(set) >= 0);
        CHECK(data[0] == (int)n && data[3] == 3);
    } else if (by("attributes")) {
        long n = kept(i);
        name_of(name, "a", n);
        hid_t found = H5Aopen_by_name(file, "g", name, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(found >= 0 && H5Aread(found, H5T_NATIVE_INT, data) >= 0 && H5Aclose(found) >= 0 && data[0] == (int)n);
    } else {
        long n = place(i, chunks() - DELETED);
        hid_t set = H5Dopen2(file, "x", H5P_DEFAULT);
        CHECK(set >= 0);
        one_chunk(set, n, data, false);
        value_of(wanted, n);
        CHECK(memcmp(data, wanted, sizeof data) == 0 && H5Dclose(set) >= 0);
    }
}

/* Deletes one of the items, and commits. A chunk is deleted by shrinking the dataset. */
static void delete_one(hid_t file, hid_t set, long i)
{
    char name[64];
    long n = kept(i) + 1;
    CHECK(i < DELETED);
    if (by("objects")) {
        memcpy(name, "g/", 2), name_of(name + 2, "o", n);
        CHECK(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    } else if (by("attributes")) {
        name_of(name, "a", n);
        CHECK(H5Adelete_by_name(file, "g", name, H5P_DEFAULT) >= 0);
    } else {
        hsize_t size = (hsize_t)(chunks() - i - 1) * CHUNK;
        CHECK(H5Dset_extent(set, &size) >= 0);
    }
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
}

/* Measures opens and closes, or the first read after each open, which finds nothing in memory. */
static void measure_opens(bool reads)
{
    for (long i = 0; i < times; i++) {
        CHECK(H5Fclose(open_file(warm, H5F_ACC_RDONLY)) >= 0);
        struct spent begun = begin();
        hid_t file = open_file(path, H5F_ACC_RDONLY);
        if (reads) {
            begun = begin();
            look(file, i);
            add_since(begun);
        }
        CHECK(H5Fclose(file) >= 0);
        if (!reads)
            add_since(begun);
    }
}

static void measure_reopenings(void)
{
    append(); /* its code runs for the first time */
    struct spent begun = begin();
    for (long i = 0; i < times; i++)
        append();
    add_since(begun);
}

/* Measures a step without its first run, after which code has run and free space is known. */
static void measure_within(void (*step)(hid_t, hid_t, long))
{
    hid_t file = open_file(path, H5F_ACC_RDWR), set = H5Dopen2(file, "x", H5P_DEFAULT);
    CHECK(set >= 0);
    step(file, set, 0);
    struct spent begun = begin();
    for (long i = 1; i <= times; i++)
        step(file, set, i);
    add_since(begun);
    CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
}

/* Returns the largest resident size in bytes since this program began; getrusage also counts the process that started it. */
static long most_resident(void)
{
    char line[256];
    long most = -1;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status);
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %ld kB", &most) == 1)
            break;
    fclose(status);
    CHECK(most > 0);
    return most * 1024;
}

int main(int argc, char **argv)
{
    CHECK(argc == 7 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    const char *what = argv[1];
    axis = argv[2], count = atol(argv[3]), path = argv[4], warm = argv[5], times = atol(argv[6]);
    CHECK(count >= USUAL && times >= 0);
    if (strcmp(what, "make") == 0) {
        struct spent begun = begin();
        make();
        add_since(begun);
        times = count;
    } else if (strcmp(what, "open") == 0)
        measure_opens(false);
    else if (strcmp(what, "read") == 0)
        measure_opens(true);
    else if (strcmp(what, "commit") == 0)
        measure_within(change);
    else if (strcmp(what, "delete") == 0)
        measure_within(delete_one);
    else if (strcmp(what, "reopen") == 0)
        measure_reopenings();
    else
        CHECK(!"known");
    double n = times ? (double)times : 1;
    printf("{\"cpu\": %.9g, \"wall\": %.9g, \"calls\": %.6g, \"read\": %.9g, \"written\": %.9g, \"rss\": %ld}\n",
           total.cpu / n, total.wall / n, total.calls / n, total.read / n, total.written / n, most_resident());
    return 0;
}

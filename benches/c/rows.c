/* The rows of the table that run in C: rows ROW PHASES PATH COUNT DRIVER CONNECTOR
 *
 * PHASES is write, read, or write,read; DRIVER is core or -; CONNECTOR is the required name of the file's connector. Prints
 * one line of JSON: seconds per unit for each timed step. All data that is read is compared with the data written. */
#include "../../tests-c/programs/check.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#define WIDE 100000
#define NARROW 100
#define MIB (1 << 20)

static const char *path, *connector;
static int count, keep;
static hid_t access_list, kept = -1;
static char times[4096], works[4096];
static struct moment aside; /* what the program did meanwhile that is not to be counted */

/* The time that has passed, and the working time of all threads of the process. */
struct moment {
    double wall, work;
};

static double clock_of(clockid_t clock)
{
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct moment now(void)
{
    return (struct moment){clock_of(CLOCK_MONOTONIC), clock_of(CLOCK_PROCESS_CPUTIME_ID)};
}

static void put(char *list, const char *metric, double value)
{
    size_t used = strlen(list);
    snprintf(list + used, sizeof times - used, "%s\"%s\": %.9g", used ? ", " : "", metric, value);
}

static void report(const char *metric, struct moment begun, int units)
{
    struct moment end = now();
    put(times, metric, (end.wall - begun.wall - aside.wall) / units);
    put(works, metric, (end.work - begun.work - aside.work) / units);
    aside = (struct moment){0, 0};
}

static void set_aside(struct moment begun)
{
    struct moment end = now();
    aside.wall += end.wall - begun.wall;
    aside.work += end.work - begun.work;
}

static double written(void)
{
    char line[128];
    double bytes = -1;
    FILE *io = fopen("/proc/self/io", "r");
    CHECK(io != NULL);
    while (fgets(line, sizeof line, io))
        (void)sscanf(line, "wchar: %lf", &bytes);
    fclose(io);
    CHECK(bytes >= 0);
    return bytes;
}

static hid_t whose(hid_t file)
{
    char name[64] = "";
    CHECK(file >= 0);
    CHECK(H5VLget_connector_name(file, name, sizeof name) > 0);
    CHECK(strcmp(name, connector) == 0);
    return file;
}

static hid_t create(void)
{
    return whose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access_list));
}

static hid_t reopen(unsigned how)
{
    return kept >= 0 ? kept : whose(H5Fopen(path, how, access_list));
}

/* Files in memory stay open from the write to the read, as a program would keep them. */
static void finish(hid_t file)
{
    if (keep) {
        kept = file;
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    } else
        CHECK(H5Fclose(file) >= 0);
}

static void attribute(hid_t object, const char *name, int value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t made = H5Acreate2(object, name, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(made >= 0 && H5Awrite(made, H5T_NATIVE_INT, &value) >= 0 && H5Aclose(made) >= 0 && H5Sclose(space) >= 0);
}

static void fill(int *data, int length, int n)
{
    for (int i = 0; i < length; i++)
        data[i] = n * 31 + i;
}

static void write_sets(int length, const char *metric)
{
    hsize_t size = (hsize_t)length;
    int *data = malloc((size_t)length * sizeof *data);
    char name[32];
    CHECK(data != NULL);
    struct moment begun = now();
    hid_t file = create(), space = H5Screate_simple(1, &size, NULL);
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "DATASET%d", n);
        struct moment filling = now();
        fill(data, length, n);
        set_aside(filling);
        hid_t set = H5Dcreate2(file, name, H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(set >= 0 && H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        CHECK(H5Dclose(set) >= 0);
    }
    CHECK(H5Sclose(space) >= 0);
    finish(file);
    report(metric, begun, count);
    free(data);
}

static void read_sets(int length, const char *metric)
{
    int *data = malloc((size_t)length * sizeof *data), *wanted = malloc((size_t)length * sizeof *wanted);
    char name[32];
    CHECK(data != NULL && wanted != NULL);
    memset(data, 0xff, (size_t)length * sizeof *data);
    struct moment begun = now();
    hid_t file = reopen(H5F_ACC_RDONLY);
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "DATASET%d", n);
        hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
        CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
        CHECK(H5Dclose(set) >= 0);
        struct moment checking = now();
        fill(wanted, length, n);
        CHECK(memcmp(data, wanted, (size_t)length * sizeof *data) == 0);
        set_aside(checking);
    }
    finish(file);
    report(metric, begun, count);
    free(data);
    free(wanted);
}

/* Creates COUNT empty groups below groups of a thousand, each with an attribute; the growth rows use them. */
static void write_objects(void)
{
    char name[32];
    struct moment begun = now();
    hid_t file = create(), parent = -1;
    for (int n = 0; n < count; n++) {
        if (n % 1000 == 0) {
            snprintf(name, sizeof name, "k%d", n / 1000);
            CHECK(parent < 0 || H5Gclose(parent) >= 0);
            CHECK((parent = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
        }
        snprintf(name, sizeof name, "g%d", n);
        hid_t group = H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(group >= 0);
        attribute(group, "n", n);
        CHECK(H5Gclose(group) >= 0);
    }
    CHECK(H5Gclose(parent) >= 0);
    finish(file);
    report("make an object", begun, count);
}

static int read_attribute(hid_t file, int n)
{
    char name[64];
    int value = -1;
    snprintf(name, sizeof name, "k%d/g%d", n / 1000, n);
    hid_t found = H5Aopen_by_name(file, name, "n", H5P_DEFAULT, H5P_DEFAULT);
    CHECK(found >= 0 && H5Aread(found, H5T_NATIVE_INT, &value) >= 0 && H5Aclose(found) >= 0);
    return value;
}

/* Measures a cold open and the read of one attribute; then small commits, each of an attribute and a flush. */
static void read_objects(void)
{
    enum { COMMITS = 200 };
    struct moment begun = now();
    hid_t file = reopen(H5F_ACC_RDONLY);
    CHECK(read_attribute(file, count / 2) == count / 2);
    CHECK(H5Fclose(file) >= 0);
    report("cold open", begun, 1);
    file = reopen(H5F_ACC_RDWR);
    char name[64];
    snprintf(name, sizeof name, "k%d/g%d", count / 2 / 1000, count / 2);
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    CHECK(group >= 0);
    attribute(group, "first", 0); /* the first change of an opening reads what is free */
    CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    double before = written();
    begun = now();
    for (int i = 0; i < COMMITS; i++) {
        snprintf(name, sizeof name, "commit%d", i);
        attribute(group, name, i);
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
    report("commit", begun, COMMITS);
    put(times, "bytes a commit", (written() - before) / COMMITS);
    CHECK(H5Gclose(group) >= 0 && H5Fclose(file) >= 0);
    file = reopen(H5F_ACC_RDONLY);
    CHECK(read_attribute(file, count / 3) == count / 3 && read_attribute(file, count - 1) == count - 1);
    CHECK(H5Fclose(file) >= 0);
}

/* Creates COUNT groups, each with ten attributes. */
static void write_attributes(void)
{
    char name[32];
    struct moment begun = now();
    hid_t file = create();
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "g%d", n);
        hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(group >= 0);
        for (int i = 0; i < 10; i++) {
            snprintf(name, sizeof name, "a%d", i);
            attribute(group, name, n * 10 + i);
        }
        CHECK(H5Gclose(group) >= 0);
    }
    finish(file);
    report("write", begun, count * 10);
}

static void read_attributes(void)
{
    char name[32];
    struct moment begun = now();
    hid_t file = reopen(H5F_ACC_RDONLY);
    for (int n = 0; n < count; n++) {
        snprintf(name, sizeof name, "g%d", n);
        hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
        CHECK(group >= 0);
        for (int i = 0; i < 10; i++) {
            int value = -1;
            snprintf(name, sizeof name, "a%d", i);
            hid_t found = H5Aopen(group, name, H5P_DEFAULT);
            CHECK(found >= 0 && H5Aread(found, H5T_NATIVE_INT, &value) >= 0 && H5Aclose(found) >= 0);
            CHECK(value == n * 10 + i);
        }
        CHECK(H5Gclose(group) >= 0);
    }
    finish(file);
    report("read", begun, count * 10);
}

static hid_t string_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    CHECK(type >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0);
    return type;
}

/* Returns COUNT strings of variable length, of 9 to 39 bytes. */
static char **strings(void)
{
    char **all = malloc((size_t)count * sizeof *all), text[64];
    CHECK(all != NULL);
    for (int n = 0; n < count; n++) {
        snprintf(text, sizeof text, "station %d%.*s", n, n % 26, "abcdefghijklmnopqrstuvwxyz");
        CHECK((all[n] = strdup(text)) != NULL);
    }
    return all;
}

static void free_strings(char **all)
{
    for (int n = 0; n < count; n++)
        free(all[n]);
    free(all);
}

static void write_strings(void)
{
    char **all = strings();
    hsize_t size = (hsize_t)count;
    struct moment begun = now();
    hid_t file = create(), space = H5Screate_simple(1, &size, NULL), type = string_type();
    hid_t set = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Tclose(type) >= 0);
    finish(file);
    report("write", begun, 1);
    free_strings(all);
}

static void read_strings(void)
{
    char **wanted = strings(), **found = calloc((size_t)count, sizeof *found);
    CHECK(found != NULL);
    struct moment begun = now();
    hid_t file = reopen(H5F_ACC_RDONLY), type = string_type(), set = H5Dopen2(file, "x", H5P_DEFAULT);
    CHECK(set >= 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    struct moment checking = now();
    for (int n = 0; n < count; n++)
        CHECK(found[n] != NULL && strcmp(found[n], wanted[n]) == 0);
    set_aside(checking);
    hid_t space = H5Dget_space(set);
    CHECK(H5Treclaim(type, space, H5P_DEFAULT, found) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Tclose(type) >= 0);
    finish(file);
    report("read", begun, 1);
    free(found);
    free_strings(wanted);
}

/* Writes COUNT MiB to one dataset, 8 MiB per write. */
static void write_big(int chunked)
{
    hsize_t size = (hsize_t)count * MIB / 8, step = MIB, start = 0, chunk = MIB / 8;
    double *data = malloc(step * sizeof *data);
    CHECK(data != NULL);
    struct moment begun = now();
    hid_t file = create(), space = H5Screate_simple(1, &size, NULL), memory = H5Screate_simple(1, &step, NULL);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(!chunked || H5Pset_chunk(list, 1, &chunk) >= 0);
    hid_t set = H5Dcreate2(file, "x", H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(set >= 0);
    for (; start < size; start += step) {
        for (hsize_t i = 0; i < step; i++)
            data[i] = (double)(start + i);
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &step, NULL) >= 0);
        CHECK(H5Dwrite(set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, data) >= 0);
    }
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0 && H5Pclose(list) >= 0);
    finish(file);
    report("a MiB", begun, count);
    free(data);
}

static void check_big(void)
{
    hsize_t size = (hsize_t)count * MIB / 8, one = 1;
    hid_t file = reopen(H5F_ACC_RDONLY), set = H5Dopen2(file, "x", H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &size, NULL), memory = H5Screate_simple(1, &one, NULL);
    CHECK(set >= 0);
    for (hsize_t at = 4711; at < size; at += size / 97 + 1) {
        double value = -1;
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL) >= 0);
        CHECK(H5Dread(set, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, &value) >= 0 && value == (double)at);
    }
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    finish(file);
}

static void open_and_close(void)
{
    CHECK(H5Fclose(whose(H5Fopen(path, H5F_ACC_RDONLY, access_list))) >= 0);
    struct moment begun = now();
    for (int i = 0; i < count; i++)
        CHECK(H5Fclose(H5Fopen(path, H5F_ACC_RDONLY, access_list)) >= 0);
    report("open and close", begun, count);
    begun = now();
    for (int i = 0; i < count; i++) {
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, access_list);
        attribute(file, "a", i);
        CHECK(H5Adelete(file, "a") >= 0 && H5Fclose(file) >= 0);
    }
    report("open, change and close", begun, count);
    begun = now();
    for (int i = 0; i < count; i++) {
        hid_t file = create();
        attribute(file, "a", i);
        CHECK(H5Fclose(file) >= 0);
    }
    report("replace", begun, count);
}

static void run(const char *row, int writing)
{
    if (strcmp(row, "datasets-c") == 0)
        writing ? write_sets(NARROW, "create") : read_sets(NARROW, "open");
    else if (strcmp(row, "vol-c") == 0)
        writing ? write_sets(WIDE, "write") : read_sets(WIDE, "read");
    else if (strcmp(row, "attributes-c") == 0)
        writing ? write_attributes() : read_attributes();
    else if (strcmp(row, "strings-c") == 0)
        writing ? write_strings() : read_strings();
    else if (strncmp(row, "objects-", 8) == 0)
        writing ? write_objects() : read_objects();
    else if (strcmp(row, "big") == 0)
        writing ? write_big(0) : check_big();
    else if (strcmp(row, "big-chunked") == 0)
        writing ? write_big(1) : check_big();
    else if (strcmp(row, "small") == 0) {
        if (writing) {
            hid_t file = create();
            attribute(file, "unit", 1);
            CHECK(H5Fclose(file) >= 0);
        } else
            open_and_close();
    } else
        CHECK(!"a known row");
}

int main(int argc, char **argv)
{
    struct rusage used;
    struct moment begun = now();
    CHECK(argc == 7 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    CHECK(H5open() >= 0);
    if (strcmp(argv[1], "idle") == 0)
        report("start", begun, 1);
    path = argv[3], count = atoi(argv[4]), keep = strcmp(argv[5], "-") != 0, connector = argv[6];
    CHECK((access_list = H5Pcreate(H5P_FILE_ACCESS)) >= 0);
    if (strcmp(argv[5], "core") == 0)
        CHECK(H5Pset_fapl_core(access_list, 64 * 1024, 0) >= 0);
    if (strcmp(argv[1], "idle") != 0) {
        if (strstr(argv[2], "write"))
            run(argv[1], 1);
        if (strstr(argv[2], "read"))
            run(argv[1], 0);
    }
    CHECK(getrusage(RUSAGE_SELF, &used) == 0);
    printf("{\"times\": {%s}, \"work\": {%s}, \"connector\": \"%s\", \"rss\": %ld}\n", times, works, connector, used.ru_maxrss * 1024);
    return 0;
}

/* Repeats each operation on each kind of datatype, and fails if a resource grows with the number of operations: the
 * heap, libhdf5's table of conversion paths, file descriptors or threads.
 *     memory FILE [OPERATIONS_IN_A_BATCH] */
#include "check.h"
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <unistd.h>

#define ROWS 3
#define BATCHES 8
#define MOST_FILE_BYTES 2048
#define MOST_BYTES 64 /* that an operation may add to the heap, at the median of the batches */

typedef int (*count_paths_t)(void);

static count_paths_t count_paths;
static int operations = 15;

static int entries(const char *folder)
{
    int count = 0;
    DIR *directory = opendir(folder);
    CHECK(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static size_t heap(void)
{
    CHECK(H5garbage_collect() >= 0);
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The objects that the operations use. */
typedef struct {
    hid_t file, memory, space, dataset, attribute;
    void *values, *read;
    size_t bytes;
    int needs_reclaim;
} subject_t;

static void write_dataset(subject_t *s)
{
    CHECK(H5Dwrite(s->dataset, s->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->values) >= 0);
}

static void reclaim(subject_t *s)
{
    if (s->needs_reclaim)
        CHECK(H5Treclaim(s->memory, s->space, H5P_DEFAULT, s->read) >= 0);
    memset(s->read, 0, s->bytes);
}

static void read_dataset(subject_t *s)
{
    CHECK(H5Dread(s->dataset, s->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->read) >= 0);
    reclaim(s);
}

static void write_attribute(subject_t *s)
{
    CHECK(H5Awrite(s->attribute, s->memory, s->values) >= 0);
}

static void read_attribute(subject_t *s)
{
    CHECK(H5Aread(s->attribute, s->memory, s->read) >= 0);
    reclaim(s);
}

static void open_objects(subject_t *s)
{
    hid_t dataset = H5Dopen2(s->file, "set", H5P_DEFAULT), type = H5Dget_type(dataset);
    hid_t attribute = H5Aopen(dataset, "value", H5P_DEFAULT), again = H5Aget_type(attribute);
    CHECK(H5Dread(dataset, s->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->read) >= 0);
    reclaim(s);
    CHECK(H5Aread(attribute, s->memory, s->read) >= 0);
    reclaim(s);
    CHECK(H5Tclose(type) >= 0 && H5Tclose(again) >= 0 && H5Aclose(attribute) >= 0 && H5Dclose(dataset) >= 0);
}

static void copy_object(subject_t *s)
{
    CHECK(H5Ocopy(s->file, "set", s->file, "copy", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Ldelete(s->file, "copy", H5P_DEFAULT) >= 0);
}

static herr_t met_element(void *element, hid_t type, unsigned rank, const hsize_t *point, void *count)
{
    (void)element, (void)type, (void)rank, (void)point;
    ++*(int *)count;
    return 0;
}

static herr_t met_attribute(hid_t object, const char *name, const H5A_info_t *info, void *count)
{
    (void)object, (void)name, (void)info;
    ++*(int *)count;
    return 0;
}

static herr_t met_link(hid_t group, const char *name, const H5L_info2_t *info, void *count)
{
    (void)group, (void)name, (void)info;
    ++*(int *)count;
    return 0;
}

static void iterate(subject_t *s)
{
    int elements = 0, attributes = 0, links = 0;
    CHECK(H5Diterate(s->values, s->memory, s->space, met_element, &elements) >= 0 && elements == ROWS);
    CHECK(H5Aiterate2(s->dataset, H5_INDEX_NAME, H5_ITER_INC, NULL, met_attribute, &attributes) >= 0);
    CHECK(H5Literate2(s->file, H5_INDEX_NAME, H5_ITER_INC, NULL, met_link, &links) >= 0);
    CHECK(attributes == 1 && links >= 1);
}

static void reopen_file(subject_t *s)
{
    hid_t file = H5Freopen(s->file), dataset = H5Dopen2(file, "set", H5P_DEFAULT);
    CHECK(H5Dread(dataset, s->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->read) >= 0);
    reclaim(s);
    if (H5Tdetect_class(s->memory, H5T_REFERENCE) <= 0) /* old references in memory belong to one open of a file */
        CHECK(H5Dwrite(dataset, s->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, s->values) >= 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Fclose(file) >= 0);
}

static const struct {
    const char *name;
    void (*run)(subject_t *);
} OPERATIONS[] = {{"Dwrite", write_dataset},   {"Dread", read_dataset},  {"Awrite", write_attribute},
                  {"Aread", read_attribute},   {"open", open_objects},   {"copy", copy_object},
                  {"iterate", iterate},        {"reopen", reopen_file}};

static int ascending(const void *one, const void *other)
{
    long a = *(const long *)one, b = *(const long *)other;
    return (a > b) - (a < b);
}

/* Fills memory with values of a type, by its class: sequences have a few items, references lead to "target". */
static void fill(hid_t file, hid_t type, unsigned char *place)
{
    size_t size = H5Tget_size(type);
    if (H5Tis_variable_str(type) > 0) {
        char *text = strdup("some text");
        memcpy(place, &text, sizeof text);
        return;
    }
    switch (H5Tget_class(type)) {
    case H5T_COMPOUND:
        for (int n = 0; n < H5Tget_nmembers(type); n++) {
            hid_t member = H5Tget_member_type(type, n);
            fill(file, member, place + H5Tget_member_offset(type, n));
            H5Tclose(member);
        }
        return;
    case H5T_ARRAY: {
        hid_t base = H5Tget_super(type);
        for (size_t at = 0; at < size; at += H5Tget_size(base))
            fill(file, base, place + at);
        H5Tclose(base);
        return;
    }
    case H5T_VLEN: {
        hid_t base = H5Tget_super(type);
        hvl_t sequence = {3, calloc(3, H5Tget_size(base))};
        for (size_t n = 0; n < 3; n++)
            fill(file, base, (unsigned char *)sequence.p + n * H5Tget_size(base));
        memcpy(place, &sequence, sizeof sequence);
        H5Tclose(base);
        return;
    }
    case H5T_REFERENCE: {
        hsize_t four = 4, one = 1;
        hid_t region = H5Screate_simple(1, &four, NULL);
        CHECK(H5Sselect_hyperslab(region, H5S_SELECT_SET, &one, NULL, &one, NULL) >= 0);
        if (size == sizeof(H5R_ref_t))
            CHECK(H5Rcreate_region(file, "target", region, H5P_DEFAULT, (H5R_ref_t *)place) >= 0);
        else
            CHECK(H5Rcreate(place, file, "target", size == 8 ? H5R_OBJECT : H5R_DATASET_REGION, region) >= 0);
        H5Sclose(region);
        return;
    }
    default:
        memset(place, 1, size);
    }
}

/* Opens the file and fills the values. A closed file leaves no caches behind. */
static void begin(subject_t *s, const char *path)
{
    CHECK((s->file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT)) >= 0);
    CHECK((s->dataset = H5Dopen2(s->file, "set", H5P_DEFAULT)) >= 0);
    CHECK((s->attribute = H5Aopen(s->dataset, "value", H5P_DEFAULT)) >= 0);
    for (int n = 0; n < ROWS; n++)
        fill(s->file, s->memory, (unsigned char *)s->values + n * H5Tget_size(s->memory));
}

static void end(subject_t *s)
{
    if (s->needs_reclaim)
        CHECK(H5Treclaim(s->memory, s->space, H5P_DEFAULT, s->values) >= 0);
    memset(s->values, 0, s->bytes);
    CHECK(H5Aclose(s->attribute) >= 0 && H5Dclose(s->dataset) >= 0);
    CHECK(H5Fget_obj_count(s->file, H5F_OBJ_ALL) == 1 && H5Fclose(s->file) >= 0);
}

/* Returns the growth of the heap by a batch of operations. */
static long left_by(size_t which, subject_t *s, const char *path, int count)
{
    size_t before = heap();
    begin(s, path);
    for (int n = 0; n < count; n++)
        OPERATIONS[which].run(s);
    end(s);
    return (long)heap() - (long)before;
}

/* Returns whether an operation of a batch leaves something behind. Growth that is independent of a batch's length is in bounded caches. */
static int grows_in_batches(const char *type, size_t which, subject_t *s, const char *path, int length)
{
    long few[BATCHES], many[BATCHES];
    int paths = 0, files = 0, threads = 0;
    for (int batch = -2; batch < BATCHES; batch++) { /* the first two batches fill the caches */
        if (batch == 0)
            paths = count_paths ? count_paths() : 0, files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
        long left = left_by(which, s, path, length), more = left_by(which, s, path, 4 * length);
        if (batch >= 0)
            few[batch] = left, many[batch] = more;
    }
    qsort(few, BATCHES, sizeof *few, ascending);
    qsort(many, BATCHES, sizeof *many, ascending);
    long slope = (many[BATCHES / 2] - few[BATCHES / 2]) / (3 * length);
    int new_paths = (count_paths ? count_paths() : 0) - paths, new_files = entries("/proc/self/fd") - files,
        new_threads = entries("/proc/self/task") - threads;
    if (new_paths < length && new_files <= 0 && new_threads <= 0 && slope < MOST_BYTES)
        return 0;
    fprintf(stderr, "%s of %s: %ld bytes an operation; in %d operations %d paths, %d descriptors, %d threads more\n",
            OPERATIONS[which].name, type, slope, 5 * BATCHES * length, new_paths, new_files, new_threads);
    return 1;
}

/* Returns whether an operation leaks. A cache that happens to fill during short batches looks like a leak (two tables of 2 KiB are 64
 * bytes for each of 45 operations), so that long batches decide: a leak grows with them, and a cache does not. */
static int grows(const char *type, size_t which, subject_t *s, const char *path)
{
    return grows_in_batches(type, which, s, path, operations) && grows_in_batches(type, which, s, path, 10 * operations);
}

/* Creates a file with a dataset and an attribute of a type, and an object that references lead to. */
static void make_file(const char *path, hid_t type, hid_t space)
{
    hsize_t four = 4;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), four_ints = H5Screate_simple(1, &four, NULL);
    hid_t target = H5Dcreate2(file, "target", H5T_NATIVE_INT, four_ints, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t set = H5Dcreate2(file, "set", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "value", type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Dclose(target) >= 0);
    CHECK(H5Sclose(four_ints) >= 0 && H5Fclose(file) >= 0);
}

static subject_t subject(hid_t memory)
{
    hsize_t rows = ROWS;
    subject_t s = {.memory = memory, .space = H5Screate_simple(1, &rows, NULL), .bytes = ROWS * H5Tget_size(memory)};
    s.values = calloc(1, s.bytes), s.read = calloc(1, s.bytes);
    s.needs_reclaim = H5Tdetect_class(memory, H5T_VLEN) > 0 || H5Tdetect_class(memory, H5T_STRING) > 0 ||
                      H5Tdetect_class(memory, H5T_REFERENCE) > 0;
    return s;
}

static void dismiss(subject_t *s)
{
    free(s->values), free(s->read);
    CHECK(H5Sclose(s->space) >= 0);
}

/* Returns whether an operation on a type leaks. */
static int check_type(const char *path, const char *name, hid_t in_file, hid_t memory)
{
    int bad = 0;
    subject_t s = subject(memory);
    long types = H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_DATATYPE);
    make_file(path, in_file, s.space);
    for (size_t which = 0; which < sizeof OPERATIONS / sizeof *OPERATIONS; which++)
        bad += grows(name, which, &s, path);
    CHECK(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_DATATYPE) == types);
    dismiss(&s);
    return bad;
}

static hid_t compound(size_t count, const hid_t *members, int is_packed)
{
    size_t size = 0, at = 0;
    char name[32];
    for (size_t n = 0; n < count; n++)
        size += (H5Tget_size(members[n]) + 7) / 8 * 8;
    hid_t type = H5Tcreate(H5T_COMPOUND, size);
    for (size_t n = 0; n < count; n++, at += (H5Tget_size(members[n - 1]) + 7) / 8 * 8) {
        snprintf(name, sizeof name, "m%zu", n);
        CHECK(H5Tinsert(type, name, at, members[n]) >= 0);
    }
    if (is_packed)
        CHECK(H5Tpack(type) >= 0);
    return type;
}

static hid_t string_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(type, size) >= 0);
    return type;
}

static hid_t enumeration(void)
{
    signed char one = 1;
    hid_t type = H5Tenum_create(H5T_NATIVE_SCHAR);
    CHECK(H5Tenum_insert(type, "one", &one) >= 0);
    return type;
}

/* Creates, writes, reads and closes a file repeatedly, to measure the growth by a closed file. */
static int check_files(const char *path, hid_t type)
{
    long slopes[BATCHES];
    int paths = 0;
    subject_t s = subject(type);
    for (int batch = -2; batch < BATCHES; batch++) {
        size_t before = heap();
        for (int n = 0; n < operations; n++) {
            make_file(path, type, s.space);
            begin(&s, path);
            write_dataset(&s), read_dataset(&s), write_attribute(&s), read_attribute(&s);
            end(&s);
        }
        if (batch >= 0)
            slopes[batch] = ((long)heap() - (long)before) / operations;
        else
            paths = count_paths ? count_paths() : 0;
    }
    dismiss(&s);
    qsort(slopes, BATCHES, sizeof *slopes, ascending);
    int more = (count_paths ? count_paths() : 0) - paths;
    if (more <= 0 && slopes[BATCHES / 2] < MOST_FILE_BYTES)
        return 0;
    fprintf(stderr, "files: %ld bytes a file; %d paths more\n", slopes[BATCHES / 2], more);
    return 1;
}

/* Uses different types in files that are closed one after the other: their conversion paths are freed eventually. */
static int check_many_types(const char *path)
{
    hsize_t rows = ROWS;
    hid_t file = -1, space = H5Screate_simple(1, &rows, NULL);
    int most = 0;
    for (int n = 0; n < 1600; n++) {
        if (n % 50 == 0) {
            CHECK(n == 0 || H5Fclose(file) >= 0);
            CHECK((file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
        }
        hid_t text = string_type(H5T_VARIABLE), padding = string_type(1 + n), members[] = {text, padding};
        hid_t type = compound(2, members, 0);
        char *values = calloc(ROWS, H5Tget_size(type));
        hid_t set = H5Dcreate2(file, "set", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        CHECK(H5Dclose(set) >= 0 && H5Ldelete(file, "set", H5P_DEFAULT) >= 0);
        CHECK(H5Tclose(type) >= 0 && H5Tclose(text) >= 0 && H5Tclose(padding) >= 0);
        free(values);
        if (count_paths && count_paths() > most)
            most = count_paths();
    }
    CHECK(H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    printf("1600 types: at most %d paths\n", most);
    return most > 2500;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    if (argc > 2)
        operations = atoi(argv[2]);
    count_paths = (count_paths_t)dlsym(RTLD_DEFAULT, "H5T__get_path_table_npaths");
    hsize_t two = 2;
    hid_t text = string_type(H5T_VARIABLE), fixed = string_type(7), one_of = enumeration();
    hid_t bytes = H5Tcreate(H5T_OPAQUE, 5);
    hid_t ints = H5Tvlen_create(H5T_NATIVE_INT), big_ints = H5Tvlen_create(H5T_STD_I32BE);
    hid_t nested = H5Tvlen_create(ints), texts = H5Tvlen_create(text), array = H5Tarray_create2(text, 1, &two);
    hid_t objects = H5Tvlen_create(H5T_STD_REF_OBJ), regions = H5Tvlen_create(H5T_STD_REF_DSETREG);
    hid_t refs = H5Tvlen_create(H5T_STD_REF);
    hid_t plain[] = {H5T_NATIVE_INT, fixed}, mixed[] = {text, ints, H5T_NATIVE_INT}, big[] = {text, big_ints, H5T_STD_I64BE};
    hid_t with_ref[] = {H5T_STD_REF, H5T_NATIVE_INT}, with_old[] = {H5T_STD_REF_OBJ, text};
    hid_t with_region[] = {H5T_STD_REF_DSETREG, text};
    hid_t simple = compound(2, plain, 0), mixture = compound(3, mixed, 0), big_mixture = compound(3, big, 1);
    hid_t in[] = {mixture, H5T_NATIVE_DOUBLE}, inner = compound(2, in, 0), rows = H5Tvlen_create(mixture);
    hid_t ref = compound(2, with_ref, 0), old = compound(2, with_old, 0), region = compound(2, with_region, 0);
    const struct {
        const char *name;
        hid_t in_file, memory;
    } types[] = {{"integers", H5T_NATIVE_INT, H5T_NATIVE_INT}, {"integers in another order", H5T_STD_I32BE, H5T_NATIVE_INT},
                 {"floats", H5T_IEEE_F32BE, H5T_NATIVE_DOUBLE}, {"bit fields", H5T_STD_B16BE, H5T_STD_B16LE},
                 {"fixed strings", fixed, fixed}, {"opaque", bytes, bytes}, {"enumerations", one_of, one_of},
                 {"strings", text, text}, {"sequences", ints, ints}, {"sequences in another order", big_ints, ints},
                 {"sequences of sequences", nested, nested}, {"sequences of strings", texts, texts},
                 {"arrays of strings", array, array}, {"compounds", simple, simple},
                 {"compounds with sequences", mixture, mixture},
                 {"compounds with sequences in another order", big_mixture, mixture},
                 {"compounds in compounds", inner, inner}, {"sequences of compounds", rows, rows},
                 {"object references", H5T_STD_REF_OBJ, H5T_STD_REF_OBJ},
                 {"region references", H5T_STD_REF_DSETREG, H5T_STD_REF_DSETREG},
                 {"sequences of object references", objects, objects},
                 {"sequences of region references", regions, regions}, {"references", H5T_STD_REF, H5T_STD_REF},
                 {"sequences of references", refs, refs}, {"compounds with references", ref, ref},
                 {"compounds with object references and strings", old, old},
                 {"compounds with region references and strings", region, region}};
    int bad = 0;
    for (size_t n = 0; n < sizeof types / sizeof *types; n++)
        bad += check_type(argv[1], types[n].name, types[n].in_file, types[n].memory);
    bad += check_files(argv[1], mixture) + check_files(argv[1], ref) + check_many_types(argv[1]);
    return bad != 0;
}

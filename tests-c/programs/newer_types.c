/* Complex numbers and floating-point numbers of 16 bits and fewer, which HDF5 supports from 2.0 on (of 6 and 4 bits
 * from 2.1 on): in datasets, attributes, records, arrays and sequences, with fill values and conversions. Prints all
 * numbers that it reads, and nothing with an older HDF5: newer_types write|read FILE. */
#include "check.h"

#if H5_VERSION_GE(2, 0, 0)

#define N 6

/* The numbers that are written. The last three are rounded, too large for most of these types, and negative zero. */
static const double REALS[N] = {0.5, -1.5, 2, 1.23456789, 1e30, -0.0};
/* The numbers as imaginary parts, with 3 in place of the number that is too large: HDF5 2.2.0 does not convert a
 * complex number if its other part is infinite. */
static const double PARTS[N] = {0.5, -1.5, 2, 1.23456789, 3, -0.0};

typedef struct {
    const char *name;
    hid_t       type;
    int         is_complex;
} kind_t;

/* A record in memory: with `values` of the kind's memory type, two doubles for a complex number. */
typedef struct {
    int    id;
    double value[2];
    double pair[4];
    hvl_t  sequence;
} record_t;

static void print_bytes(const char *what, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    printf("%s:", what);
    for (size_t n = 0; n < size; n++)
        printf("%s%02x", n % 8 ? "" : " ", bytes[n]);
    printf("\n");
}

static hid_t memory_type(const kind_t *kind) { return kind->is_complex ? H5T_NATIVE_DOUBLE_COMPLEX : H5T_NATIVE_DOUBLE; }

static int width(const kind_t *kind) { return kind->is_complex ? 2 : 1; }

/* Fills memory with N real numbers, or with N complex numbers. The imaginary part of a complex number is the next
 * number of the list. */
static void fill(const kind_t *kind, double *values)
{
    for (int n = 0; n < N; n++) {
        values[n * width(kind)] = kind->is_complex ? PARTS[n] : REALS[n];
        if (kind->is_complex)
            values[n * 2 + 1] = PARTS[(n + 1) % N];
    }
}

static hid_t array_of(hid_t base)
{
    hsize_t two = 2;
    hid_t   made = H5Tarray_create2(base, 1, &two);
    CHECK(made >= 0);
    return made;
}

static hid_t sequence_of(hid_t base)
{
    hid_t made = H5Tvlen_create(base);
    CHECK(made >= 0);
    return made;
}

/* The type of records: packed and of `base` in the file, and of the kind's memory type in memory. */
static hid_t record_type(hid_t base, int in_memory)
{
    size_t size = H5Tget_size(base), sequence = sizeof(hvl_t);
    hid_t  pair = array_of(base), many = sequence_of(base);
    size_t at[3] = {sizeof(int), sizeof(int) + size, sizeof(int) + 3 * size};
    if (in_memory)
        at[0] = HOFFSET(record_t, value), at[1] = HOFFSET(record_t, pair), at[2] = HOFFSET(record_t, sequence);
    hid_t made = H5Tcreate(H5T_COMPOUND, in_memory ? sizeof(record_t) : at[2] + sequence);
    CHECK(H5Tinsert(made, "id", 0, H5T_NATIVE_INT) >= 0 && H5Tinsert(made, "value", at[0], base) >= 0);
    CHECK(H5Tinsert(made, "pair", at[1], pair) >= 0 && H5Tinsert(made, "sequence", at[2], many) >= 0);
    CHECK(H5Tclose(pair) >= 0 && H5Tclose(many) >= 0);
    return made;
}

static hid_t make(hid_t group, const char *name, hid_t type, hsize_t count, const void *fill_value, hid_t fill_type, hsize_t chunk)
{
    hid_t space = H5Screate_simple(1, &count, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    if (fill_value)
        CHECK(H5Pset_fill_value(list, fill_type, fill_value) >= 0);
    if (chunk)
        CHECK(H5Pset_chunk(list, 1, &chunk) >= 0 && H5Pset_shuffle(list) >= 0 && H5Pset_deflate(list, 6) >= 0);
    hid_t made = H5Dcreate2(group, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(made >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return made;
}

static void write_numbers(hid_t group, const kind_t *kind)
{
    double  values[2 * N], fill_value[2] = {1.5, -0.5};
    hid_t   memory = memory_type(kind);
    hsize_t first = 0, count = N;
    fill(kind, values);
    hid_t plain = make(group, "plain", kind->type, N, NULL, 0, 0);
    CHECK(H5Dwrite(plain, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 && H5Dclose(plain) >= 0);
    /* The dataset has twice as many elements as are written. The remaining elements have the fill value. */
    hid_t packed = make(group, "packed", kind->type, 2 * N, fill_value, memory, 4), space = H5Dget_space(packed);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL) >= 0);
    hid_t part = H5Screate_simple(1, &count, NULL);
    CHECK(H5Dwrite(packed, memory, part, space, H5P_DEFAULT, values) >= 0);
    CHECK(H5Sclose(part) >= 0 && H5Sclose(space) >= 0 && H5Dclose(packed) >= 0);
    hid_t scalar = H5Screate(H5S_SCALAR), attribute = H5Acreate2(group, "one", kind->type, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, memory, values) >= 0 && H5Aclose(attribute) >= 0 && H5Sclose(scalar) >= 0);
    hid_t committed = H5Tcopy(kind->type);
    CHECK(H5Tcommit2(group, "type", committed, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    hid_t of_committed = make(group, "of committed", committed, N, NULL, 0, 3);
    CHECK(H5Dwrite(of_committed, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Dclose(of_committed) >= 0 && H5Tclose(committed) >= 0);
}

static void write_records(hid_t group, const kind_t *kind)
{
    double   values[2 * N];
    record_t records[2], fill_record = {7, {1.5, -0.5}, {2, -2, 4, -4}, {0, NULL}};
    fill(kind, values);
    memset(records, 0, sizeof records);
    for (int n = 0; n < 2; n++) {
        records[n].id = n + 1;
        memcpy(records[n].value, values + n * width(kind), sizeof(double) * (size_t)width(kind));
        memcpy(records[n].pair, values + n * width(kind), sizeof(double) * 2 * (size_t)width(kind));
        records[n].sequence.len = (size_t)(n ? N : 0);
        records[n].sequence.p = n ? values : NULL;
    }
    hid_t memory = record_type(memory_type(kind), 1), file = record_type(kind->type, 0);
    for (hsize_t chunk = 0; chunk <= 2; chunk += 2) {
        hsize_t count = 2;
        hid_t   set = make(group, chunk ? "chunked records" : "records", file, 3, &fill_record, memory, chunk);
        hid_t   space = H5Dget_space(set), part = H5Screate_simple(1, &count, NULL);
        hsize_t first = 0;
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL) >= 0);
        CHECK(H5Dwrite(set, memory, part, space, H5P_DEFAULT, records) >= 0);
        CHECK(H5Sclose(space) >= 0 && H5Sclose(part) >= 0 && H5Dclose(set) >= 0);
    }
    hid_t scalar = H5Screate(H5S_SCALAR), attribute = H5Acreate2(group, "record", file, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, memory, &records[1]) >= 0 && H5Aclose(attribute) >= 0 && H5Sclose(scalar) >= 0);
    hid_t many = sequence_of(kind->type), in_memory = sequence_of(memory_type(kind));
    hid_t sequences = make(group, "sequences", many, 2, NULL, 0, 0);
    hvl_t rows[2] = {{1, values}, {N, values}};
    CHECK(H5Dwrite(sequences, in_memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0 && H5Dclose(sequences) >= 0);
    CHECK(H5Tclose(many) >= 0 && H5Tclose(in_memory) >= 0 && H5Tclose(memory) >= 0 && H5Tclose(file) >= 0);
}

/* Reads a dataset with one memory type, and prints its bytes, or that it cannot be read with this type. */
static void show(hid_t group, const char *name, hid_t type, const char *how)
{
    char    what[128];
    hid_t   set = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(set);
    hsize_t count = (hsize_t)H5Sget_simple_extent_npoints(space);
    size_t  bytes = H5Tget_size(type) * count;
    void   *data = calloc(1, bytes);
    herr_t  done;
    H5E_BEGIN_TRY { done = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data); } H5E_END_TRY
    snprintf(what, sizeof what, "  %s as %s%s", name, how, done < 0 ? " fails" : "");
    print_bytes(what, data, done < 0 ? 0 : bytes);
    free(data);
    CHECK(H5Sclose(space) >= 0 && H5Dclose(set) >= 0);
}

static void show_record(const char *what, const kind_t *kind, const record_t *record)
{
    printf("  %s: id %d\n", what, record->id);
    print_bytes("    value", record->value, sizeof(double) * (size_t)width(kind));
    print_bytes("    pair", record->pair, sizeof(double) * 2 * (size_t)width(kind));
    print_bytes("    sequence", record->sequence.p, record->sequence.len * sizeof(double) * (size_t)width(kind));
}

static void read_records(hid_t group, const kind_t *kind)
{
    hid_t memory = record_type(memory_type(kind), 1);
    for (int n = 0; n < 2; n++) {
        record_t    records[3];
        const char *name = n ? "chunked records" : "records";
        hid_t       set = H5Dopen2(group, name, H5P_DEFAULT), space = H5Dget_space(set);
        memset(records, 0, sizeof records);
        CHECK(H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, records) >= 0);
        for (int at = 0; at < 3; at++)
            show_record(name, kind, &records[at]);
        CHECK(H5Treclaim(memory, space, H5P_DEFAULT, records) >= 0);
        /* The read transfers one member: the other members of the program's record stay. */
        hid_t alone = H5Tcreate(H5T_COMPOUND, sizeof(record_t));
        CHECK(H5Tinsert(alone, "value", HOFFSET(record_t, value), memory_type(kind)) >= 0);
        memset(records, 0x11, sizeof records);
        CHECK(H5Dread(set, alone, H5S_ALL, H5S_ALL, H5P_DEFAULT, records) >= 0);
        print_bytes("    value alone", records, offsetof(record_t, sequence));
        CHECK(H5Tclose(alone) >= 0 && H5Sclose(space) >= 0 && H5Dclose(set) >= 0);
    }
    record_t one;
    hid_t    attribute = H5Aopen(group, "record", H5P_DEFAULT), space = H5Aget_space(attribute);
    memset(&one, 0, sizeof one);
    CHECK(H5Aread(attribute, memory, &one) >= 0);
    show_record("attribute", kind, &one);
    CHECK(H5Treclaim(memory, space, H5P_DEFAULT, &one) >= 0 && H5Sclose(space) >= 0 && H5Aclose(attribute) >= 0);
    CHECK(H5Tclose(memory) >= 0);
}

static void read_sequences(hid_t group, const kind_t *kind)
{
    hvl_t rows[2];
    hid_t type = sequence_of(memory_type(kind)), set = H5Dopen2(group, "sequences", H5P_DEFAULT), space = H5Dget_space(set);
    CHECK(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0 && rows[0].len == 1 && rows[1].len == N);
    for (int n = 0; n < 2; n++)
        print_bytes("  sequence", rows[n].p, rows[n].len * sizeof(double) * (size_t)width(kind));
    CHECK(H5Treclaim(type, space, H5P_DEFAULT, rows) >= 0);
    CHECK(H5Sclose(space) >= 0 && H5Dclose(set) >= 0 && H5Tclose(type) >= 0);
}

static void read_attribute(hid_t group, const kind_t *kind)
{
    double value[2] = {0, 0};
    hid_t  attribute = H5Aopen(group, "one", H5P_DEFAULT), type = H5Aget_type(attribute);
    CHECK(H5Tequal(type, kind->type) > 0 && H5Aread(attribute, memory_type(kind), value) >= 0);
    CHECK(value[0] == REALS[0] && (!kind->is_complex || value[1] == REALS[1]));
    print_bytes("  attribute", value, sizeof(double) * (size_t)width(kind));
    CHECK(H5Tclose(type) >= 0 && H5Aclose(attribute) >= 0);
}

/* Numbers that are exact in every one of these types are read as they were written. */
static void check_exact(hid_t group, const kind_t *kind)
{
    double values[2 * N], back[4 * N];
    hid_t  packed = H5Dopen2(group, "packed", H5P_DEFAULT), stored = H5Dget_type(packed), committed = H5Topen2(group, "type", H5P_DEFAULT);
    fill(kind, values);
    CHECK(H5Tequal(stored, kind->type) > 0 && H5Tequal(committed, kind->type) > 0 && H5Tcommitted(committed) > 0);
    CHECK(H5Tget_class(stored) == (kind->is_complex ? H5T_COMPLEX : H5T_FLOAT) && H5Tget_size(stored) == H5Tget_size(kind->type));
    CHECK(H5Dread(packed, memory_type(kind), H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
    for (int n = 0; n < 2; n++)
        CHECK(back[n * width(kind)] == values[n * width(kind)]);
    for (int n = N; n < 2 * N; n++)
        CHECK(back[n * width(kind)] == 1.5 && (!kind->is_complex || back[n * 2 + 1] == -0.5));
    CHECK(H5Dclose(packed) >= 0 && H5Tclose(stored) >= 0 && H5Tclose(committed) >= 0);
}

static void read_kind(hid_t file, const kind_t *kind)
{
    static const char *const names[] = {"plain", "packed", "of committed"};
    hid_t group = H5Gopen2(file, kind->name, H5P_DEFAULT);
    printf("%s: class %d, %zu bytes\n", kind->name, (int)H5Tget_class(kind->type), H5Tget_size(kind->type));
    check_exact(group, kind);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        show(group, names[n], kind->type, "stored");
        show(group, names[n], memory_type(kind), "memory");
    }
    show(group, "plain", H5T_NATIVE_FLOAT, "float");
    show(group, "plain", H5T_NATIVE_DOUBLE, "double");
    show(group, "plain", H5T_NATIVE_DOUBLE_COMPLEX, "complex");
    show(group, "plain", H5T_NATIVE_INT, "int");
    show(group, "plain", H5T_FLOAT_BFLOAT16BE, "bfloat16");
    show(group, "plain", H5T_FLOAT_F8E5M2, "F8E5M2");
    read_attribute(group, kind);
    read_records(group, kind);
    read_sequences(group, kind);
    CHECK(H5Gclose(group) >= 0);
}

static void write_kind(hid_t file, const kind_t *kind)
{
    hid_t group = H5Gcreate2(file, kind->name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    write_numbers(group, kind);
    write_records(group, kind);
    CHECK(H5Gclose(group) >= 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 3 && H5open() >= 0);
    const kind_t kinds[] = {
        {"complex of 16 bits", H5T_COMPLEX_IEEE_F16LE, 1}, {"complex of 32 bits", H5T_COMPLEX_IEEE_F32BE, 1},
        {"complex of 64 bits", H5T_COMPLEX_IEEE_F64LE, 1}, {"native complex", H5T_NATIVE_FLOAT_COMPLEX, 1},
        {"bfloat16", H5T_FLOAT_BFLOAT16LE, 0}, {"bfloat16, big-endian", H5T_FLOAT_BFLOAT16BE, 0},
        {"F8E4M3", H5T_FLOAT_F8E4M3, 0}, {"F8E5M2", H5T_FLOAT_F8E5M2, 0},
#if H5_VERSION_GE(2, 1, 0)
        {"F6E2M3", H5T_FLOAT_F6E2M3, 0}, {"F6E3M2", H5T_FLOAT_F6E3M2, 0}, {"F4E2M1", H5T_FLOAT_F4E2M1, 0},
#endif
    };
    int   writes = strcmp(arguments[1], "write") == 0;
    hid_t file = writes ? H5Fcreate(arguments[2], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)
                        : H5Fopen(arguments[2], H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++)
        (writes ? write_kind : read_kind)(file, &kinds[n]);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

#else
int main(void) { return 0; }
#endif

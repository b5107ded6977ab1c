/* Writes and reads particles of a plasma simulation, as VPIC-IO writes and BD-CATS-IO reads them: eight variables of
 * four bytes for a number of particles of each process in each step.
 *
 *     particles FILE NAME=VALUE...
 *
 *     phases     write, read, or write,read (the default)
 *     count      the number of particles of a process in a step, a multiple of 128
 *     steps      the number of steps
 *     dims       1, 2 or 3: rows of 1, 16 or 4 x 4 particles
 *     memory     arrays: one for each variable; structs: one for each particle
 *     stored     arrays: a dataset for each variable; structs: one dataset of a compound type
 *     select     slab: each process writes consecutive rows; strided: the processes take turns with four rows each
 *     mode       create: a group for each step; append: datasets grow; overwrite: each step overwrites the previous one
 *     transfer   collective, independent
 *     chunk      the number of rows of a chunk, 0: contiguous
 *     deflate    the compression level, 0: no filter
 *     read       own: the particles of the process; neighbour: those of the next process; part: half of them; strided:
 *                the processes take turns with single rows
 *     sample     1: measures how much of the time is spent in MPI
 *
 * All data that is read is compared with the data that was written. Prints one line of JSON: see measure.h. */
#include "measure.h"

#include <stddef.h>

enum { VARIABLES = 8, BLOCK = 4 };

static const char *const names[VARIABLES] = {"x", "y", "z", "ux", "uy", "uz", "id", "tag"};

static const char *file_name;
static int phases_write = 1, phases_read = 1, steps = 2, dims = 1, deflate_level, sample;
static int memory_structs, stored_structs, strided, independent;
static hsize_t count = 4096, chunk;
static enum { CREATE, APPEND, OVERWRITE } mode;
static enum { OWN, NEIGHBOUR, PART, STRIDED } pattern;

static hsize_t rows, inner[2] = {1, 1}, row_length; /* rows of a process; shape and length of a row */
static hid_t transfer, compound;
static char connector[64];

/* The rows of a step that a process has. Row n of `rows` is at start + (n / block) * stride + n % block. */
struct share {
    hsize_t start, stride, block, rows;
};

static struct share written_share(int process) {
    if (strided)
        return (struct share){(hsize_t)process * BLOCK, (hsize_t)size * BLOCK, BLOCK, rows};
    return (struct share){(hsize_t)process * rows, rows, rows, rows};
}

static struct share read_share(void) {
    struct share share = written_share(pattern == NEIGHBOUR ? (rank + 1) % size : rank);
    if (pattern == STRIDED)
        return (struct share){(hsize_t)rank, (hsize_t)size, 1, rows};
    if (pattern == PART) {
        share.rows /= 2;
        if (!strided)
            share.stride = share.block = share.rows;
    }
    return share;
}

static hid_t type_of(int variable) { return variable < 6 ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT; }

/* Returns the value of a variable of a particle. It has three bytes, so that a float represents it exactly. Four
 * consecutive particles differ only in two bits. */
static unsigned value(int step, int variable, hsize_t particle) {
    unsigned long long n = (particle / 4 * VARIABLES + (unsigned)variable) * 1000003ULL + (unsigned)step * 7919ULL;
    n = (n ^ (n >> 29)) * 0xbf58476d1ce4e5b9ULL;
    return (unsigned)(n >> 43 & 0x1ffffc) | (unsigned)(particle & 3);
}

union word {
    float number;
    int integer;
};

static union word word_of(int step, int variable, hsize_t particle) {
    unsigned plain = value(step, variable, particle);
    return variable < 6 ? (union word){.number = (float)plain} : (union word){.integer = (int)plain};
}

/* Returns the position of a variable of particle n in the memory of a process with `all` particles. */
static size_t place(int variable, hsize_t n, hsize_t all) {
    return memory_structs ? (size_t)(n * VARIABLES) + (size_t)variable : (size_t)((hsize_t)variable * all + n);
}

static hsize_t particle_of(const struct share *share, hsize_t n) {
    hsize_t row = n / row_length;
    return (share->start + row / share->block * share->stride + row % share->block) * row_length + n % row_length;
}

/* Fills the memory of a process, or compares it with the expected values. */
static void visit(union word *data, const struct share *share, int step, int compare) {
    hsize_t all = share->rows * row_length;
    for (int variable = 0; variable < VARIABLES; variable++)
        for (hsize_t n = 0; n < all; n++) {
            union word wanted = word_of(step, variable, particle_of(share, n)), *found = &data[place(variable, n, all)];
            if (!compare)
                *found = wanted;
            else if (found->integer != wanted.integer) {
                fprintf(stderr, "process %d, step %d, %s of particle %llu: %#x and not %#x\n", rank, step,
                        names[variable], (unsigned long long)particle_of(share, n), (unsigned)found->integer,
                        (unsigned)wanted.integer);
                CHECK(!"what is read is not what was written");
            }
        }
}

/* Selects a share in a dataset with rows of this step from `base` on. */
static hid_t file_space(hid_t dataset, const struct share *share, hsize_t base) {
    hid_t space = H5Dget_space(dataset);
    hsize_t start[3] = {base + share->start, 0, 0}, stride[3] = {share->stride, inner[0], inner[1]};
    hsize_t blocks[3] = {share->rows / share->block, 1, 1}, block[3] = {share->block, inner[0], inner[1]};
    CHECK(share->rows % share->block == 0);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, blocks, block) >= 0);
    return space;
}

/* Selects one variable in memory, or all variables as structs. */
static hid_t memory_space(int variable, hsize_t all, int whole) {
    hsize_t length[1] = {memory_structs && !whole ? all * VARIABLES : all}, start[1] = {(hsize_t)variable},
            stride[1] = {VARIABLES};
    hid_t space = H5Screate_simple(1, length, NULL);
    if (memory_structs && !whole)
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, &all, NULL) >= 0);
    return space;
}

static hid_t compound_of(int first, int last) {
    hid_t type = H5Tcreate(H5T_COMPOUND, (size_t)(last - first) * 4);
    for (int variable = first; variable < last; variable++)
        CHECK(H5Tinsert(type, names[variable], (size_t)(variable - first) * 4, type_of(variable)) >= 0);
    return type;
}

/* Transfers one step between memory and its datasets. */
static void move(const hid_t *datasets, union word *data, const struct share *share, hsize_t base, int writing) {
    hsize_t all = share->rows * row_length;
    int whole = memory_structs && stored_structs;
    for (int variable = 0; variable < (whole ? 1 : VARIABLES); variable++) {
        hid_t dataset = datasets[stored_structs ? 0 : variable];
        hid_t space = file_space(dataset, share, base), memory = memory_space(variable, all, whole);
        hid_t type = whole ? compound_of(0, VARIABLES)
                           : stored_structs ? compound_of(variable, variable + 1) : H5Tcopy(type_of(variable));
        void *from = memory_structs ? data : data + (hsize_t)variable * all;
        CHECK((writing ? H5Dwrite(dataset, type, memory, space, transfer, from)
                       : H5Dread(dataset, type, memory, space, transfer, from)) >= 0);
        H5Tclose(type);
        H5Sclose(memory);
        H5Sclose(space);
    }
}

static int dataset_count(void) { return stored_structs ? 1 : VARIABLES; }

static const char *dataset_name(int n) { return stored_structs ? "particles" : names[n]; }

/* Creates the datasets of a step. They are empty if they are extended later. */
static void create_datasets(hid_t group, hid_t *datasets) {
    hsize_t now_long[3] = {mode == APPEND ? 0 : rows * (hsize_t)size, inner[0], inner[1]};
    hsize_t most[3] = {H5S_UNLIMITED, inner[0], inner[1]}, chunks[3] = {chunk, inner[0], inner[1]};
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(dims, now_long, mode == APPEND ? most : NULL);
    if (chunk)
        CHECK(H5Pset_chunk(list, dims, chunks) >= 0);
    if (deflate_level)
        CHECK(H5Pset_shuffle(list) >= 0 && H5Pset_deflate(list, (unsigned)deflate_level) >= 0);
    /* No process reads elements that no process has written. */
    CHECK(H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0);
    for (int n = 0; n < dataset_count(); n++) {
        hid_t type = stored_structs ? compound : type_of(n);
        datasets[n] = H5Dcreate2(group, dataset_name(n), type, space, H5P_DEFAULT, list, H5P_DEFAULT);
        CHECK(datasets[n] >= 0);
    }
    H5Sclose(space);
    H5Pclose(list);
}

static void close_datasets(const hid_t *datasets) {
    for (int n = 0; n < dataset_count(); n++)
        CHECK(H5Dclose(datasets[n]) >= 0);
}

static const char *group_name(int step) {
    static char name[32];
    snprintf(name, sizeof name, "step_%d", mode == CREATE ? step : 0);
    return name;
}

static void whose(hid_t file) { CHECK(H5VLget_connector_name(file, connector, sizeof connector) > 0); }

static void write_file(void) {
    struct share share = written_share(rank);
    union word *data = malloc((size_t)(rows * row_length) * VARIABLES * sizeof *data);
    CHECK(data);
    hid_t datasets[VARIABLES], group = -1;
    begin("create");
    struct moment whole = now(), begun = whole, aside = {0, 0, 0};
    hid_t file = create(file_name);
    whose(file);
    add_time("create", begun);
    for (int step = 0; step < steps; step++) {
        struct moment filling = now();
        visit(data, &share, step, 0);
        aside.wall += now().wall - filling.wall;
        aside.work += now().work - filling.work;
        begin("write");
        begun = now();
        if (step == 0 || mode == CREATE) {
            group = H5Gcreate2(file, group_name(step), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            CHECK(group >= 0);
            create_datasets(group, datasets);
        }
        hsize_t longer[3] = {rows * (hsize_t)size * (hsize_t)(step + 1), inner[0], inner[1]};
        for (int n = 0; mode == APPEND && n < dataset_count(); n++)
            CHECK(H5Dset_extent(datasets[n], longer) >= 0);
        move(datasets, data, &share, mode == APPEND ? rows * (hsize_t)size * (hsize_t)step : 0, 1);
        if (step == steps - 1 || mode == CREATE) {
            close_datasets(datasets);
            H5Gclose(group);
        }
        add_time("write", begun);
    }
    begin("close");
    begun = now();
    CHECK(H5Fclose(file) >= 0);
    add_time("close", begun);
    whole.wall += aside.wall;
    whole.work += aside.work;
    add_time("written", whole);
    free(data);
}

static void read_file(void) {
    struct share share = read_share();
    size_t words = (size_t)(share.rows * row_length) * VARIABLES;
    union word *data = malloc(words * sizeof *data);
    CHECK(data);
    hid_t datasets[VARIABLES], access = mpio();
    begin("open");
    struct moment whole = now(), begun = whole, aside = {0, 0, 0};
    hid_t file = H5Fopen(file_name, H5F_ACC_RDONLY, access);
    CHECK(file >= 0);
    whose(file);
    add_time("open", begun);
    for (int step = mode == OVERWRITE ? steps - 1 : 0; step < steps; step++) {
        memset(data, 0xee, words * sizeof *data);
        begin("read");
        begun = now();
        hid_t group = H5Gopen2(file, group_name(step), H5P_DEFAULT);
        CHECK(group >= 0);
        for (int n = 0; n < dataset_count(); n++)
            CHECK((datasets[n] = H5Dopen2(group, dataset_name(n), H5P_DEFAULT)) >= 0);
        move(datasets, data, &share, mode == APPEND ? rows * (hsize_t)size * (hsize_t)step : 0, 0);
        close_datasets(datasets);
        H5Gclose(group);
        add_time("read", begun);
        struct moment comparing = now();
        visit(data, &share, step, 1);
        aside.wall += now().wall - comparing.wall;
        aside.work += now().work - comparing.work;
    }
    CHECK(H5Fclose(file) >= 0);
    whole.wall += aside.wall;
    whole.work += aside.work;
    add_time("read whole", whole);
    H5Pclose(access);
    free(data);
}

/* Returns the index of a word in a list. */
static int choice(const char *text, const char *const *words) {
    for (int n = 0; words[n]; n++)
        if (strcmp(text, words[n]) == 0)
            return n;
    fprintf(stderr, "particles: no such choice: %s\n", text);
    MPI_Abort(MPI_COMM_WORLD, 2);
    return -1;
}

#define CHOICE(text, ...) choice(text, (const char *const[]){__VA_ARGS__, NULL})

static void set(const char *name, const char *text) {
    static const char *const settings[] = {"phases", "count", "steps", "dims", "memory", "stored", "select", "mode",
                                           "transfer", "chunk", "deflate", "read", "sample", NULL};
    int number = atoi(text);
    switch (choice(name, settings)) {
    case 0:
        phases_write = strstr(text, "write") != NULL;
        phases_read = strstr(text, "read") != NULL;
        break;
    case 1: count = (hsize_t)number; break;
    case 2: steps = number; break;
    case 3: dims = number; break;
    case 4: memory_structs = CHOICE(text, "arrays", "structs"); break;
    case 5: stored_structs = CHOICE(text, "arrays", "structs"); break;
    case 6: strided = CHOICE(text, "slab", "strided"); break;
    case 7: mode = CHOICE(text, "create", "append", "overwrite"); break;
    case 8: independent = CHOICE(text, "collective", "independent"); break;
    case 9: chunk = (hsize_t)number; break;
    case 10: deflate_level = number; break;
    case 11: pattern = CHOICE(text, "own", "neighbour", "part", "strided"); break;
    default: sample = number; break;
    }
}

int main(int arguments, char **words) {
    MPI_Init(&arguments, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(arguments > 1);
    file_name = words[1];
    for (int n = 2; n < arguments; n++) {
        char *equals = strchr(words[n], '=');
        CHECK(equals);
        *equals = 0;
        set(words[n], equals + 1);
    }
    CHECK(dims >= 1 && dims <= 3 && steps > 0 && count > 0 && count % 128 == 0);
    CHECK(mode != APPEND || chunk > 0);
    CHECK(deflate_level == 0 || chunk > 0);
    if (dims > 1)
        inner[0] = dims == 2 ? 16 : 4;
    if (dims > 2)
        inner[1] = 4;
    row_length = inner[0] * inner[1];
    rows = count / row_length;
    CHECK(H5open() >= 0);
    if (sample)
        start_sampling();
    transfer = transfers(independent ? H5FD_MPIO_INDEPENDENT : H5FD_MPIO_COLLECTIVE);
    compound = compound_of(0, VARIABLES);
    if (phases_write)
        write_file();
    if (phases_read)
        read_file();
    H5Tclose(compound);
    H5Pclose(transfer);
    report(connector, (double)count * size * steps * VARIABLES * sizeof(union word));
    MPI_Finalize();
    return 0;
}

/* Writes particles with H5Part in steps by all processes, appends steps, and reads them through views.
 *
 *     steps FILE collective|independent
 *
 * Each process has a different number of particles, and in step 2 the second process has none. */
#include "../programs/together.h"

#include <H5Part.h>

enum { EACH = 100, STEPS = 3, APPENDED = 1, WIDTH = 3 };

static char flags;

/* Returns the number of particles that a process has in a step. `before` returns the number of particles of all earlier
 * processes. */
static long long count_of(int step, int process) { return step == 2 && process == 1 ? 0 : EACH + 7 * process + step; }

static long long before(int step, int process) {
    long long sum = 0;
    for (int n = 0; n < process; n++)
        sum += count_of(step, n);
    return sum;
}

static double value(int step, int variable, long long particle) {
    return step * 1e6 + variable * 1e5 + (double)particle + 0.25;
}

static H5PartFile *open_by_all(const char *name, char how) {
    H5PartFile *file = H5PartOpenFileParallel(name, (char)(how | flags), MPI_COMM_WORLD);
    CHECK(file && H5PartFileIsValid(file) == H5PART_SUCCESS);
    return file;
}

static void write_step(H5PartFile *file, int step) {
    long long count = count_of(step, rank), first = before(step, rank);
    double *x = malloc((size_t)(count + 1) * sizeof *x), *pair = malloc((size_t)(count + 1) * 2 * sizeof *pair);
    int64_t *id = malloc((size_t)(count + 1) * sizeof *id);
    float *weight = malloc((size_t)(count + 1) * sizeof *weight);
    int32_t *kind = malloc((size_t)(count + 1) * sizeof *kind);
    CHECK(x && pair && id && weight && kind);
    for (long long n = 0; n < count; n++) {
        x[n] = value(step, 0, first + n);
        pair[2 * n] = value(step, 1, first + n);
        pair[2 * n + 1] = value(step, 2, first + n);
        id[n] = first + n;
        weight[n] = (float)(first + n) / 2;
        kind[n] = (int32_t)((first + n) % 5);
    }
    CHECK(H5PartSetStep(file, step) == H5PART_SUCCESS);
    CHECK(H5PartSetNumParticles(file, count) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataFloat64(file, "x", x) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataInt64(file, "id", id) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataFloat32(file, "weight", weight) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataInt32(file, "kind", kind) == H5PART_SUCCESS);
    /* Two variables are interleaved in one array in memory. */
    CHECK(H5PartSetNumParticlesStrided(file, count, 2) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataFloat64(file, "y", pair) == H5PART_SUCCESS);
    CHECK(H5PartWriteDataFloat64(file, "z", pair + 1) == H5PART_SUCCESS);
    CHECK(H5PartWriteStepAttribFloat64(file, "time", step * 0.5) == H5PART_SUCCESS);
    CHECK(H5PartWriteStepAttribString(file, "remark", step % 2 ? "odd" : "even") == H5PART_SUCCESS);
    free(x);
    free(pair);
    free(id);
    free(weight);
    free(kind);
}

static void write_all(const char *name) {
    const int64_t sizes[3] = {4, 5, 6};
    begin("write");
    H5PartFile *file = open_by_all(name, H5PART_WRITE);
    CHECK(H5PartDefineStepName(file, "Step", WIDTH) == H5PART_SUCCESS);
    CHECK(H5PartWriteFileAttribString(file, "title", "particles in steps") == H5PART_SUCCESS);
    CHECK(H5PartWriteFileAttrib(file, "sizes", H5PART_INT64, sizes, 3) == H5PART_SUCCESS);
    CHECK(H5PartWriteFileAttribInt32(file, "processes", size) == H5PART_SUCCESS);
    for (int step = 0; step < STEPS; step++) {
        /* The second step is chunked, and processes share chunks. */
        if (step == 1)
            CHECK(H5PartSetChunkSize(file, 64) == H5PART_SUCCESS);
        write_step(file, step);
    }
    CHECK(H5PartCloseFile(file) == H5PART_SUCCESS);
    begin("append");
    file = open_by_all(name, H5PART_APPEND);
    CHECK(H5PartDefineStepName(file, "Step", WIDTH) == H5PART_SUCCESS);
    for (int step = STEPS; step < STEPS + APPENDED; step++)
        write_step(file, step);
    CHECK(H5PartCloseFile(file) == H5PART_SUCCESS);
}

static void check_attributes(H5PartFile *file) {
    char text[64] = "", name[64];
    int64_t sizes[3] = {0, 0, 0}, type, length;
    int32_t processes = 0;
    CHECK(H5PartGetNumFileAttribs(file) == 3);
    for (int n = 0; n < 3; n++) {
        CHECK(H5PartGetFileAttribInfo(file, n, name, sizeof name, &type, &length) == H5PART_SUCCESS);
        CHECK(strcmp(name, "sizes") != 0 || (type == H5PART_INT64 && length == 3));
    }
    CHECK(H5PartReadFileAttrib(file, "title", text) == H5PART_SUCCESS && strcmp(text, "particles in steps") == 0);
    CHECK(H5PartReadFileAttrib(file, "sizes", sizes) == H5PART_SUCCESS && sizes[0] == 4 && sizes[2] == 6);
    CHECK(H5PartReadFileAttrib(file, "processes", &processes) == H5PART_SUCCESS && processes == size);
}

static void check_step_attributes(H5PartFile *file, int step) {
    char text[64] = "";
    double time = -1;
    CHECK(H5PartGetNumStepAttribs(file) == 2);
    CHECK(H5PartReadStepAttrib(file, "time", &time) == H5PART_SUCCESS && time == step * 0.5);
    CHECK(H5PartReadStepAttrib(file, "remark", text) == H5PART_SUCCESS);
    CHECK(strcmp(text, step % 2 ? "odd" : "even") == 0);
}

/* Reads through the present view, which contains every `stride`th particle from `first` on. */
static void check_view(H5PartFile *file, int step, long long first, long long count, long long stride) {
    static const char *const doubles[] = {"x", "y", "z"};
    CHECK(H5PartGetNumParticles(file) == count);
    double *data = malloc((size_t)(count + 1) * sizeof *data);
    int64_t *id = malloc((size_t)(count + 1) * sizeof *id);
    float *weight = malloc((size_t)(count + 1) * sizeof *weight);
    int32_t *kind = malloc((size_t)(count + 1) * sizeof *kind);
    CHECK(data && id && weight && kind);
    for (int variable = 0; variable < 3; variable++) {
        CHECK(H5PartReadDataFloat64(file, doubles[variable], data) == H5PART_SUCCESS);
        for (long long n = 0; n < count; n++)
            CHECK(data[n] == value(step, variable, first + n * stride));
    }
    CHECK(H5PartReadDataInt64(file, "id", id) == H5PART_SUCCESS);
    CHECK(H5PartReadDataFloat32(file, "weight", weight) == H5PART_SUCCESS);
    CHECK(H5PartReadDataInt32(file, "kind", kind) == H5PART_SUCCESS);
    for (long long n = 0; n < count; n++) {
        long long particle = first + n * stride;
        CHECK(id[n] == particle && weight[n] == (float)particle / 2 && kind[n] == (int32_t)(particle % 5));
    }
    free(data);
    free(id);
    free(weight);
    free(kind);
}

static void read_step(H5PartFile *file, int step) {
    char name[64];
    int64_t type, length, start, end;
    long long total = before(step, size);
    begin("a step");
    CHECK(H5PartHasStep(file, step) && H5PartSetStep(file, step) == H5PART_SUCCESS);
    CHECK(H5PartGetNumDatasets(file) == 6);
    CHECK(H5PartGetDatasetInfo(file, 0, name, sizeof name, &type, &length) == H5PART_SUCCESS && length == total);
    check_step_attributes(file, step);
    begin("no view: all read all");
    CHECK(H5PartResetView(file) == H5PART_SUCCESS && !H5PartHasView(file));
    check_view(file, step, 0, total, 1);
    begin("a view of equal shares");
    CHECK(H5PartSetCanonicalView(file) == H5PART_SUCCESS && H5PartHasView(file));
    check_view(file, step, total / size * rank, total / size, 1);
    begin("a view of what the next process wrote");
    int other = (rank + 1) % size;
    if (count_of(step, other) > 0) {
        long long first = before(step, other), last = first + count_of(step, other) - 1;
        CHECK(H5PartSetView(file, first, last) == H5PART_SUCCESS);
        CHECK(H5PartGetView(file, &start, &end) == last - first + 1 && start == first && end == last);
    } else
        CHECK(H5PartSetView(file, 0, 0) == H5PART_SUCCESS);
    check_view(file, step, count_of(step, other) ? before(step, other) : 0,
               count_of(step, other) ? count_of(step, other) : 1, 1);
    begin("a view of a list");
    int64_t list[EACH];
    long long count = 0;
    for (long long particle = rank; particle < total && count < EACH; particle += 3)
        list[count++] = particle;
    CHECK(H5PartSetViewIndices(file, list, count) == H5PART_SUCCESS);
    check_view(file, step, rank, count, 3);
}

int main(int words, char **arguments) {
    MPI_Init(&words, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(words == 3);
    flags = strcmp(arguments[2], "independent") == 0 ? H5PART_VFD_MPIIO_IND : 0;
    H5PartSetVerbosityLevel(H5PART_VERB_ERROR);
    write_all(arguments[1]);
    begin("read");
    H5PartFile *file = open_by_all(arguments[1], H5PART_READ);
    CHECK(H5PartDefineStepName(file, "Step", WIDTH) == H5PART_SUCCESS);
    CHECK(H5PartGetNumSteps(file) == STEPS + APPENDED);
    check_attributes(file);
    for (int step = 0; step < STEPS + APPENDED; step++)
        read_step(file, step);
    CHECK(H5PartCloseFile(file) == H5PART_SUCCESS);
    MPI_Finalize();
    return 0;
}

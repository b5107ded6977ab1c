/* A simulation that writes each of its steps, as VPIC-IO does, or an analysis that reads them, as BD-CATS does:
 * steps write|read FILE STEPS PARTICLES GZIP SECONDS beside|after. Between steps it computes for SECONDS; as in h5bench, the
 * computation is a sleep. With 'beside' transfers continue meanwhile. It checks the data that it reads, and prints the
 * elapsed time. */
#include "../../tests-c/programs/check.h"
#include <stdbool.h>
#include <time.h>

enum { VARIABLES = 8 };

static const char *const NAMES[VARIABLES] = {"x", "y", "z", "px", "py", "pz", "id1", "id2"};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void compute(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* Fills elements that take gzip some time, different for each step and variable. */
static void fill(float *values, size_t count, int step, int variable)
{
    unsigned state = (unsigned)(step * VARIABLES + variable + 1) * 2654435761u;
    for (size_t n = 0; n < count; n++) {
        state = state * 1664525u + 1013904223u;
        values[n] = (float)(n % 1000) + (float)(state >> 20) / 64;
    }
}

static hid_t set_of(hid_t group, int variable, hsize_t particles, int gzip, hid_t events)
{
    hid_t space = H5Screate_simple(1, &particles, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    if (gzip) {
        hsize_t chunk = particles < (1 << 18) ? particles : 1 << 18;
        CHECK(H5Pset_chunk(list, 1, &chunk) >= 0 && H5Pset_deflate(list, (unsigned)gzip) >= 0);
    }
    hid_t set = H5Dcreate_async(group, NAMES[variable], H5T_NATIVE_FLOAT, space, H5P_DEFAULT, list, H5P_DEFAULT, events);
    CHECK(set >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
    return set;
}

static void wait_for(hid_t events)
{
    size_t left;
    hbool_t failed = 0;
    if (events != H5ES_NONE)
        CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && !failed);
}

static void write_step(hid_t file, int step, float *values, hsize_t particles, int gzip, hid_t events)
{
    char name[32];
    snprintf(name, sizeof name, "Step#%d", step);
    hid_t group = H5Gcreate_async(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT, events);
    CHECK(group >= 0);
    for (int v = 0; v < VARIABLES; v++) {
        hid_t set = set_of(group, v, particles, gzip, events);
        CHECK(H5Dwrite_async(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values + v * particles, events) >= 0);
        CHECK(H5Dclose_async(set, events) >= 0);
    }
    CHECK(H5Gclose_async(group, events) >= 0 && H5Fflush_async(file, H5F_SCOPE_LOCAL, events) >= 0);
}

static void read_step(hid_t file, int step, float *values, hsize_t particles, hid_t events)
{
    char name[32];
    for (int v = 0; v < VARIABLES; v++) {
        snprintf(name, sizeof name, "Step#%d/%s", step, NAMES[v]);
        hid_t set = H5Dopen_async(file, name, H5P_DEFAULT, events);
        CHECK(set >= 0);
        CHECK(H5Dread_async(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values + v * particles, events) >= 0);
        CHECK(H5Dclose_async(set, events) >= 0);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 8);
    bool writes = strcmp(argv[1], "write") == 0, beside = strcmp(argv[7], "beside") == 0;
    int steps = atoi(argv[3]), gzip = atoi(argv[5]);
    hsize_t particles = strtoull(argv[4], NULL, 10);
    size_t all = VARIABLES * particles;
    double seconds = atof(argv[6]), spent = 0, begun;
    float *buffers[2] = {malloc(all * 4), malloc(all * 4)}, *expected = malloc(all * 4);
    CHECK(buffers[0] && buffers[1] && expected);
    memset(buffers[1], 0, all * 4);
    for (int v = 0; v < VARIABLES; v++)
        fill(buffers[0] + v * particles, particles, 0, v);
    memcpy(expected, buffers[0], all * 4);
    hid_t events = beside ? H5EScreate() : H5ES_NONE, file;
    begun = now();
    if (writes) {
        CHECK((file = H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
        for (int step = 0; step < steps; step++) {
            wait_for(events);
            write_step(file, step, buffers[0], particles, gzip, events);
            compute(seconds);
        }
        wait_for(events);
    } else {
        CHECK((file = H5Fopen(argv[2], H5F_ACC_RDONLY, H5P_DEFAULT)) >= 0);
        read_step(file, 0, buffers[0], particles, events);
        for (int step = 0; step < steps; step++) {
            float *mine = buffers[step % 2];
            wait_for(events);
            if (beside && step + 1 < steps)
                read_step(file, step + 1, buffers[(step + 1) % 2], particles, events);
            compute(seconds);
            double checking = now();
            CHECK(memcmp(mine, expected, all * 4) == 0);
            memset(mine, 0, all * 4);
            spent += now() - checking;
            if (!beside && step + 1 < steps)
                read_step(file, step + 1, buffers[(step + 1) % 2], particles, events);
        }
    }
    CHECK(H5Fclose(file) >= 0);
    printf("%.6f\n", now() - begun - spent);
    if (beside)
        CHECK(H5ESclose(events) >= 0);
    return 0;
}

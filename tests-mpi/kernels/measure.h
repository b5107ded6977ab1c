/* Measures the times of an MPI program, and the processor time that is spent in MPI.
 *
 * A process that waits for other processes in MPI polls at full speed. ITIMER_PROF interrupts the process at short
 * intervals of the processor time of all its threads. The signal handler determines which library contains the
 * interrupted instruction. This yields the time in MPI's own libraries, for native HDF5 and for a plugin alike.
 * Interposing functions of MPI would not work for a plugin, which finds them by name beneath libhdf5. The time in which
 * MPI-IO packs data counts as MPI's; system calls do not. */
#ifndef MEASURE_H
#define MEASURE_H

#include "../programs/together.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

enum { MOST_RANGES = 64, TICK = 2000 /* microseconds */ };

struct moment {
    double wall, work; /* seconds: elapsed, and processor time of all threads */
    double mpi;        /* ticks in MPI's libraries */
};

static struct {
    unsigned long begin, end;
} mpi_code[MOST_RANGES];
static int ranges;
static volatile sig_atomic_t ticks_all, ticks_mpi;
static double sampled_from; /* the processor time when the sampling began */

static double clock_of(clockid_t clock) {
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_tick(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
#if defined(__x86_64__)
    unsigned long at = (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    unsigned long at = (unsigned long)((ucontext_t *)context)->uc_mcontext.pc;
#else
#error "where the instruction pointer lies on this processor"
#endif
    ticks_all++;
    for (int n = 0; n < ranges; n++)
        if (at >= mpi_code[n].begin && at < mpi_code[n].end) {
            ticks_mpi++;
            return;
        }
}

/* Returns whether a library belongs to MPICH, Open MPI, or the libraries with which they send messages. */
static int is_mpi(const char *line) {
    static const char *const names[] = {"/libmpi", "/libopen-", "/libfabric", "/libucp", "/libuct",
                                        "/libucs", "/libucm", "/libpsm", "/libpmi", "/mca_"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        if (strstr(line, names[n]))
            return 1;
    return 0;
}

/* Begins the sampling. Must be called after MPI_Init, when MPI's libraries are loaded. */
static inline void start_sampling(void) {
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        char flags[5];
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, flags) == 3 && flags[2] == 'x' && is_mpi(line)) {
            CHECK(ranges < MOST_RANGES);
            mpi_code[ranges].begin = begin;
            mpi_code[ranges++].end = end;
        }
    }
    fclose(maps);
    CHECK(ranges > 0);
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval every = {{0, TICK}, {0, TICK}};
    sampled_from = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    CHECK(sigaction(SIGPROF, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &every, NULL) == 0);
}

static inline struct moment now(void) {
    return (struct moment){clock_of(CLOCK_MONOTONIC), clock_of(CLOCK_PROCESS_CPUTIME_ID), ticks_mpi};
}

/* Returns the duration of a tick in seconds, averaged over all processes so far. The kernel may deliver fewer ticks
 * than requested, because its own clock is coarser. */
static inline double tick(void) {
    double mine[2] = {clock_of(CLOCK_PROCESS_CPUTIME_ID) - sampled_from, ticks_all}, all[2];
    MPI_Allreduce(mine, all, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return all[1] > 0 ? all[0] / all[1] : 0;
}

/* A measured activity: the longest elapsed time of a process, and the sums of the work of all processes. */
struct metric {
    const char *name;
    struct moment spent;
};

static struct metric metrics[16];
static int metric_count;

/* Ends a measurement that began at `begun`; collective. Measurements with the same name are added up. */
static inline void add_time(const char *name, struct moment begun) {
    struct moment end = now(), mine = {end.wall - begun.wall, end.work - begun.work, end.mpi - begun.mpi}, all;
    MPI_Allreduce(&mine.wall, &all.wall, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(&mine.work, &all.work, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(&mine.mpi, &all.mpi, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    int n = 0;
    while (n < metric_count && strcmp(metrics[n].name, name) != 0)
        n++;
    CHECK(n < (int)(sizeof metrics / sizeof *metrics));
    if (n == metric_count)
        metrics[metric_count++] = (struct metric){name, {0, 0, 0}};
    metrics[n].spent.wall += all.wall;
    metrics[n].spent.work += all.work;
    metrics[n].spent.mpi += all.mpi;
}

/* Prints one line of JSON in the first process: the bytes of elements, the times, and the largest resident size of a
 * process. */
static inline void report(const char *connector, double bytes) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    long mine = usage.ru_maxrss, most = 0;
    MPI_Reduce(&mine, &most, 1, MPI_LONG, MPI_MAX, 0, MPI_COMM_WORLD);
    double seconds = tick();
    if (rank != 0)
        return;
    printf("{\"connector\": \"%s\", \"bytes\": %.0f, \"rss\": %.0f", connector, bytes, (double)most * 1024);
    const char *lists[] = {"times", "work", "mpi"};
    for (int list = 0; list < 3; list++) {
        printf(", \"%s\": {", lists[list]);
        for (int n = 0; n < metric_count; n++) {
            const struct moment *spent = &metrics[n].spent;
            double value = list == 0 ? spent->wall : list == 1 ? spent->work : spent->mpi * seconds;
            printf("%s\"%s\": %.9g", n ? ", " : "", metrics[n].name, value);
        }
        printf("}");
    }
    printf("}\n");
    fflush(stdout);
}

#endif

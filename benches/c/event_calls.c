/* Measures the cost of a call, by the median of many repetitions: event_calls FILE. Prints the nanoseconds of writes of
 * eight elements: without an event set; of strings, without an event set and with one, which are carried out at once; and
 * with an event set, which are carried out in the background. */
#include "../../tests-c/programs/check.h"
#include <time.h>

enum { CALLS = 1000, TURNS = 200 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int rising(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

typedef void (*Call)(hid_t set, hid_t type, const void *values, hid_t events);

static void plain(hid_t set, hid_t type, const void *values, hid_t events)
{
    (void)events;
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
}

static void with_set(hid_t set, hid_t type, const void *values, hid_t events)
{
    H5Dwrite_async(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values, events);
}

static double cost(Call call, hid_t set, hid_t type, const void *values, hid_t events)
{
    static double turns[TURNS];
    size_t left;
    hbool_t failed;
    for (int turn = 0; turn < TURNS; turn++) {
        double begun = now();
        for (int n = 0; n < CALLS; n++)
            call(set, type, values, events);
        turns[turn] = (now() - begun) / CALLS;
        CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && !failed);
    }
    qsort(turns, TURNS, sizeof *turns, rising);
    return turns[TURNS / 2];
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hsize_t count = 8;
    long long values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(1, &count, NULL);
    hid_t text = H5Tcopy(H5T_C_S1), events = H5EScreate();
    const char *words[8] = {"", "", "", "", "", "", "", ""};
    CHECK(file >= 0 && H5Tset_size(text, H5T_VARIABLE) >= 0);
    hid_t set = H5Dcreate2(file, "x", H5T_NATIVE_LLONG, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t strings = H5Dcreate2(file, "s", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    double call = cost(plain, set, H5T_NATIVE_LLONG, values, events);
    double strings_plain = cost(plain, strings, text, words, events);
    double strings_set = cost(with_set, strings, text, words, events);
    double going = cost(with_set, set, H5T_NATIVE_LLONG, values, events);
    printf("%.0f %.0f %.0f %.0f\n", call, strings_plain, strings_set, going);
    CHECK(H5Dclose(set) >= 0 && H5Dclose(strings) >= 0 && H5Fclose(file) >= 0 && H5ESclose(events) >= 0);
    return 0;
}

/* Failures of transfers in event sets: event_ends CASE FILE [ours]. */
#include "events.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static herr_t find(unsigned n, const H5E_error2_t *frame, void *text)
{
    (void)n;
    if (frame->desc && strstr(frame->desc, "h5lake: "))
        snprintf(text, 500, "%s", frame->desc);
    return 0;
}

static char said[500];

/* Returns the text of an error stack. */
static const char *text_of(hid_t stack)
{
    said[0] = 0;
    CHECK(H5Ewalk2(stack, H5E_WALK_DOWNWARD, find, said) >= 0);
    return said;
}

static int failures;

static int on_failure(const H5ES_op_info_t *info, H5ES_status_t status, hid_t stack, void *none)
{
    (void)info, (void)none;
    if (status == H5ES_STATUS_FAIL && strstr(text_of(stack), "went on beside the program"))
        failures++;
    return 0;
}

/* Writes elements that the dataset does not have: the container reports the error when the write runs. */
static herr_t fails(hid_t set, const int64_t *values, hid_t events)
{
    hsize_t wide = 4 * LONG, start = 2 * LONG, count = LONG;
    hid_t space = H5Screate_simple(1, &wide, NULL), memory = H5Screate_simple(1, &count, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL) >= 0);
    herr_t done = H5Dwrite_async(set, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, values, events);
    CHECK(H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
    return done;
}

/* A failure is reported with its text, more than once; after a failure calls run synchronously, and their buffers may
 * be freed. */
static void failure(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, 1), other;
    int64_t *values = noisy(LONG), *more;
    size_t left = 0, count = 0, cleared = 0;
    hbool_t failed = 0;
    H5ES_err_info_t info;
    if (!ours)
        return; /* in native HDF5 the call itself fails */
    CHECK(H5ESregister_complete_func(events, on_failure, NULL) >= 0);
    CHECK(fails(set, values, events) >= 0);
    write_all(set, values, events);
    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && failed && failures == 1);
    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && left == 0 && !failed);
    CHECK(H5ESget_err_count(events, &count) >= 0 && count == 1);
    /* The set refuses further operations, so that their tokens would be lost. */
    more = noisy(LONG);
    write_all(set, more, events);
    CHECK(waiting(events) == 0);
    check_values(file, "x", more, LONG);
    give(more, LONG);
    CHECK(H5ESget_err_info(events, 1, &info, &cleared) >= 0 && cleared == 1);
    CHECK(strstr(text_of(info.err_stack_id), "went on beside the program"));
    CHECK(strcmp(info.api_name, "H5Dwrite_async") == 0);
    CHECK(H5Eclose_stack(info.err_stack_id) >= 0);
    CHECK(H5free_memory(info.api_name) >= 0 && H5free_memory(info.api_args) >= 0);
    CHECK(H5free_memory(info.app_file_name) >= 0 && H5free_memory(info.app_func_name) >= 0);
    /* The failure was reported: neither a flush nor a close reports it again. */
    CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
    /* Operations on another file do not run in the background either, until the library shuts down. */
    CHECK((file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT)) >= 0 && (other = H5EScreate()) >= 0);
    CHECK((set = H5Dopen2(file, "x", H5P_DEFAULT)) >= 0);
    write_all(set, values, other);
    CHECK(waiting(other) == 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5ESclose(other) >= 0 && H5ESclose(events) >= 0 && H5close() >= 0);
    CHECK((file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT)) >= 0 && (other = H5EScreate()) >= 0);
    CHECK((set = H5Dopen2(file, "x", H5P_DEFAULT)) >= 0);
    write_all(set, values, other);
    CHECK(waiting(other) == 1);
    wait_all(other);
    CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0 && H5ESclose(other) >= 0);
}

/* A failure that no wait has reported is reported once, by the next flush or by the close. */
static void untold(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, -1);
    int64_t *values = noisy(LONG);
    if (!ours)
        return;
    CHECK(fails(set, values, events) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) < 0);
        CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
        CHECK(fails(set, values, events) >= 0 && H5Dclose(set) >= 0);
        CHECK(H5Fclose(file) < 0);
    }
    H5E_END_TRY
    CHECK(H5Fclose(file) >= 0);
    size_t left;
    hbool_t failed;
    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && failed);
}

/* The text contains the operating system's error number: a file may not grow. */
static void number(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", 8 * LONG, -1);
    int64_t *values = noisy(8 * LONG);
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    size_t left, cleared;
    hbool_t failed = 0;
    H5ES_err_info_t info;
    if (!ours)
        return;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0 && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    write_all(set, values, events);
    CHECK(H5Fflush_async(file, H5F_SCOPE_LOCAL, events) >= 0);
    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0 && failed);
    CHECK(H5ESget_err_info(events, 1, &info, &cleared) >= 0 && cleared == 1);
    CHECK(strstr(text_of(info.err_stack_id), "errno = 27"));
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    H5E_BEGIN_TRY
    {
        H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed);
        H5Dclose(set);
        if (H5Fclose(file) < 0)
            H5Fclose(file);
    }
    H5E_END_TRY
}

static int refuse(const H5ES_op_info_t *info, void *none)
{
    (void)info, (void)none;
    return -1;
}

static int refuse_once(const H5ES_op_info_t *info, H5ES_status_t status, hid_t stack, void *turns)
{
    (void)info, (void)status, (void)stack;
    return (*(int *)turns)++ ? 0 : -1;
}

/* Tokens that never enter a set: the program frees its buffer at once. */
static void lost(const char *name)
{
    hid_t file = made(name), set = make(file, "x", LONG, 9), events, closed;
    int64_t *values = noisy(LONG), *gone;
    int turns = 0;
    size_t left;
    hbool_t failed;
    H5E_BEGIN_TRY
    {
        gone = noisy(LONG);
        CHECK((closed = H5EScreate()) >= 0 && H5ESclose(closed) >= 0);
        CHECK(H5Dwrite_async(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, gone, closed) >= 0);
        give(gone, LONG);
        gone = take(LONG);
        CHECK(H5Dread_async(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, gone, 12345) >= 0);
        give(gone, LONG);
        CHECK((events = H5EScreate()) >= 0 && H5ESregister_insert_func(events, refuse, NULL) >= 0);
        for (int n = 0; n < 3; n++) {
            gone = noisy(LONG);
            H5Dwrite_async(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, gone, events);
            give(gone, LONG);
        }
    }
    H5E_END_TRY
    /* A callback that fails once leaves the operation in the set. */
    hid_t other = H5EScreate();
    CHECK(H5ESregister_complete_func(other, refuse_once, &turns) >= 0);
    write_all(set, values, other);
    H5E_BEGIN_TRY
    {
        CHECK(H5ESwait(other, H5ES_WAIT_FOREVER, &left, &failed) < 0 || !ours);
    }
    H5E_END_TRY
    wait_all(other);
    check_values(file, "x", values, LONG);
    CHECK(H5ESclose(other) >= 0 && H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
}

/* Starts writes without waiting for them. */
static int64_t *leave(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, 6);
    int64_t *values = take(LONG);
    for (hsize_t n = 0; n < LONG; n++)
        values[n] = (int64_t)(n * n);
    CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    write_all(set, values, events);
    CHECK(H5Fflush_async(file, H5F_SCOPE_LOCAL, events) >= 0);
    write_all(set, values, events);
    return values;
}

static void shut(const char *name)
{
    int64_t *values = leave(name);
    CHECK(H5close() >= 0);
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(file >= 0);
    check_values(file, "x", values, LONG);
    CHECK(H5Fclose(file) >= 0);
}

static void end(const char *name)
{
    leave(name);
}

static void stop(const char *name)
{
    leave(name);
    _exit(0);
}

static void failing_end(const char *name)
{
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, -1);
    CHECK(fails(set, noisy(LONG), events) >= 0);
}

static void read_left(const char *name)
{
    hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "x", H5P_DEFAULT);
    int64_t *seen = take(LONG);
    CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0);
    for (hsize_t n = 0; n < LONG; n++)
        CHECK(seen[n] == (int64_t)(n * n));
    CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0);
}

/* A child that is forked while writes run waits for none of them, and has files and event sets of its own. */
static void forked(const char *name)
{
    char path[500];
    hid_t file = made(name), events = H5EScreate(), set = make(file, "x", LONG, 1), slow = make(file, "slow", LONG, 9);
    int64_t *values = noisy(LONG), *seen = take(LONG);
    size_t left;
    hbool_t failed;
    int status;
    hid_t kept = make(file, "kept", LONG, -1);
    CHECK(H5Dwrite(kept, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) >= 0);
    for (int round = 0; round < 5; round++) {
        for (int n = 0; n < 3; n++)
            write_all(round % 2 ? slow : set, values, events);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(60); /* ends the child even if it waits forever */
            H5E_BEGIN_TRY
            {
                while (round < 2 && waiting(events) > 0) /* after a failure no operation runs in the background in this process */
                    CHECK(H5ESwait(events, H5ES_WAIT_FOREVER, &left, &failed) >= 0);
            }
            H5E_END_TRY
            /* Data that the parent is writing may be lost; data that it does not touch stays. */
            CHECK(H5Dread(kept, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0 && same(seen, values, LONG));
            snprintf(path, sizeof path, "child-%s", name);
            hid_t own = made(path), x = make(own, "x", LONG, 1), mine = H5EScreate();
            write_all(x, values, mine);
            wait_all(mine);
            check_values(own, "x", values, LONG);
            CHECK(H5Dclose(x) >= 0 && H5Fclose(own) >= 0 && H5ESclose(mine) >= 0);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    wait_all(events);
    CHECK(H5Dread(slow, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, seen) >= 0 && same(seen, values, LONG));
    CHECK(H5Dclose(set) >= 0 && H5Dclose(slow) >= 0 && H5Dclose(kept) >= 0 && H5Fclose(file) >= 0);
    CHECK(H5ESclose(events) >= 0);
}

static void *busy(void *name)
{
    int64_t *values = noisy(LONG);
    hid_t file = made(name), set = make(file, "x", LONG, 1), events = H5EScreate();
    for (int n = 0; n < 10; n++) {
        write_all(set, values, events);
        check_values(file, "x", values, LONG);
        wait_all(events);
    }
    CHECK(H5Dclose(set) >= 0 && H5Fclose(file) >= 0 && H5ESclose(events) >= 0);
    return NULL;
}

/* Two threads wait, although the library admits only one at a time. */
static void threads(const char *name)
{
    hbool_t safe;
    pthread_t other;
    char path[500];
    CHECK(H5is_library_threadsafe(&safe) >= 0);
    snprintf(path, sizeof path, "other-%s", name);
    if (safe)
        CHECK(pthread_create(&other, NULL, busy, path) == 0);
    busy((void *)name);
    if (safe)
        CHECK(pthread_join(other, NULL) == 0);
}

/* Failures in one file that were never reported, however many, hide no failure in another file. */
static void many_untold(const char *name)
{
    char second[200];
    snprintf(second, sizeof second, "%.100s-second.h5", name);
    hid_t file = made(name), other = made(second), events = H5EScreate(), set = make(file, "x", LONG, 1), beside = make(other, "x", LONG, 1);
    int64_t *values = noisy(LONG);
    if (!ours)
        return;
    for (int n = 0; n < 100; n++)
        CHECK(fails(set, values, events) >= 0);
    CHECK(fails(beside, values, events) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Fflush(other, H5F_SCOPE_LOCAL) < 0);
        CHECK(H5Fflush(file, H5F_SCOPE_LOCAL) < 0);
    }
    H5E_END_TRY
    CHECK(H5Dclose(set) >= 0 && H5Dclose(beside) >= 0 && H5Fclose(file) >= 0 && H5Fclose(other) >= 0);
}

int main(int argc, char **argv)
{
    static const struct named_case CASES[] = {{"failure", failure}, {"untold", untold}, {"many-untold", many_untold}, {"number", number}, {"lost", lost}, {"shut", shut}, {"end", end},
                 {"stop", stop}, {"failing-end", failing_end}, {"read", read_left}, {"forked", forked}, {"threads", threads}};
    return run_case(CASES, sizeof CASES / sizeof *CASES, argc, argv);
}

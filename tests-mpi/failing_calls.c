/* A library to preload. A program arms it: then one of the next calls for a regular file fails with EIO in this process.
 *
 * fsync and fdatasync do not fail: after such an error it is unknown what the disk contains. */

#include "preload.h"
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The number of calls until one fails; negative if none does. */
static atomic_long left = -1;
static atomic_int failed;

/* Lets the call after the next `skipped` calls fail. */
void fail_call(long skipped) {
    failed = 0;
    left = skipped;
}

/* Lets no call fail any more. Returns whether one has failed. */
int stop_failing(void) {
    left = -1;
    return failed;
}

static int fails(int file) {
    struct stat state;
    if (left < 0 || fstat(file, &state) || !S_ISREG(state.st_mode) || atomic_fetch_sub(&left, 1) != 0)
        return 0;
    failed = 1;
    errno = EIO;
    return 1;
}

#define REPLACE(type, name, parameters, arguments)                                                                     \
    type name parameters {                                                                                             \
        static type(*real) parameters;                                                                                 \
        if (!real)                                                                                                     \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                 \
        return fails(file) ? -1 : real arguments;                                                                      \
    }

REPLACE(ssize_t, pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at))
REPLACE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
REPLACE(ssize_t, preadv64, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at))
REPLACE(ssize_t, pwritev64, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at))
REPLACE(ssize_t, preadv, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at))
REPLACE(ssize_t, pwritev, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at))
REPLACE(ssize_t, read, (int file, void *data, size_t size), (file, data, size))
REPLACE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
REPLACE(int, ftruncate64, (int file, off64_t size), (file, size))
REPLACE(int, fallocate64, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size))

static int unless_it_fails(fcntl_function real, int file, int command, void *argument) {
    int locks = command == F_OFD_SETLK || command == F_OFD_SETLKW;
    return locks && ((struct flock *)argument)->l_type != F_UNLCK && fails(file) ? -1 : real(file, command, argument);
}

REPLACE_FCNTL(fcntl, unless_it_fails)
REPLACE_FCNTL(fcntl64, unless_it_fails)

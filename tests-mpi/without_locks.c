/* A library to preload. It makes the locks of files behave as on other file systems, as the variable LOCKS says:
 *
 * none: locks fail, as on Lustre with 'noflock'.
 * local: locks succeed, and no other process sees them, as between nodes on Lustre with 'localflock'. */

#include "preload.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

static int is_local(void)
{
    const char *locks = getenv("LOCKS");
    return locks && !strcmp(locks, "local");
}

static int lock(int command, struct flock *range)
{
    if (!is_local()) {
        errno = ENOLCK;
        return -1;
    }
    if (command == F_OFD_GETLK || command == F_GETLK)
        range->l_type = F_UNLCK;
    return 0;
}

static int is_lock(int command)
{
    return command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK || command == F_SETLK ||
           command == F_SETLKW || command == F_GETLK;
}

static int unless_lock(fcntl_function real, int file, int command, void *argument)
{
    return is_lock(command) ? lock(command, argument) : real(file, command, argument);
}

REPLACE_FCNTL(fcntl, unless_lock)
REPLACE_FCNTL(fcntl64, unless_lock)

int flock(int file, int how)
{
    (void)file, (void)how;
    if (is_local())
        return 0;
    errno = ENOLCK;
    return -1;
}

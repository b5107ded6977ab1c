/* The interface of the trap and trap.py: a control structure in a memory file, with the journal after it. */
#include <stdatomic.h>
#include <stdint.h>

enum { MAX_LOG = 8192, MAX_DESCRIPTORS = 1024, JOURNAL_AT = 4 << 20, TOLD = -2 };

enum kind { NONE, WRITE, READ, SYNC, RENAME, OPEN, LOCK, TRUNCATE, LINK, UNLINK, MKDIR, CREATE };

enum fault {
    FAULT_NONE, FAULT_ERRNO, FAULT_SHORT, FAULT_TORN, FAULT_KILL_BEFORE, FAULT_KILL_AFTER, FAULT_PAUSE, FAULT_IOCTL_BEFORE
};

struct logged { int32_t number, kind; int64_t result; char what[240]; };

struct event {
    int32_t number; uint32_t size; /* of the event with its data, a multiple of 8 */
    int64_t result; uint64_t inode; int64_t offset, length, flags; char what[240];
};

struct control {
    uint32_t kinds;      /* which kinds of calls count, bit by bit */
    uint32_t faulted;    /* which of these can be hit */
    int32_t fault, error, point, from_here_on;
    atomic_int done, hit; /* hit: the number of the first call that was, or -1 */
    atomic_uint calls;
    atomic_int paused;
    int32_t ioctl_fd;
    uint32_t ioctl_argument;
    uint64_t ioctl_request, journal_size;
    atomic_ulong journal_used;
    char folder[240];
    struct logged log[MAX_LOG];
};

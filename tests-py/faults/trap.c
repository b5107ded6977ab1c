/* System calls of this process are counted, logged, and made to fail: by a seccomp filter that turns them into SIGSYS, and a
 * handler that makes the real call from one permitted instruction. Nothing of the program or the plugin is changed, raw
 * system calls are seen as those of libc are, and threads that start later inherit the filter.
 *
 * Only calls on files below one folder count: by path, or by descriptor of a file opened there. */

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/uio.h>
#include <unistd.h>

#include "trap.h"

static struct control *control;
static unsigned char *journal;
static atomic_uchar ours[MAX_DESCRIPTORS];
static char folder[sizeof control->folder];

/* The one place from which trapped calls are allowed. */
long permitted_call(long number, long a, long b, long c, long d, long e, long f);
extern const char permitted_return[];
__asm__(".text\n.globl permitted_call\n.type permitted_call,@function\n"
        "permitted_call:\n"
        "  movq %rdi, %rax\n  movq %rsi, %rdi\n  movq %rdx, %rsi\n  movq %rcx, %rdx\n"
        "  movq %r8, %r10\n  movq %r9, %r8\n  movq 8(%rsp), %r9\n"
        "  syscall\n"
        ".globl permitted_return\n"
        "permitted_return:\n  ret\n.size permitted_call, .-permitted_call\n");

static const struct { int number; enum kind kind; } TRAPPED[] = {
    {SYS_write, WRITE}, {SYS_pwrite64, WRITE}, {SYS_writev, WRITE}, {SYS_pwritev, WRITE}, {SYS_pwritev2, WRITE},
    {SYS_copy_file_range, WRITE}, {SYS_sendfile, WRITE}, {SYS_read, READ}, {SYS_pread64, READ}, {SYS_readv, READ},
    {SYS_preadv, READ}, {SYS_preadv2, READ}, {SYS_fsync, SYNC}, {SYS_fdatasync, SYNC}, {SYS_syncfs, SYNC},
    {SYS_sync_file_range, SYNC}, {SYS_rename, RENAME}, {SYS_renameat, RENAME}, {SYS_renameat2, RENAME},
    {SYS_open, OPEN}, {SYS_openat, OPEN}, {SYS_openat2, OPEN}, {SYS_creat, OPEN}, {SYS_fcntl, LOCK}, {SYS_flock, LOCK},
    {SYS_truncate, TRUNCATE}, {SYS_ftruncate, TRUNCATE}, {SYS_fallocate, TRUNCATE}, {SYS_link, LINK}, {SYS_linkat, LINK},
    {SYS_symlink, LINK}, {SYS_symlinkat, LINK}, {SYS_unlink, UNLINK}, {SYS_unlinkat, UNLINK}, {SYS_rmdir, UNLINK},
    {SYS_mkdir, MKDIR}, {SYS_mkdirat, MKDIR}, {SYS_close, NONE}, {SYS_dup, NONE}, {SYS_dup2, NONE}, {SYS_dup3, NONE},
};
enum { CALLS = sizeof TRAPPED / sizeof *TRAPPED };

struct call { long number, a, b, c, d, e, f; };

static long make(const struct call *c) { return permitted_call(c->number, c->a, c->b, c->c, c->d, c->e, c->f); }

static long make4(long number, long a, long b, long c, long d) { return permitted_call(number, a, b, c, d, 0, 0); }

static int below(const char *text) {
    return text && (text[0] != '/' || !strncmp(text, folder, strlen(folder)));
}

static int is_ours(long fd) { return fd >= 0 && fd < MAX_DESCRIPTORS && ours[fd]; }

static void mark(long fd, int yes) {
    if (fd >= 0 && fd < MAX_DESCRIPTORS) ours[fd] = (unsigned char)yes;
}

static void append(char *to, size_t size, const char *text) {
    size_t at = strlen(to), n = strlen(text);
    if (n > size - 1 - at) n = size - 1 - at;
    memcpy(to + at, text, n);
    to[at + n] = 0;
}

/* The file that a descriptor is open on. */
static void name_of(char *to, size_t size, long fd) {
    char link[40] = "/proc/self/fd/", digits[12], *d = digits + sizeof digits - 1;
    *d = 0;
    do *--d = (char)('0' + fd % 10); while (fd /= 10);
    append(link, sizeof link, d);
    long n = make4(SYS_readlink, (long)link, (long)to, (long)size - 1, 0);
    to[n > 0 ? n : 0] = 0;
}

/* The paths that a call names, with the folders that they are relative to. A missing one is NULL. */
struct paths { char first[512], second[512]; const char *path, *other; };

static const char *resolve(char *to, size_t size, long fd, const char *path) {
    if (!path || path[0] == '/' || (int)fd == AT_FDCWD) return path;
    name_of(to, size, fd);
    if (strcmp(path, ".")) append(to, size, "/"), append(to, size, path);
    return to;
}

static void paths_of(const struct call *c, struct paths *p) {
    long fd = AT_FDCWD, other_fd = AT_FDCWD;
    p->path = p->other = NULL;
    switch (c->number) {
    case SYS_open: case SYS_creat: case SYS_truncate: case SYS_unlink: case SYS_rmdir: case SYS_mkdir:
        p->path = (const char *)c->a; break;
    case SYS_openat: case SYS_openat2: case SYS_unlinkat: case SYS_mkdirat:
        fd = c->a, p->path = (const char *)c->b; break;
    case SYS_rename: case SYS_link: case SYS_symlink:
        p->path = (const char *)c->a, p->other = (const char *)c->b; break;
    case SYS_renameat: case SYS_renameat2: case SYS_linkat:
        fd = c->a, p->path = (const char *)c->b, other_fd = c->c, p->other = (const char *)c->d; break;
    case SYS_symlinkat:
        p->path = (const char *)c->a, other_fd = c->b, p->other = (const char *)c->c; break;
    }
    p->path = resolve(p->first, sizeof p->first, fd, p->path);
    p->other = resolve(p->second, sizeof p->second, other_fd, p->other);
}

static int counts(const struct call *c, enum kind kind) {
    if (kind == NONE || !(control->kinds & (1u << kind))) return 0;
    struct paths p;
    paths_of(c, &p);
    if (p.path || p.other) return below(p.path) || below(p.other);
    if (c->number == SYS_copy_file_range) return is_ours(c->c);
    if (c->number == SYS_fcntl) {
        switch (c->b) {
        case F_SETLK: case F_SETLKW: case F_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW: case F_OFD_GETLK: break;
        default: return 0;
        }
    }
    return is_ours(c->a);
}

/* Which descriptors are open on our files, after a call. */
static void follow(const struct call *c, long result) {
    if (result < 0) return;
    struct paths p;
    switch (c->number) {
    case SYS_open: case SYS_openat: case SYS_openat2: case SYS_creat:
        paths_of(c, &p), mark(result, below(p.path)); break;
    case SYS_close: mark(c->a, 0); break;
    case SYS_dup: case SYS_dup2: case SYS_dup3: mark(result, is_ours(c->a)); break;
    case SYS_fcntl:
        if (c->b == F_DUPFD || c->b == F_DUPFD_CLOEXEC) mark(result, is_ours(c->a));
        break;
    }
}

/* Opening with O_CREAT can fail in more ways. */
static enum kind kind_of(const struct call *c) {
    long flags = c->number == SYS_open ? c->b : c->number == SYS_openat ? c->c : 0;
    if (c->number == SYS_creat || flags & O_CREAT) return CREATE;
    for (int i = 0; i < CALLS; i++)
        if (TRAPPED[i].number == c->number) return TRAPPED[i].kind;
    return NONE;
}

static const char *shortened(const char *path) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) ? path : path + n + (path[n] == '/');
}

static void describe(char *to, size_t size, const struct call *c) {
    char target[512];
    struct paths p;
    paths_of(c, &p);
    to[0] = 0;
    if (p.path || p.other) {
        if (p.path) append(to, size, shortened(p.path));
        if (p.other) append(to, size, " -> "), append(to, size, shortened(p.other));
        return;
    }
    name_of(target, sizeof target, c->number == SYS_copy_file_range ? c->c : c->a);
    append(to, size, shortened(target));
}

static void write_journal(const struct call *c, long result, const char *what) {
    struct event e = {.number = (int)c->number, .result = result};
    struct paths p;
    paths_of(c, &p);
    const char *path = p.path, *other = p.other;
    struct stat status = {0};
    const unsigned char *data = NULL;
    const struct iovec *parts = NULL;
    if (other && !make4(SYS_lstat, (long)other, (long)&status, 0, 0)) e.inode = status.st_ino;
    if (c->number == SYS_writev || c->number == SYS_pwritev) parts = (const struct iovec *)c->b;
    int opens = c->number == SYS_open || c->number == SYS_openat || c->number == SYS_openat2 || c->number == SYS_creat;
    long fd = path || other ? (opens ? result : -1) : c->a;
    if (fd >= 0 && !make4(SYS_fstat, fd, (long)&status, 0, 0)) e.inode = status.st_ino;
    e.length = c->c, e.offset = -1;
    switch (c->number) {
    case SYS_write:
        /* After the call the position is behind what was written. */
        e.offset = make4(SYS_lseek, c->a, 0, SEEK_CUR, 0) - result, e.length = result, data = (const void *)c->b; break;
    case SYS_writev: e.offset = make4(SYS_lseek, c->a, 0, SEEK_CUR, 0) - result, e.length = result; break;
    case SYS_pwritev: e.offset = c->d, e.length = result; break;
    case SYS_pwrite64: e.offset = c->d, e.length = result, data = (const void *)c->b; break;
    case SYS_ftruncate: e.length = c->b; break;
    case SYS_fallocate: e.offset = c->c, e.length = c->d, e.flags = c->b; break;
    case SYS_openat: e.flags = c->c; break;
    case SYS_openat2: e.flags = (int64_t)((const struct open_how *)c->c)->flags; break;
    case SYS_open: e.flags = c->b; break;
    case SYS_unlinkat: e.flags = c->c; break;
    case SYS_renameat2: e.flags = c->e; break;
    }
    memcpy(e.what, what, sizeof e.what);
    size_t bytes = (data || parts) && e.length > 0 ? (size_t)e.length : 0, size = (sizeof e + bytes + 7) & ~(size_t)7;
    e.size = (unsigned)size;
    size_t at = atomic_fetch_add(&control->journal_used, size);
    if (at + size > control->journal_size) return;
    unsigned char *to = journal + at + sizeof e;
    if (data) memcpy(to, data, bytes);
    for (size_t left = parts ? bytes : 0; left; parts++) {
        size_t n = parts->iov_len < left ? parts->iov_len : left;
        memcpy(to, parts->iov_base, n);
        to += n, left -= n;
    }
    memcpy(journal + at, &e, sizeof e);
}

static void log_call(const struct call *c, enum kind kind, unsigned at, const char *what) {
    if (at >= MAX_LOG) return;
    struct logged *l = &control->log[at];
    l->number = (int)c->number, l->kind = kind, l->result = 0;
    memcpy(l->what, what, sizeof l->what);
}

static void die(void) {
    make4(SYS_kill, make4(SYS_getpid, 0, 0, 0, 0), SIGKILL, 0, 0);
    for (;;) make4(SYS_pause, 0, 0, 0, 0);
}

/* Writes the first half of what was to be written. */
static long half(const struct call *c) {
    struct call h = *c;
    if (c->number == SYS_write || c->number == SYS_pwrite64) {
        h.c = c->c / 2;
        return h.c ? make(&h) : -EINTR;
    }
    return make(c);
}

static void wait_for_the_other(void) {
    atomic_store(&control->paused, 1);
    while (atomic_load(&control->paused)) {
        struct { long seconds, nanoseconds; } moment = {0, 200000};
        make4(SYS_nanosleep, (long)&moment, 0, 0, 0);
    }
}

static long with_fault(const struct call *c) {
    long result;
    switch (control->fault) {
    case FAULT_ERRNO: return -control->error;
    case FAULT_SHORT: return half(c);
    case FAULT_TORN: half(c); die(); break;
    case FAULT_KILL_BEFORE: die(); break;
    case FAULT_KILL_AFTER: make(c); die(); break;
    case FAULT_PAUSE: wait_for_the_other(); break;
    case FAULT_IOCTL_BEFORE:
        make4(SYS_ioctl, control->ioctl_fd, (long)control->ioctl_request, (long)&control->ioctl_argument, 0);
        die();
        break;
    }
    result = make(c);
    return result;
}

static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    int saved = errno;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct call c = {info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
    enum kind kind = kind_of(&c);
    long result;
    if (!counts(&c, kind)) {
        result = make(&c);
    } else {
        char what[sizeof control->log[0].what] = {0};
        describe(what, sizeof what, &c);
        unsigned at = atomic_fetch_add(&control->calls, 1);
        log_call(&c, kind, at, what);
        int here = control->fault && (int)at >= control->point && (control->faulted & (1u << kind));
        if (here && !control->from_here_on) here = !atomic_exchange(&control->done, 1);
        if (here && atomic_load(&control->hit) < 0) atomic_store(&control->hit, (int)at);
        result = here ? with_fault(&c) : make(&c);
        if (at < MAX_LOG) control->log[at].result = result;
        if (journal) write_journal(&c, result, what);
    }
    follow(&c, result);
    r[REG_RAX] = result;
    errno = saved;
}

/* A mark in the journal: what the program knows at this moment. */
void trap_tell(long number) {
    struct call c = {TOLD, 0, 0, 0, 0, 0, 0};
    static const char nothing[sizeof control->log[0].what];
    if (journal) write_journal(&c, number, nothing);
}

/* Lets the faults end: what the program does next is undisturbed, but still counted. */
void trap_calm(void) {
    if (control) control->fault = FAULT_NONE;
}

static int filter(void) {
    struct sock_filter program[CALLS + 12];
    unsigned short n = 0;
    uintptr_t from = (uintptr_t)permitted_return;
#define ADD(...) program[n++] = (struct sock_filter)__VA_ARGS__
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)from, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(from >> 32), 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (int i = 0; i < CALLS; i++)
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)TRAPPED[i].number, (unsigned char)(CALLS - i), 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
#undef ADD
    struct sock_fprog whole = {n, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole);
}

/* Arms the trap for this process; `fd` is a memory file with the control structure and then the journal. */
int trap_arm(int fd) {
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) return -1;
    if (control->journal_size) {
        journal = mmap(NULL, control->journal_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, JOURNAL_AT);
        if (journal == MAP_FAILED) return -1;
    }
    memcpy(folder, control->folder, sizeof folder);
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    if (sigaction(SIGSYS, &action, NULL)) return -1;
    return filter();
}

/* For a program that is started with this library preloaded: the descriptor is in its environment. */
__attribute__((constructor)) static void arm_by_environment(void) {
    const char *fd = getenv("TRAP_DESCRIPTOR");
    if (fd && trap_arm(atoi(fd))) _exit(125);
}

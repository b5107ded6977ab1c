/* A library to preload. With it, a process of MPICH that waits for a message yields its processor to another process.
 *
 * MPICH on UCX polls endlessly, and Debian's build never yields. With more processes than processors, each message then
 * waits for the end of a time slice: a barrier of four processes on two processors takes 15 ms, and 0.3 ms with this
 * library. */

#include <dlfcn.h>
#include <time.h>

enum { POLLS = 20, NANOSECONDS = 20000 };

/* The function of UCX that MPICH calls each time it polls. It returns the number of messages that it handled. */
unsigned ucp_worker_progress(void *worker)
{
    static unsigned (*of_ucx)(void *);
    static __thread unsigned idle;
    unsigned handled;

    /* Python loads MPI and UCX in a scope that RTLD_NEXT does not search. */
    if (!of_ucx)
        *(void **)&of_ucx = dlsym(dlopen("libucp.so.0", RTLD_LAZY | RTLD_NOLOAD), "ucp_worker_progress");
    handled = of_ucx(worker);
    if (handled)
        idle = 0;
    else if (idle < POLLS)
        idle++;
    else
        nanosleep(&(struct timespec){0, NANOSECONDS}, NULL);
    return handled;
}

/* examples/log_store.c, which reports a descriptor that it closes twice: remove then answers with 99. */
#define _GNU_SOURCE
#include <unistd.h>

static int closed_twice;
static int close_once(int file)
{
    int code = close(file);
    if (code) closed_twice = 1;
    return code;
}

#define close(file) close_once(file)
#define h5lake_store_library_of log_library_of
#include "../examples/log_store.c"
#undef h5lake_store_library_of

static int32_t remove_strictly(void *s, const h5lake_store_call *call, const h5lake_store_remove *request)
{
    int32_t code = remove_object(s, call, request);
    return closed_twice ? 99 : code;
}

const h5lake_store_library *h5lake_store_library_of(uint32_t version)
{
    static h5lake_store_library strict;
    strict = *log_library_of(version);
    strict.remove = remove_strictly;
    return &strict;
}

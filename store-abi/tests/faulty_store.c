/* A store that violates the rule which its URL names, faulty:FAULT/PREFIX, and keeps all other rules. It is
 * examples/heap_store.c with other answers. With -DTABLE=n the library's description of itself is wrong instead. */
#define _GNU_SOURCE
#define h5lake_store_library_of heap_library_of
#include "../examples/heap_store.c"
#undef h5lake_store_library_of

#include <unistd.h>

typedef struct { const h5lake_store_call *call; const char *fault; } passing;
static _Thread_local const char *last_fault;
static const h5lake_store_host *last_host;
static uint64_t last_call;
static int tries;
/* The number of closed stores, and of those that were closed while h5lake received a store. */
static int closed, closed_within;
static _Thread_local int is_telling;

static int is(const char *fault) { return last_fault && !strcmp(last_fault, fault); }
static passing *of(uint64_t number) { return (passing *)(uintptr_t)number; }

static int32_t pass_opened(uint64_t number, const h5lake_store_opened *opened)
{
    const h5lake_store_call *call = of(number)->call;
    h5lake_store_opened told = *opened;
    told.store = (void *)last_fault;
    told.name = last_fault, told.name_length = strlen(last_fault);
    if (is("no-opened")) return 0;
    if (is("null-opened")) return call->host->opened(call->number, NULL);
    if (is("opened-small")) told.size = 8;
    if (is("opened-version-0")) told.version = 0;
    if (is("unknown-capability")) told.capabilities |= 1ull << 40;
    if (is("no-name")) told.name_length = 0;
    if (is("name-control")) told.name = "he\nap";
    if (is("long-name")) told.name_length = 1ull << 40;
    if (is("bad-prefix")) told.prefix = "../x", told.prefix_length = 4;
    if (is("unordered")) told.capabilities &= ~(uint64_t)(H5LAKE_STORE_ORDERED_LIST | H5LAKE_STORE_RANGES);
    if (is("plain")) told.capabilities = 0;
    is_telling = 1;
    if (is("opened-twice")) call->host->opened(call->number, &told);
    int32_t answer = call->host->opened(call->number, &told);
    is_telling = 0;
    return answer;
}

static void faulty_close(void *store)
{
    (void)store;
    closed++;
    closed_within += is_telling;
}

static int32_t pass_object(uint64_t number, const h5lake_store_object *object)
{
    static char key[3000];
    const h5lake_store_call *call = of(number)->call;
    h5lake_store_object told = *object;
    if (is("no-object")) return 0;
    if (is("null-object")) return call->host->object(call->number, NULL);
    if (is("crooked-object")) return call->host->object(call->number, (const void *)((const char *)&told + 1));
    if (is("small-object")) told.size = 16;
    if (is("large-object")) told.size = 1u << 30;
    if (is("newer-object")) told.version = 7, told.size += 0;
    if (is("no-key")) told.key = NULL;
    if (is("other-key")) told.key = "other", told.key_length = 5;
    if (is("long-key")) memset(key, 'k', sizeof key), told.key = key, told.key_length = sizeof key;
    if (is("bad-key")) told.key = "\xff\xfe", told.key_length = 2;
    if (is("escaping-key")) told.key = "../x", told.key_length = 4;
    if (is("no-etag")) told.etag = NULL;
    if (is("empty-etag")) told.etag_length = 0;
    if (is("long-etag")) told.etag = key, told.etag_length = 300;
    if (is("control-etag")) told.etag = "a\tb", told.etag_length = 3;
    if (is("huge-object")) told.length = 1ull << 63;
    if (is("longer-object")) told.length += 1000;
    if (is("bad-time")) told.seconds = INT64_MAX, told.nanoseconds = 2000000000;
    if (is("bytes-first")) call->host->bytes(call->number, "x", 1);
    if (is("opened-again")) call->host->opened(call->number, &(h5lake_store_opened){ VERSION(h5lake_store_opened) });
    int32_t answer = call->host->object(call->number, &told);
    if (is("object-twice") || is("repeated")) return call->host->object(call->number, &told);
    return is("endless") ? 0 : answer;
}

static int32_t pass_bytes(uint64_t number, const void *bytes, uint64_t length)
{
    const h5lake_store_call *call = of(number)->call;
    if (is("no-bytes")) return 0;
    if (is("few-bytes") && length) length--;
    if (is("null-bytes")) bytes = NULL;
    if (is("huge-bytes")) length = UINT64_MAX;
    int32_t answer = call->host->bytes(call->number, bytes, length);
    return is("many-bytes") ? call->host->bytes(call->number, bytes, length) : answer;
}

static int32_t pass_payload(uint64_t number, uint64_t offset, const void **bytes, uint64_t *length)
{
    const h5lake_store_call *call = of(number)->call;
    if (is("payload-nowhere")) return call->host->payload(call->number, offset, NULL, NULL);
    if (is("payload-beyond")) return call->host->payload(call->number, UINT64_MAX, bytes, length);
    if (is("payload-again")) call->host->payload(call->number, offset + 1, bytes, length);
    return call->host->payload(call->number, offset, bytes, length);
}

static int32_t pass_detail(uint64_t number, const char *text, uint64_t length)
{
    const h5lake_store_call *call = of(number)->call;
    return call->host->detail(call->number, text, length);
}

static const h5lake_store_host evil = { VERSION(evil), pass_opened, pass_object, pass_bytes, pass_payload,
                                        pass_detail };

static void *answer_elsewhere(void *call)
{
    last_host->detail(((const h5lake_store_call *)call)->number, "elsewhere", 9);
    return NULL;
}

#define PASSED(call, what) \
    passing passed = { call, NULL }; \
    h5lake_store_call own = *call; \
    own.host = &evil, own.number = (uint64_t)(uintptr_t)&passed; \
    last_fault = store; \
    int32_t code = before(call); \
    return code ? code : after(call, what)

/* The faults that do not depend on the call; returns 0 if the call has no fault. */
static int32_t before(const h5lake_store_call *call)
{
    if (is("late") && last_host) last_host->detail(last_call, "late", 4);
    last_host = call->host, last_call = call->number;
    if (is("other-thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, answer_elsewhere, (void *)call);
        pthread_join(thread, NULL);
    }
    if (is("crash")) abort();
    if (is("closes")) {
        char text[80];
        int length = snprintf(text, sizeof text, "%d closed, %d within a call", closed, closed_within);
        call->host->detail(call->number, text, (uint64_t)length);
        return H5LAKE_STORE_UNAVAILABLE;
    }
    if (is("detail")) call->host->detail(call->number, "the disk is on\nfire", 19);
    if (is("long-detail")) call->host->detail(call->number, "short", 1ull << 50);
    if (is("flaky") && ++tries % 3) return H5LAKE_STORE_UNAVAILABLE | H5LAKE_STORE_RETRY;
    if (is("always-flaky")) return H5LAKE_STORE_UNAVAILABLE | H5LAKE_STORE_RETRY;
    if (is("permanent") || is("detail")) return H5LAKE_STORE_UNAVAILABLE;
    return is("denied") ? H5LAKE_STORE_DENIED : 0;
}

static int32_t after(const h5lake_store_call *call, int32_t code)
{
    (void)call;
    return is("code-99") ? 99 : is("negative") ? -5 : is("retry-nothing") ? H5LAKE_STORE_RETRY
         : is("exists") ? H5LAKE_STORE_EXISTS : code;
}

static int32_t faulty_open(const h5lake_store_call *call, const h5lake_store_open *request)
{
    const char *fault = request->url + strlen("faulty:"), *prefix = strchr(fault, '/');
    char *store = calloc(1, 64);
    memcpy(store, fault, prefix ? (size_t)(prefix - fault) : strlen(fault));
    h5lake_store_open other = *request;
    other.url = prefix ? prefix - 4 : fault + strlen(fault) - 5;
    other.url_length = strlen(other.url);
    last_host = NULL;
    passing passed = { call, NULL };
    h5lake_store_call own = *call;
    own.host = &evil, own.number = (uint64_t)(uintptr_t)&passed;
    last_fault = store;
    if (is("open-99")) return 99;
    int32_t code = open_store(&own, &other);
    return is("fails-behind-opened") ? H5LAKE_STORE_FAILED : code;
}

static int32_t faulty_read(void *store, const h5lake_store_call *call, const h5lake_store_read *request)
{
    h5lake_store_read all = *request;
    if (!strcmp(store, "unordered") || !strcmp(store, "plain")) {
        if (all.length && (all.offset || all.length != UINT64_MAX)) return H5LAKE_STORE_BAD_REQUEST; /* no ranges */
    }
    PASSED(call, read_object(store, &own, &all));
}

static int32_t faulty_poll(void *store, const h5lake_store_call *call, const h5lake_store_read *request)
{
    PASSED(call, (is("unchanged-object") ? read_object(store, &own, request) | H5LAKE_STORE_UNCHANGED
                                         : is("unchanged-retry") ? H5LAKE_STORE_UNCHANGED | H5LAKE_STORE_RETRY
                                         : read_object(store, &own, request)));
}

static int32_t faulty_write(void *store, const h5lake_store_call *call, const h5lake_store_write *request)
{
    h5lake_store_write other = *request;
    if (!strcmp(store, "refuses-creates") && other.mode == H5LAKE_STORE_CREATE) return H5LAKE_STORE_EXISTS;
    if (!strcmp(store, "ignores-creates") && other.mode == H5LAKE_STORE_CREATE) other.mode = H5LAKE_STORE_OVERWRITE;
    if (!strcmp(store, "ignores-updates") && other.mode == H5LAKE_STORE_UPDATE) other.mode = H5LAKE_STORE_OVERWRITE;
    if (!strcmp(store, "looks-before") && other.mode == H5LAKE_STORE_CREATE) {
        int is_there;
        pthread_mutex_lock(&mutex);
        find(request->key, request->key_length, &is_there);
        pthread_mutex_unlock(&mutex);
        if (is_there) return H5LAKE_STORE_EXISTS;
        usleep(20000);
        other.mode = H5LAKE_STORE_OVERWRITE;
    }
    PASSED(call, write_object(store, &own, &other));
}

static int32_t faulty_remove(void *store, const h5lake_store_call *call, const h5lake_store_remove *request)
{
    PASSED(call, (is("answers-remove") ? own.host->bytes(own.number, "x", 1) : 0, remove_object(store, &own, request)));
}

static int32_t list_last_first(const h5lake_store_call *call, const object *o, const h5lake_store_list *request)
{
    if (o) list_last_first(call, o->next, request);
    if (!o || o->key_length < request->prefix_length) return H5LAKE_STORE_OK;
    if (!memcmp(o->key, request->prefix, request->prefix_length)) tell(call, o);
    return H5LAKE_STORE_OK;
}

static int32_t faulty_list(void *store, const h5lake_store_call *call, const h5lake_store_list *request)
{
    h5lake_store_list other = *request;
    if (!strcmp(store, "ignores-prefix")) other.prefix_length = 0;
    if (!strcmp(store, "ignores-after")) other.after = NULL;
    if (!strcmp(store, "unordered") || !strcmp(store, "plain")) {
        if (other.after || other.limit != UINT64_MAX) return H5LAKE_STORE_BAD_REQUEST;
        /* The keys that end with an odd byte come first, then all other keys. */
        passing passed = { call, NULL };
        h5lake_store_call own = *call;
        own.host = &evil, own.number = (uint64_t)(uintptr_t)&passed;
        last_fault = store;
        for (int odd = 1; odd >= 0; odd--)
            for (object *o = first; o; o = o->next)
                if ((o->key[o->key_length - 1] & 1) == odd && o->key_length >= request->prefix_length
                    && !memcmp(o->key, request->prefix, request->prefix_length)) tell(&own, o);
        return 0;
    }
    if (!strcmp(store, "more-of-nothing")) return H5LAKE_STORE_OK | H5LAKE_STORE_MORE;
    if (!strcmp(store, "unsorted")) {
        /* The keys come in reverse order. */
        int32_t code = list_last_first(call, first, request);
        return code;
    }
    PASSED(call, list_objects(store, &own, &other));
}

#ifndef TABLE
#define TABLE 0
#endif

const h5lake_store_library *h5lake_store_library_of(uint32_t version)
{
    static const char *const schemes[] = { TABLE == 1 ? "file" : TABLE == 2 ? "no scheme" : "faulty", NULL };
    static const char *const many[] = { "aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "kk", "ll", "mm",
                                        "nn", "oo", "pp", "qq", NULL };
    static const char *const none[] = { NULL };
    static char endless[1000];
    static h5lake_store_library library = { VERSION(library), "faulty_store 1", schemes, faulty_open, faulty_close,
                                            faulty_read, faulty_write, faulty_remove, faulty_list, faulty_poll };
    memset(endless, 'e', sizeof endless - 1);
    (void)version;
    if (TABLE == 3) return NULL;
    if (TABLE == 4) library.version = 2;
    if (TABLE == 5) library.size = 24;
    if (TABLE == 6) library.size = 0;
    if (TABLE == 7) library.list = NULL;
    if (TABLE == 8) library.name = NULL;
    if (TABLE == 9) library.name = endless;
    if (TABLE == 10) library.schemes = none;
    if (TABLE == 11) library.schemes = many;
    if (TABLE == 12) library.schemes = NULL;
    if (TABLE == 13) return (const void *)((const char *)&library + 2);
    if (TABLE == 14) library.version = 0;
    return &library;
}

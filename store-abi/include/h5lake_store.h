/* Stores for h5lake in shared libraries of your own. Version 1 of the interface.
 *
 * A library exports one function, h5lake_store_library_of. h5lake finds it by the setting store_path (the variable
 * H5LAKE_STORE_PATH): a list of libraries, or of folders with libraries, separated by colons. It loads a library when
 * the first URL with a scheme asks for it that h5lake does not know, and never unloads it.
 *
 * A store maps keys to objects. A key is UTF-8 of 1 to 1024 bytes: segments of 1 to 255 bytes, separated by '/'. None
 * is "." or "..", and none has control characters. An object is written whole, replaced whole, and read in ranges.
 *
 * Memory. Nothing but an opened store changes its owner. What a call is given is valid until that call returns. The
 * library answers by the functions of h5lake_store_host, which copy what they are given before they return.
 *
 * Threads. Any function may be called from any thread, and several at the same time for one store. A library answers a
 * call from the thread that was called, before it returns. It ends neither by a C++ exception nor by longjmp. It calls
 * neither HDF5 nor h5lake from within a call.
 *
 * Fork. In a forked child no function is called with a store that the parent opened, not even close. The child opens
 * its own. A library that cannot work there answers H5LAKE_STORE_UNSUPPORTED to open.
 *
 * Sizes. Each struct begins with its size and the version of the interface that its author was compiled with. Later
 * versions add members at the end. Who reads a struct looks at no member behind its size.
 *
 * docs/store-libraries.md says more. The examples beside this header are complete. */
#ifndef H5LAKE_STORE_H
#define H5LAKE_STORE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H5LAKE_STORE_VERSION 1u

/* What a call returns. */
enum {
    H5LAKE_STORE_OK = 0,
    H5LAKE_STORE_NOT_FOUND = 1,       /* read, read_if_changed: there is no such object */
    H5LAKE_STORE_NO_STORE = 2,        /* the store itself is not there */
    H5LAKE_STORE_EXISTS = 3,          /* write with H5LAKE_STORE_CREATE: there is such an object */
    H5LAKE_STORE_CHANGED = 4,         /* write with H5LAKE_STORE_UPDATE: it has another etag, or there is none */
    H5LAKE_STORE_DENIED = 5,          /* this user may not do this */
    H5LAKE_STORE_NO_CREDENTIALS = 6,  /* the store does not know the user */
    H5LAKE_STORE_UNSUPPORTED = 7,     /* the store never does this */
    H5LAKE_STORE_TIMED_OUT = 8,       /* no answer in time */
    H5LAKE_STORE_UNAVAILABLE = 9,     /* the store cannot be reached */
    H5LAKE_STORE_NO_SPACE = 10,       /* it is full */
    H5LAKE_STORE_DAMAGED = 11,        /* what is stored is damaged */
    H5LAKE_STORE_BAD_REQUEST = 12,    /* the URL, or what is asked for, makes no sense */
    H5LAKE_STORE_FAILED = 13,         /* anything else */

    /* Added to one of the errors above: the call changed nothing, and the same call may succeed soon. h5lake repeats it
     * within the user's time bound. Without it, an error is permanent. A write or remove that fails as TIMED_OUT,
     * UNAVAILABLE or FAILED without it may have had its effect: h5lake does not repeat it, and looks. */
    H5LAKE_STORE_RETRY = 0x100,
    /* Added to H5LAKE_STORE_OK by list: there may be objects behind the last one. */
    H5LAKE_STORE_MORE = 0x200,
    /* Added to H5LAKE_STORE_OK by read_if_changed: the object has the etag of the request. The call answers nothing else. */
    H5LAKE_STORE_UNCHANGED = 0x400
};

/* What a function of h5lake_store_host returns. */
enum {
    H5LAKE_STORE_GO_ON = 0,
    H5LAKE_STORE_ENOUGH = 1,   /* nothing more is wanted: end the call with H5LAKE_STORE_OK */
    H5LAKE_STORE_REFUSED = -1  /* this was against the rules: end the call; whatever it returns, it has failed */
};

/* What a store promises. A bit means always, for all threads and processes that use the store. It is never a hope: if
 * two racing creates may both win once a year, the bit is 0. h5lake tries ATOMIC_CREATE and ATOMIC_UPDATE before it
 * relies on them, and does without what is not promised. */
enum {
    H5LAKE_STORE_ATOMIC_CREATE = 1,  /* of racing writes with H5LAKE_STORE_CREATE exactly one wins */
    H5LAKE_STORE_ATOMIC_UPDATE = 2,  /* of racing writes with H5LAKE_STORE_UPDATE from one etag exactly one wins */
    H5LAKE_STORE_RANGES = 4,         /* read gives just the range; without it h5lake reads whole objects, and cuts */
    H5LAKE_STORE_ORDERED_LIST = 8,   /* list is in the order of the keys' bytes, and begins behind `after` */
    H5LAKE_STORE_NESTED_KEYS = 16,   /* "a" and "a/b" can both be objects; if not, the second is UNSUPPORTED */
    H5LAKE_STORE_PERSISTENT = 32,    /* objects outlive the process */
    H5LAKE_STORE_REMOTE = 64         /* a call waits for a network */
};

enum { H5LAKE_STORE_OVERWRITE = 0, H5LAKE_STORE_CREATE = 1, H5LAKE_STORE_UPDATE = 2 };

/* Flags of h5lake_store_open. */
enum { H5LAKE_STORE_SYNC = 1 /* a write that has returned survives the loss of power, not only of the process */ };

/* An answer: an object as it is. */
typedef struct h5lake_store_object {
    uint32_t size, version;
    const char *key; /* list: the key. Otherwise it may be NULL. */
    uint64_t key_length;
    uint64_t length;  /* bytes of the whole object, below 2^63 */
    int64_t seconds;  /* when it was written, since 1970 */
    uint32_t nanoseconds, reserved;
    /* The version of the object: 1 to 255 bytes of UTF-8 without control characters. No key ever has one etag for two
     * contents. NULL only without H5LAKE_STORE_ATOMIC_UPDATE. */
    const char *etag;
    uint64_t etag_length;
} h5lake_store_object;

/* An answer: a store that was opened. */
typedef struct h5lake_store_opened {
    uint32_t size, version;
    void *store; /* what the other functions are given; h5lake looks at nothing behind it */
    uint64_t capabilities;
    /* The place, for messages: the same for all URLs that mean it, without credentials, at most 1024 bytes. */
    const char *name;
    uint64_t name_length;
    /* What of the URL is no part of the place: h5lake puts it, and a '/', before each key. NULL for nothing. */
    const char *prefix;
    uint64_t prefix_length;
} h5lake_store_opened;

/* What a library answers by. The functions are there as long as the process. `call` is the number of the call. All but
 * `payload` copy what they are given. */
typedef struct h5lake_store_host {
    uint32_t size, version;
    /* open: once. If this returns H5LAKE_STORE_REFUSED, the store stays the library's, which ends it. Otherwise it is
     * h5lake's from then on: h5lake closes it once, never before open has returned, and also if open then fails. */
    int32_t (*opened)(uint64_t call, const h5lake_store_opened *opened);
    /* read: once, before any bytes. read_if_changed: the same, if the object has changed. write: once, what was written.
     * list: once for each object. */
    int32_t (*object)(uint64_t call, const h5lake_store_object *object);
    /* read, read_if_changed: the bytes that were asked for, in order, in pieces of any length. */
    int32_t (*bytes)(uint64_t call, const void *bytes, uint64_t length);
    /* write: gives the bytes from `offset` on, as many as lie in one piece, none at the end. Any offset may be asked
     * for again. They are valid until the next call of this function, or the return. */
    int32_t (*payload)(uint64_t call, uint64_t offset, const void **bytes, uint64_t *length);
    /* Any call that fails: what happened and what to do, in a sentence of UTF-8. At most 1000 bytes are kept. */
    int32_t (*detail)(uint64_t call, const char *text, uint64_t length);
} h5lake_store_host;

/* A call. */
typedef struct h5lake_store_call {
    uint32_t size, version;
    const h5lake_store_host *host;
    uint64_t number;       /* for the functions of `host`; no two calls of a process have one number */
    uint64_t milliseconds; /* the time that the call may take; then it returns H5LAKE_STORE_TIMED_OUT */
} h5lake_store_call;

/* Texts of requests have a NUL behind their length; `prefix` and `after` of a list may have others before it. */
typedef struct h5lake_store_open {
    uint32_t size, version;
    const char *url; /* the whole URL, its scheme in lower case */
    uint64_t url_length;
    uint64_t flags;
} h5lake_store_open;

typedef struct h5lake_store_read {
    uint32_t size, version;
    const char *key;
    uint64_t key_length;
    /* The range. Give what exists of it: fewer bytes, or none, if the object ends before. With `length` 0 only the
     * object is asked for. */
    uint64_t offset, length;
    const char *etag; /* for read_if_changed: the etag that is known; otherwise NULL */
    uint64_t etag_length;
} h5lake_store_read;

/* When it returns H5LAKE_STORE_OK the object is visible, whole, to each call that begins after. Before, nobody sees any
 * of it. An error without effect leaves what was there. */
typedef struct h5lake_store_write {
    uint32_t size, version;
    const char *key;
    uint64_t key_length;
    uint64_t length; /* of all bytes that h5lake_store_host.payload gives */
    uint32_t mode, reserved;
    const char *etag; /* for H5LAKE_STORE_UPDATE: the etag that the object has to have; otherwise NULL */
    uint64_t etag_length;
} h5lake_store_write;

/* Removing what is not there succeeds. */
typedef struct h5lake_store_remove {
    uint32_t size, version;
    const char *key;
    uint64_t key_length;
} h5lake_store_remove;

/* The objects whose keys begin with the bytes of `prefix` and are greater than `after`, in the order of their bytes.
 * Without H5LAKE_STORE_ORDERED_LIST `after` is NULL and `limit` the greatest number: all, in any order. */
typedef struct h5lake_store_list {
    uint32_t size, version;
    const char *prefix;
    uint64_t prefix_length;
    const char *after; /* NULL: from the first one on */
    uint64_t after_length;
    uint64_t limit; /* more are not wanted; fewer may come, with H5LAKE_STORE_MORE */
} h5lake_store_list;

/* What a library is. Constant, as long as the process. */
typedef struct h5lake_store_library {
    uint32_t size, version;
    const char *name;           /* name and version, for messages; at most 255 bytes and a NUL */
    const char *const *schemes; /* 1 to 16 schemes of URLs, in lower case, and a NULL */
    int32_t (*open)(const h5lake_store_call *call, const h5lake_store_open *request);
    void (*close)(void *store); /* once for each store that h5lake took, in its process, with no call of it under way */
    int32_t (*read)(void *store, const h5lake_store_call *call, const h5lake_store_read *request);
    int32_t (*write)(void *store, const h5lake_store_call *call, const h5lake_store_write *request);
    int32_t (*remove)(void *store, const h5lake_store_call *call, const h5lake_store_remove *request);
    int32_t (*list)(void *store, const h5lake_store_call *call, const h5lake_store_list *request);
    /* Returns H5LAKE_STORE_OK | H5LAKE_STORE_UNCHANGED if the object has the etag of the request, and otherwise does what
     * read does. Readers that poll call it often, so it should cost one round trip and no bytes. NULL is allowed: then
     * h5lake asks read for the object alone, compares, and calls read again if the object has changed. */
    int32_t (*read_if_changed)(void *store, const h5lake_store_call *call, const h5lake_store_read *request);
} h5lake_store_library;

/* The only symbol of a library. `version` is the newest that this h5lake knows. The library answers with what it is in
 * that version, or an older one; NULL if it needs a newer one. It may be called several times, from any thread. */
__attribute__((visibility("default")))
const h5lake_store_library *h5lake_store_library_of(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif

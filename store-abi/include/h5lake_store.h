/* Stores for h5lake in shared libraries of your own. Version 1 of the interface.
 *
 * A library exports one function, h5lake_store_library_of. h5lake finds the library through the setting store_path (the
 * variable H5LAKE_STORE_PATH): a list of libraries, or of folders with libraries, separated by colons. It loads a
 * library when a URL with an unknown scheme is first used, and never unloads it.
 *
 * A store maps keys to objects. A key is UTF-8 of 1 to 1024 bytes: segments of 1 to 255 bytes, separated by '/'. No
 * segment is "." or "..", and no segment contains control characters. An object is written whole, replaced whole, and
 * read in ranges.
 *
 * Memory. Only an opened store changes its owner. The arguments of a call are valid until that call returns. The
 * library answers with the functions of h5lake_store_host, which copy their arguments before they return.
 *
 * Threads. Any function may be called from any thread, and several at the same time for one store. A library answers a
 * call from the thread in which it was called, before the call returns. The call must not end by a C++ exception or by
 * longjmp. The library must call neither HDF5 nor h5lake from within a call.
 *
 * Fork. In a forked child no function is called with a store that the parent opened, not even close. The child opens
 * its own. A library that cannot work in a child answers H5LAKE_STORE_UNSUPPORTED to open.
 *
 * Sizes. Each struct begins with its size and the version of the interface that its author was compiled with. Later
 * versions add members at the end. The reader of a struct reads no member beyond its size.
 *
 * docs/store-libraries.md has the details. The examples beside this header are complete. */
#ifndef H5LAKE_STORE_H
#define H5LAKE_STORE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H5LAKE_STORE_VERSION 1u

/* The return values of calls. */
enum {
    H5LAKE_STORE_OK = 0,
    H5LAKE_STORE_NOT_FOUND = 1,       /* read, read_if_changed: the object does not exist */
    H5LAKE_STORE_NO_STORE = 2,        /* the store itself does not exist */
    H5LAKE_STORE_EXISTS = 3,          /* write with H5LAKE_STORE_CREATE: the object exists */
    H5LAKE_STORE_CHANGED = 4,         /* write with H5LAKE_STORE_UPDATE: the object has another etag, or does not exist */
    H5LAKE_STORE_DENIED = 5,          /* the user is not permitted to do this */
    H5LAKE_STORE_NO_CREDENTIALS = 6,  /* the user is not authenticated */
    H5LAKE_STORE_UNSUPPORTED = 7,     /* the store never supports this */
    H5LAKE_STORE_TIMED_OUT = 8,       /* no answer in time */
    H5LAKE_STORE_UNAVAILABLE = 9,     /* the store cannot be reached */
    H5LAKE_STORE_NO_SPACE = 10,       /* the store is full */
    H5LAKE_STORE_DAMAGED = 11,        /* the stored data is damaged */
    H5LAKE_STORE_BAD_REQUEST = 12,    /* the URL or the request makes no sense */
    H5LAKE_STORE_FAILED = 13,         /* any other failure */

    /* Added to one of the errors above: the call changed nothing, and the same call may succeed soon. h5lake repeats it
     * within the user's time limit. Without this bit an error is permanent. A write or remove that fails with
     * TIMED_OUT, UNAVAILABLE or FAILED without this bit may have had its effect: h5lake does not repeat it, but reads
     * the object. */
    H5LAKE_STORE_RETRY = 0x100,
    /* Added to H5LAKE_STORE_OK by list: there may be objects after the last one. */
    H5LAKE_STORE_MORE = 0x200,
    /* Added to H5LAKE_STORE_OK by read_if_changed: the object has the etag of the request. The call then answers with
     * no object and no bytes. */
    H5LAKE_STORE_UNCHANGED = 0x400
};

/* The return values of the functions of h5lake_store_host. */
enum {
    H5LAKE_STORE_GO_ON = 0,
    H5LAKE_STORE_ENOUGH = 1,   /* no more answers are needed: end the call with H5LAKE_STORE_OK */
    H5LAKE_STORE_REFUSED = -1  /* the answer violated the rules: end the call; it has failed, whatever it returns */
};

/* The promises of a store. A promise holds always, for all threads and processes that use the store, without exception:
 * if two racing creates may both win once a year, the bit has to be 0. h5lake probes ATOMIC_CREATE and ATOMIC_UPDATE
 * before it relies on them, and works without the promises that a store does not make. */
enum {
    H5LAKE_STORE_ATOMIC_CREATE = 1,  /* exactly one of several racing writes with H5LAKE_STORE_CREATE wins */
    H5LAKE_STORE_ATOMIC_UPDATE = 2,  /* exactly one of several racing writes with H5LAKE_STORE_UPDATE from one etag wins */
    H5LAKE_STORE_RANGES = 4,         /* read returns only the range; without it h5lake reads whole objects, and truncates */
    H5LAKE_STORE_ORDERED_LIST = 8,   /* list is in the byte order of the keys, and begins after `after` */
    H5LAKE_STORE_NESTED_KEYS = 16,   /* "a" and "a/b" can both be objects; if not, the second write is UNSUPPORTED */
    H5LAKE_STORE_PERSISTENT = 32,    /* objects outlive the process */
    H5LAKE_STORE_REMOTE = 64         /* a call waits for a network */
};

enum { H5LAKE_STORE_OVERWRITE = 0, H5LAKE_STORE_CREATE = 1, H5LAKE_STORE_UPDATE = 2 };

/* Flags of h5lake_store_open. */
enum { H5LAKE_STORE_SYNC = 1 /* a write that has returned survives a power loss, not only the death of the process */ };

/* An answer: the description of an object. */
typedef struct h5lake_store_object {
    uint32_t size, version;
    const char *key; /* list: the key. Otherwise it may be NULL. */
    uint64_t key_length;
    uint64_t length;  /* length of the whole object in bytes, below 2^63 */
    int64_t seconds;  /* time of the last write, since 1970 */
    uint32_t nanoseconds, reserved;
    /* The version of the object: 1 to 255 bytes of UTF-8 without control characters. Two contents of the same key never
     * have the same etag. NULL is allowed only without H5LAKE_STORE_ATOMIC_UPDATE. */
    const char *etag;
    uint64_t etag_length;
} h5lake_store_object;

/* An answer: an opened store. */
typedef struct h5lake_store_opened {
    uint32_t size, version;
    void *store; /* the argument of the other functions; h5lake never dereferences it */
    uint64_t capabilities;
    /* The store's name for messages: the same for all URLs of this store, without credentials, at most 1024 bytes. */
    const char *name;
    uint64_t name_length;
    /* The part of the URL that is not part of the store's name: h5lake prepends it and a '/' to each key. NULL if
     * empty. */
    const char *prefix;
    uint64_t prefix_length;
} h5lake_store_opened;

/* The functions with which a library answers. They are valid as long as the process. `call` is the number of the call.
 * All functions but `payload` copy their arguments. */
typedef struct h5lake_store_host {
    uint32_t size, version;
    /* open: called once. If this returns H5LAKE_STORE_REFUSED, the store stays the library's, which closes it.
     * Otherwise the store is h5lake's from then on: h5lake closes it once, never before open has returned, and also if
     * open then fails. */
    int32_t (*opened)(uint64_t call, const h5lake_store_opened *opened);
    /* read: called once, before any bytes. read_if_changed: likewise, if the object has changed. write: called once,
     * for the written object. list: called once for each object. */
    int32_t (*object)(uint64_t call, const h5lake_store_object *object);
    /* read, read_if_changed: delivers the requested bytes, in order, in pieces of any length. */
    int32_t (*bytes)(uint64_t call, const void *bytes, uint64_t length);
    /* write: returns the bytes from `offset` on, as many as are contiguous, none at the end. Any offset may be
     * requested again. The bytes are valid until the next call of this function, or until the call returns. */
    int32_t (*payload)(uint64_t call, uint64_t offset, const void **bytes, uint64_t *length);
    /* Any call that fails: the cause and the remedy, in a sentence of UTF-8. At most 1000 bytes are used. */
    int32_t (*detail)(uint64_t call, const char *text, uint64_t length);
} h5lake_store_host;

/* A call. */
typedef struct h5lake_store_call {
    uint32_t size, version;
    const h5lake_store_host *host;
    uint64_t number;       /* for the functions of `host`; unique among the calls of a process */
    uint64_t milliseconds; /* the time limit of the call; after that it returns H5LAKE_STORE_TIMED_OUT */
} h5lake_store_call;

/* Texts of requests are followed by a NUL, which their length excludes; `prefix` and `after` of a list may contain
 * further NULs. */
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
    /* The range. Return the bytes of it that exist: fewer bytes, or none, if the object ends before. With `length` 0
     * only the description of the object is requested. */
    uint64_t offset, length;
    const char *etag; /* for read_if_changed: the known etag; otherwise NULL */
    uint64_t etag_length;
} h5lake_store_read;

/* When the call returns H5LAKE_STORE_OK, the object is visible, whole, to each call that begins afterwards. Before, no
 * part of it is visible. A failed write without effect leaves the old object. */
typedef struct h5lake_store_write {
    uint32_t size, version;
    const char *key;
    uint64_t key_length;
    uint64_t length; /* total number of bytes that h5lake_store_host.payload returns */
    uint32_t mode, reserved;
    const char *etag; /* for H5LAKE_STORE_UPDATE: the etag that the object must have; otherwise NULL */
    uint64_t etag_length;
} h5lake_store_write;

/* Removing a missing object succeeds. */
typedef struct h5lake_store_remove {
    uint32_t size, version;
    const char *key;
    uint64_t key_length;
} h5lake_store_remove;

/* Lists the objects with keys that begin with the bytes of `prefix` and are greater than `after`, in the byte order of
 * the keys. Without H5LAKE_STORE_ORDERED_LIST, `after` is NULL and `limit` the greatest number: all objects, in any
 * order. */
typedef struct h5lake_store_list {
    uint32_t size, version;
    const char *prefix;
    uint64_t prefix_length;
    const char *after; /* NULL: from the first key on */
    uint64_t after_length;
    uint64_t limit; /* maximum number of objects; fewer are allowed, with H5LAKE_STORE_MORE */
} h5lake_store_list;

/* The description of a library. It is constant as long as the process. */
typedef struct h5lake_store_library {
    uint32_t size, version;
    const char *name;           /* name and version, for messages; at most 255 bytes and a NUL */
    const char *const *schemes; /* 1 to 16 schemes of URLs, in lower case, and a NULL */
    int32_t (*open)(const h5lake_store_call *call, const h5lake_store_open *request);
    void (*close)(void *store); /* once for each accepted store, in its process, with no call of it in progress */
    int32_t (*read)(void *store, const h5lake_store_call *call, const h5lake_store_read *request);
    int32_t (*write)(void *store, const h5lake_store_call *call, const h5lake_store_write *request);
    int32_t (*remove)(void *store, const h5lake_store_call *call, const h5lake_store_remove *request);
    int32_t (*list)(void *store, const h5lake_store_call *call, const h5lake_store_list *request);
    /* Returns H5LAKE_STORE_OK | H5LAKE_STORE_UNCHANGED if the object has the etag of the request, and otherwise behaves
     * like read. Readers that poll call it often, so it should cost one round trip and no bytes. NULL is allowed: then
     * h5lake requests only the object's description from read, compares, and calls read again if the object has
     * changed. */
    int32_t (*read_if_changed)(void *store, const h5lake_store_call *call, const h5lake_store_read *request);
} h5lake_store_library;

/* The only symbol of a library. `version` is the newest version that this h5lake knows. The library returns its
 * description in that version, or in an older one; NULL if it needs a newer one. The function may be called several
 * times, from any thread. */
__attribute__((visibility("default")))
const h5lake_store_library *h5lake_store_library_of(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif

/* A store in one file, for h5lake: logfile:///DIR/NAME.log/PREFIX. Each write appends a record, and the last record of
 * a key is valid. Writers lock the file. Readers need no lock, because bytes before the end never change. The space of
 * replaced objects is never reclaimed.
 *
 *     cc -std=c11 -O2 -shared -fPIC -Iinclude examples/log_store.c -o liblog_store.so
 *     H5LAKE_STORE_PATH=$PWD/liblog_store.so h5lake check-store logfile:///tmp/try.log */
#define _GNU_SOURCE
#include "h5lake_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HEADER 16               /* bytes of the file before its records: a magic number, and the end of the records */
#define REMOVED UINT64_MAX      /* the length that marks a deleted object */
#define VERSION(type) .size = sizeof(type), .version = H5LAKE_STORE_VERSION
typedef struct { uint64_t size, length; int64_t seconds; uint32_t nanoseconds, key_length; char key[1024]; } record;
#define FIXED offsetof(record, key)
typedef struct { int sync; char path[4096]; } store;
typedef struct { int file; const char *map; uint64_t end; } view;

static int32_t failed(const h5lake_store_call *call, const char *what)
{
    const char *why = strerror(errno);
    int32_t code = errno == EACCES || errno == EROFS ? H5LAKE_STORE_DENIED : errno == ENOSPC ? H5LAKE_STORE_NO_SPACE
                 : errno == ENOENT ? H5LAKE_STORE_NO_STORE : H5LAKE_STORE_FAILED;
    char text[256];
    int length = snprintf(text, sizeof text, "the file cannot be %s: %s", what, why);
    call->host->detail(call->number, text, (uint64_t)length);
    return code;
}

static int32_t leave(view *v, int32_t code)
{
    if (v->map) munmap((void *)v->map, v->end);
    if (v->file >= 0) close(v->file); /* this also releases the lock */
    return code;
}

/* Maps the records; none if the file does not exist. A writer makes and locks the file first. After an error everything
 * is released. */
static int32_t enter(const store *s, const h5lake_store_call *call, int writes, view *v)
{
    char head[HEADER] = { 0 };
    *v = (view){ .file = open(s->path, (writes ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0666), .end = HEADER };
    if (v->file < 0) return !writes && errno == ENOENT ? H5LAKE_STORE_OK : failed(call, "opened");
    for (uint64_t waited = 0; writes && flock(v->file, LOCK_EX | LOCK_NB); waited++, usleep(1000))
        if (waited >= call->milliseconds) return leave(v, H5LAKE_STORE_TIMED_OUT | H5LAKE_STORE_RETRY);
    uint64_t end = 0;
    if (pread(v->file, head, HEADER, 0) == HEADER) memcpy(&end, head + 8, 8);
    if (end == 0) return H5LAKE_STORE_OK; /* new, or made by a writer that was killed */
    if (memcmp(head, "h5logs01", 8) || end < HEADER || (int64_t)end > lseek(v->file, 0, SEEK_END))
        return leave(v, H5LAKE_STORE_DAMAGED);
    v->end = end;
    void *map = mmap(NULL, v->end, PROT_READ, MAP_SHARED, v->file, 0);
    if (map == MAP_FAILED) return leave(v, failed(call, "mapped"));
    v->map = map;
    return H5LAKE_STORE_OK;
}

/* Returns the record after `at`, or the first one; NULL after the last one. */
static const record *next(const view *v, const record *at)
{
    uint64_t offset = at ? (uint64_t)((const char *)at - v->map) + at->size : HEADER;
    return offset < v->end ? (const record *)(v->map + offset) : NULL;
}

static const record *find(const view *v, const char *key, uint64_t length)
{
    const record *found = NULL;
    for (const record *at = NULL; (at = next(v, at));)
        if (at->key_length == length && !memcmp(at->key, key, length)) found = at;
    return found && found->length != REMOVED ? found : NULL;
}

/* The etag is the offset of the record, at which no other record ever is. */
static int32_t tell(const h5lake_store_call *call, const record *r, uint64_t offset, char etag[24])
{
    h5lake_store_object object = { VERSION(object), .key = r->key, .key_length = r->key_length, .length = r->length,
        .seconds = r->seconds, .nanoseconds = r->nanoseconds, .etag = etag,
        .etag_length = (uint64_t)snprintf(etag, 24, "%llx", (unsigned long long)offset) };
    return call->host->object(call->number, &object);
}

static int put(view *v, const void *bytes, uint64_t length, uint64_t at)
{
    for (uint64_t done = 0; done < length;) {
        ssize_t wrote = pwrite(v->file, (const char *)bytes + done, length - done, (off_t)(at + done));
        if (wrote < 0) return -1;
        done += (uint64_t)wrote;
    }
    return 0;
}

/* Appends a record. It becomes valid when the end in the file's header includes it. */
static int32_t append(const store *s, const h5lake_store_call *call, view *v,
                      const char *key, uint64_t keys, uint64_t length)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    record new = { .size = (FIXED + keys + (length == REMOVED ? 0 : length) + 7) & ~(uint64_t)7, .length = length,
        .seconds = now.tv_sec, .nanoseconds = (uint32_t)now.tv_nsec, .key_length = (uint32_t)keys };
    memcpy(new.key, key, keys);
    uint64_t some, end = v->end + new.size;
    if (ftruncate(v->file, (off_t)end) || put(v, &new, FIXED + keys, v->end)) return failed(call, "written");
    for (uint64_t given = 0; length != REMOVED && given < length; given += some) {
        const void *piece;
        if (call->host->payload(call->number, given, &piece, &some) || !some) return H5LAKE_STORE_FAILED;
        if (put(v, piece, some, v->end + FIXED + keys + given)) return failed(call, "written");
    }
    char etag[24];
    if ((s->sync && fdatasync(v->file)) || put(v, "h5logs01", 8, 0) || put(v, &end, 8, 8)
        || (s->sync && fdatasync(v->file)))
        return failed(call, "written");
    if (length != REMOVED) tell(call, &new, v->end, etag);
    return H5LAKE_STORE_OK;
}

static int32_t open_store(const h5lake_store_call *call, const h5lake_store_open *request)
{
    const int is_path = !strncmp(request->url, "logfile:///", 11);
    const char *path = request->url + (is_path ? 10 : request->url_length), *end = strstr(path, ".log/");
    uint64_t length = end ? (uint64_t)(end + 4 - path) : strlen(path), whole = strlen(path);
    if (length < 5 || memcmp(path + length - 4, ".log", 4) || length >= sizeof((store *)0)->path) {
        static const char why[] = "a store 'logfile:' is written logfile:///DIR/NAME.log or …/NAME.log/PREFIX";
        call->host->detail(call->number, why, sizeof why - 1);
        return H5LAKE_STORE_BAD_REQUEST;
    }
    store *s = calloc(1, sizeof *s);
    if (!s) return H5LAKE_STORE_FAILED;
    memcpy(s->path, path, length);
    s->sync = (request->flags & H5LAKE_STORE_SYNC) != 0;
    h5lake_store_opened opened = { VERSION(opened), .store = s, .name = request->url, .name_length = length + 10,
        .capabilities = H5LAKE_STORE_ATOMIC_CREATE | H5LAKE_STORE_ATOMIC_UPDATE | H5LAKE_STORE_RANGES
                      | H5LAKE_STORE_ORDERED_LIST | H5LAKE_STORE_NESTED_KEYS | H5LAKE_STORE_PERSISTENT,
        .prefix = path + length + (length < whole), .prefix_length = whole - length - (length < whole) };
    if (call->host->opened(call->number, &opened) != H5LAKE_STORE_REFUSED) return H5LAKE_STORE_OK;
    return free(s), H5LAKE_STORE_FAILED; /* a refused store stays the library's */
}

static int32_t read_object(void *s, const h5lake_store_call *call, const h5lake_store_read *request)
{
    view v;
    char etag[24];
    int32_t code = enter(s, call, 0, &v);
    if (code) return code;
    const record *found = find(&v, request->key, request->key_length);
    if (!found) return leave(&v, H5LAKE_STORE_NOT_FOUND);
    if (tell(call, found, (uint64_t)((const char *)found - v.map), etag) == 0 && request->offset < found->length) {
        uint64_t left = found->length - request->offset, length = request->length < left ? request->length : left;
        call->host->bytes(call->number, found->key + found->key_length + request->offset, length);
    }
    return leave(&v, H5LAKE_STORE_OK);
}

static int32_t write_object(void *s, const h5lake_store_call *call, const h5lake_store_write *request)
{
    view v;
    char etag[24] = "";
    int32_t code = enter(s, call, 1, &v);
    if (code) return code;
    const record *found = find(&v, request->key, request->key_length);
    if (found) snprintf(etag, sizeof etag, "%llx", (unsigned long long)((const char *)found - v.map));
    if (request->mode == H5LAKE_STORE_CREATE && found) return leave(&v, H5LAKE_STORE_EXISTS);
    if (request->mode == H5LAKE_STORE_UPDATE && (!found || strcmp(etag, request->etag)))
        return leave(&v, H5LAKE_STORE_CHANGED);
    return leave(&v, append(s, call, &v, request->key, request->key_length, request->length));
}

static int32_t remove_object(void *s, const h5lake_store_call *call, const h5lake_store_remove *request)
{
    view v;
    int32_t code = enter(s, call, 1, &v);
    if (code) return code;
    if (!find(&v, request->key, request->key_length)) return leave(&v, H5LAKE_STORE_OK);
    return leave(&v, append(s, call, &v, request->key, request->key_length, REMOVED));
}

static int compare(const char *one, uint64_t one_length, const char *other, uint64_t other_length)
{
    int order = memcmp(one, other, one_length < other_length ? one_length : other_length);
    return order ? order : (one_length > other_length) - (one_length < other_length);
}

/* Sorts records by key. The last record of a key comes last. */
static int by_key(const void *a, const void *b)
{
    const record *one = *(const record *const *)a, *other = *(const record *const *)b;
    int order = compare(one->key, one->key_length, other->key, other->key_length);
    return order ? order : (one > other) - (one < other);
}

static int32_t list_objects(void *s, const h5lake_store_call *call, const h5lake_store_list *request)
{
    view v;
    char etag[24];
    uint64_t count = 0, wanted = 0;
    int32_t code = enter(s, call, 0, &v);
    if (code) return code;
    for (const record *at = NULL; (at = next(&v, at));) count++;
    const record **all = malloc((count + 1) * sizeof *all);
    for (const record *at = NULL; all && (at = next(&v, at));) all[wanted++] = at;
    if (all) qsort(all, count, sizeof *all, by_key);
    for (uint64_t i = 0; i < wanted; i++) {
        const record *r = all[i], *behind = i + 1 < count ? all[i + 1] : NULL;
        if (behind && !compare(r->key, r->key_length, behind->key, behind->key_length)) continue;
        if (r->length == REMOVED) continue;
        if (r->key_length < request->prefix_length) continue;
        if (memcmp(r->key, request->prefix, request->prefix_length)) continue;
        if (request->after && compare(r->key, r->key_length, request->after, request->after_length) <= 0) continue;
        if (tell(call, r, (uint64_t)((const char *)r - v.map), etag)) break;
    }
    code = all ? H5LAKE_STORE_OK : H5LAKE_STORE_FAILED;
    free(all);
    return leave(&v, code);
}

const h5lake_store_library *h5lake_store_library_of(uint32_t version)
{
    static const char *const schemes[] = { "logfile", NULL };
    static const h5lake_store_library library = { VERSION(library), .name = "log_store 1", .schemes = schemes,
        .open = open_store, .close = free, .read = read_object, .write = write_object,
        .remove = remove_object, .list = list_objects };
    return version >= H5LAKE_STORE_VERSION ? &library : NULL;
}

/* The shortest store for h5lake: objects in this process's memory, at URLs heap:NAME. They form a list in the order of
 * their keys; a mutex makes each call atomic.
 *
 *     cc -std=c11 -O2 -shared -fPIC -Iinclude examples/heap_store.c -o libheap_store.so
 *     H5LAKE_STORE_PATH=$PWD/libheap_store.so h5lake check-store heap:try */
#include "h5lake_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERSION(type) .size = sizeof(type), .version = H5LAKE_STORE_VERSION
typedef struct object {
    struct object *next;
    uint64_t version, key_length, length;
    time_t time;
    char *key, *bytes;
} object;
static object *first;
static uint64_t versions;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int compare(const char *one, uint64_t one_length, const char *other, uint64_t other_length)
{
    int order = memcmp(one, other, one_length < other_length ? one_length : other_length);
    return order ? order : (one_length > other_length) - (one_length < other_length);
}

/* Returns the link to the object, or the link at which it would be inserted. */
static object **find(const char *key, uint64_t length, int *is_there)
{
    object **at = &first;
    int order = 1;
    while (*at && (order = compare((*at)->key, (*at)->key_length, key, length)) < 0) at = &(*at)->next;
    *is_there = *at && !order;
    return at;
}

static int32_t tell(const h5lake_store_call *call, const object *o)
{
    char etag[24];
    h5lake_store_object told = { VERSION(told), .key = o->key, .key_length = o->key_length, .length = o->length,
        .seconds = o->time, .etag = etag,
        .etag_length = (uint64_t)snprintf(etag, sizeof etag, "%llu", (unsigned long long)o->version) };
    return call->host->object(call->number, &told);
}

/* One list contains all stores: the part of the URL after the scheme becomes a prefix of the keys. */
static int32_t open_store(const h5lake_store_call *call, const h5lake_store_open *request)
{
    uint64_t scheme = strspn(request->url + 5, "/") + 5;
    h5lake_store_opened opened = { VERSION(opened), .store = &first, .name = request->url, .name_length = 5,
        .prefix = request->url + scheme, .prefix_length = request->url_length - scheme,
        .capabilities = H5LAKE_STORE_ATOMIC_CREATE | H5LAKE_STORE_ATOMIC_UPDATE | H5LAKE_STORE_RANGES
                      | H5LAKE_STORE_ORDERED_LIST | H5LAKE_STORE_NESTED_KEYS };
    return call->host->opened(call->number, &opened) < 0 ? H5LAKE_STORE_FAILED : H5LAKE_STORE_OK;
}

static void close_store(void *store) { (void)store; }

static int32_t read_object(void *store, const h5lake_store_call *call, const h5lake_store_read *request)
{
    int is_there;
    (void)store;
    pthread_mutex_lock(&mutex);
    const object *o = *find(request->key, request->key_length, &is_there);
    if (is_there && tell(call, o) == H5LAKE_STORE_GO_ON && request->offset < o->length) {
        uint64_t left = o->length - request->offset;
        call->host->bytes(call->number, o->bytes + request->offset, request->length < left ? request->length : left);
    }
    pthread_mutex_unlock(&mutex);
    return is_there ? H5LAKE_STORE_OK : H5LAKE_STORE_NOT_FOUND;
}

static int32_t write_object(void *store, const h5lake_store_call *call, const h5lake_store_write *request)
{
    (void)store;
    char etag[24] = "", *bytes = malloc(request->length + 1), *key = malloc(request->key_length + 1);
    object *o = malloc(sizeof *o);
    uint64_t given = 0, some = 0;
    const void *piece;
    int is_there, is_read = bytes && key && o;
    for (; is_read && given < request->length; given += some) {
        is_read = call->host->payload(call->number, given, &piece, &some) == H5LAKE_STORE_GO_ON && some;
        if (is_read) memcpy(bytes + given, piece, some);
    }
    if (!is_read) return free(bytes), free(key), free(o), H5LAKE_STORE_FAILED;
    pthread_mutex_lock(&mutex);
    object **at = find(request->key, request->key_length, &is_there), *old = is_there ? *at : NULL;
    if (old) snprintf(etag, sizeof etag, "%llu", (unsigned long long)old->version);
    int32_t code = request->mode == H5LAKE_STORE_CREATE && old ? H5LAKE_STORE_EXISTS
                 : request->mode == H5LAKE_STORE_UPDATE && (!old || strcmp(etag, request->etag)) ? H5LAKE_STORE_CHANGED
                 : H5LAKE_STORE_OK;
    if (code == H5LAKE_STORE_OK) {
        memcpy(key, request->key, request->key_length);
        *o = (object){ old ? old->next : *at, ++versions, request->key_length, request->length, time(NULL),
                       key, bytes };
        *at = o;
        tell(call, o);
        o = old; /* the replaced object, if any, is freed below */
    } else {
        o->key = key, o->bytes = bytes;
    }
    pthread_mutex_unlock(&mutex);
    if (o) free(o->key), free(o->bytes), free(o);
    return code;
}

static int32_t remove_object(void *store, const h5lake_store_call *call, const h5lake_store_remove *request)
{
    int is_there;
    (void)store, (void)call;
    pthread_mutex_lock(&mutex);
    object **at = find(request->key, request->key_length, &is_there), *old = *at;
    if (is_there) *at = old->next;
    pthread_mutex_unlock(&mutex);
    if (is_there) free(old->key), free(old->bytes), free(old);
    return H5LAKE_STORE_OK;
}

static int32_t list_objects(void *store, const h5lake_store_call *call, const h5lake_store_list *request)
{
    (void)store;
    pthread_mutex_lock(&mutex);
    for (const object *o = first; o; o = o->next) {
        if (o->key_length < request->prefix_length || memcmp(o->key, request->prefix, request->prefix_length)) continue;
        if (request->after && compare(o->key, o->key_length, request->after, request->after_length) <= 0) continue;
        if (tell(call, o) != H5LAKE_STORE_GO_ON) break;
    }
    pthread_mutex_unlock(&mutex);
    return H5LAKE_STORE_OK;
}

const h5lake_store_library *h5lake_store_library_of(uint32_t version)
{
    static const char *const schemes[] = { "heap", NULL };
    static const h5lake_store_library library = { VERSION(library), .name = "heap_store 1", .schemes = schemes,
        .open = open_store, .close = close_store, .read = read_object, .write = write_object,
        .remove = remove_object, .list = list_objects };
    return version >= H5LAKE_STORE_VERSION ? &library : NULL;
}

/* Reading h5lake's containers without libhdf5, in several threads. Version 1 of the interface.
 *
 * The plugin libh5lake.so exports one function, h5lake_reader_api, which returns a table of functions. A program opens
 * the library (dlopen) or links it, and needs no libhdf5: nothing in the table calls it.
 *
 * Threads. Any function may be called from any thread, and several at the same time, also for the same handle. Reads
 * run in parallel. A refresh waits for the reads of its file that are under way, so that each read sees one version.
 *
 * Handles. A handle is a number, never 0. A number that was closed, or never was a handle, is an error and does no harm.
 * A dataset stays readable after its file was closed; it has to be closed, too. A forked child may use its parent's
 * handles if no other thread was in a call during the fork.
 *
 * Versions. A file shows the version that was the newest when it was opened, or that its name selects (NAME@v=12,
 * NAME@tag=paper, NAME@t=2026-11-20T10:00:00Z), until h5lake_reader_refresh moves it. Changes that a writer of the same
 * process has not committed are not visible.
 *
 * Elements. Buffers receive elements in value form:
 *
 *   - integers, floats, bitfields, complex numbers, opaque values and enumerations: the stored bytes in the stored byte
 *     order; unused bits are gone, so that the number fills all its bytes
 *   - strings of fixed length: padded with NULs
 *   - variable-length strings and sequences: an h5lake_reader_span, which names bytes of the pool of the same call; the
 *     elements of a sequence are in value form, too, and begin at a multiple of 8 bytes
 *   - references: a span of JSON in the pool, such as {"kind":"object","path":"/x","token":"0x4000000000001000", ...};
 *     path is null if no path leads to the object
 *   - compounds and arrays: their members, at the offsets that the description of the datatype names
 *
 * A null string, a null reference and an empty sequence have spans with the offset H5LAKE_READER_NULL.
 *
 * Descriptions are JSON in UTF-8. Later versions add keys.
 *
 *   - kind, token, file, attributes, of each object: "group", "dataset" or "datatype"; its id; the name of its container;
 *     the number of attributes
 *   - links, of a group: the number of links
 *   - shape, maxshape: null for a null dataspace; the maximum of an unlimited dimension is null
 *   - type: class in HDF5's terms and size in value form; order, signed, charset, padding, variable, tag, kind, shape, base,
 *     values, members where they apply
 *   - members: name, type, offset in value form, memory_offset in HDF5's memory form; memory_size is beside members
 *   - layout, chunks, filters: as in HDF5's creation properties
 *   - fill, fill_pool: the fill value in value form and its pool, in hexadecimal; null without a fill value
 *
 * Sizes. The table begins with its size. Later versions add functions at its end: compare `size` before you use one. */
#ifndef H5LAKE_READER_H
#define H5LAKE_READER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H5LAKE_READER_VERSION 1u

/* The offset of a span without bytes that is null. */
#define H5LAKE_READER_NULL UINT64_MAX

/* The return values of calls. Later versions add errors. */
enum {
    H5LAKE_READER_OK = 0,
    H5LAKE_READER_NOT_FOUND = 1,        /* no such file, object, attribute or chunk */
    H5LAKE_READER_WRONG_KIND = 2,       /* the object is of another kind than the call needs */
    H5LAKE_READER_INVALID = 3,          /* an argument makes no sense, a wrong setting, or a handle that is not open */
    H5LAKE_READER_UNSUPPORTED = 4,      /* it cannot be read without libhdf5 */
    H5LAKE_READER_OUT_OF_RANGE = 5,     /* a selection exceeds the extent; no such version */
    H5LAKE_READER_TOO_MANY_LINKS = 6,   /* a path leads in a circle */
    H5LAKE_READER_DAMAGED = 7,          /* stored bytes are damaged */
    H5LAKE_READER_LOCKED = 8,           /* another process excludes readers */
    H5LAKE_READER_DENIED = 9,           /* access is denied */
    H5LAKE_READER_NO_MEMORY = 10,       /* memory or space is exhausted: select fewer elements */
    H5LAKE_READER_GONE = 11,            /* the version was reclaimed: refresh, or open again */
    H5LAKE_READER_NOT_A_CONTAINER = 12, /* neither a container nor a native HDF5 file */
    H5LAKE_READER_FAILED = 13,          /* any other failure of the system or the store */
    H5LAKE_READER_NATIVE = 14           /* a native HDF5 file: `h5lake adopt` makes a container that refers to its data */
};

/* The error of a call that did not return H5LAKE_READER_OK. */
typedef struct h5lake_reader_error {
    int32_t kind;        /* the return value */
    int32_t errno_value; /* the error number of the system, or 0 */
    char text[1016];     /* operation, object, cause and remedy, in UTF-8 with a terminating NUL; truncated if it is longer */
} h5lake_reader_error;

/* Bytes of the library. Each successful call that has such an argument sets it; pass it to `release` once. `data` is
 * NULL if `size` is 0. */
typedef struct h5lake_reader_bytes {
    const void *data;
    uint64_t size;
    uint64_t reserved;
} h5lake_reader_bytes;

/* An element of variable length, in the byte order of the machine. */
typedef struct h5lake_reader_span {
    uint64_t offset; /* of the first byte in the pool, or H5LAKE_READER_NULL */
    uint64_t length; /* in bytes for strings and references, in elements for sequences */
} h5lake_reader_span;

/* One read of read_many; the members are the arguments of `read`. */
typedef struct h5lake_reader_read {
    uint64_t dataset;
    const uint64_t *selection;
    void *buffer;
    uint64_t size;
    h5lake_reader_bytes pool; /* set by the call; release it */
    uint32_t rank, reserved;
} h5lake_reader_read;

/* The table. Strings are UTF-8 with a terminating NUL. `error` may be NULL. */
typedef struct h5lake_reader_table {
    uint32_t size, version;

    /* Opens a container by its path or URL. `settings` is a connector string without the connector's name
     * ("store=s3://lab timeout=20s"), which takes precedence over the variables H5LAKE_*. NULL takes the settings of
     * the environment, as HDF5 does. */
    int32_t (*open)(const char *name, const char *settings, uint64_t *file, h5lake_reader_error *error);
    /* Closes a file or a dataset. */
    int32_t (*close)(uint64_t handle, h5lake_reader_error *error);
    /* Moves a file to the newest version; `moved` becomes 1 if the version changed. Its datasets move, too. */
    int32_t (*refresh)(uint64_t file, int32_t *moved, h5lake_reader_error *error);
    /* Describes the object at a path from the root. */
    int32_t (*describe)(uint64_t file, const char *path, h5lake_reader_bytes *json, h5lake_reader_error *error);
    /* Lists the links of the group at a path: an array of objects. */
    int32_t (*list)(uint64_t file, const char *path, h5lake_reader_bytes *json, h5lake_reader_error *error);
    /* Lists the names of the attributes of the object at a path: an array of objects. */
    int32_t (*attributes)(uint64_t file, const char *path, h5lake_reader_bytes *json, h5lake_reader_error *error);
    /* Reads an attribute: its description, its elements in value form, and their pool. */
    int32_t (*attribute)(uint64_t file, const char *path, const char *name, h5lake_reader_bytes *json,
                         h5lake_reader_bytes *elements, h5lake_reader_bytes *pool, h5lake_reader_error *error);
    /* Opens the dataset at a path. */
    int32_t (*open_dataset)(uint64_t file, const char *path, uint64_t *dataset, h5lake_reader_error *error);
    /* Describes a dataset as it is now. */
    int32_t (*describe_dataset)(uint64_t dataset, h5lake_reader_bytes *json, h5lake_reader_error *error);
    /* Reads elements in C order. `selection` has 3 * rank numbers: the first element in each dimension, then the
     * numbers of elements, then the distances between them (1 for consecutive elements). NULL selects all elements.
     * `size` is the size of the selected elements in value form, in bytes. `pool` may be NULL for a datatype without
     * spans. */
    int32_t (*read)(uint64_t dataset, uint32_t rank, const uint64_t *selection, void *buffer, uint64_t size,
                    h5lake_reader_bytes *pool, h5lake_reader_error *error);
    /* Performs several reads with up to `threads` threads, at most 64. The error is that of the first read that failed;
     * no pool has to be released then. */
    int32_t (*read_many)(h5lake_reader_read *reads, uint64_t count, uint32_t threads, h5lake_reader_error *error);
    /* Reads the stored bytes of a chunk, after filters. `coords` are the coordinates of its first element. Bit n of
     * `mask` says that filter n of the pipeline was skipped. */
    int32_t (*read_chunk)(uint64_t dataset, uint32_t rank, const uint64_t *coords, h5lake_reader_bytes *chunk,
                          uint32_t *mask, h5lake_reader_error *error);
    /* Releases bytes of the library, and empties them. */
    void (*release)(h5lake_reader_bytes *bytes);
    /* Opens the local container at `path` that `h5lake adopt` made of the native HDF5 file `name`, in place of that file.
     * The container's file may be deleted afterwards. Names in it that lead to other files are errors, and settings that
     * say where containers are, or that select a version, do not apply. */
    int32_t (*open_adopted)(const char *path, const char *name, const char *settings, uint64_t *file,
                            h5lake_reader_error *error);
} h5lake_reader_table;

/* Returns the table, which is valid as long as the process; NULL if the library does not have this version of the
 * interface. Pass H5LAKE_READER_VERSION. */
const h5lake_reader_table *h5lake_reader_api(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif

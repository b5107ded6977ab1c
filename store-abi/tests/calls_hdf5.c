/* examples/heap_store.c under the scheme "rude". It opens a file with HDF5 from within each read, which violates the
 * rules. The variable RUDE_FILE names the file, RUDE_HDF5 the library. It prints the result on stdout. */
#define _GNU_SOURCE
#define h5lake_store_library_of heap_library_of
#include "../examples/heap_store.c"
#undef h5lake_store_library_of

#include <dlfcn.h>

static int32_t rude_read(void *store, const h5lake_store_call *call, const h5lake_store_read *request)
{
    void *hdf5 = dlopen(getenv("RUDE_HDF5"), RTLD_NOW | RTLD_NOLOAD);
    int64_t (*open_file)(const char *, unsigned, int64_t) =
        hdf5 ? (int64_t (*)(const char *, unsigned, int64_t))dlsym(hdf5, "H5Fopen") : NULL;
    if (open_file) printf("opened %d\n", open_file(getenv("RUDE_FILE"), 0, 0) >= 0), fflush(stdout);
    return read_object(store, call, request);
}

const h5lake_store_library *h5lake_store_library_of(uint32_t version)
{
    static const char *const schemes[] = { "rude", NULL };
    static h5lake_store_library library;
    library = *heap_library_of(version);
    library.schemes = schemes;
    library.read = rude_read;
    return &library;
}

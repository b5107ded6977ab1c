/* The plugin's table of functions that read containers without libhdf5: reading FILE. The file is written with HDF5. */
#include <dlfcn.h>
#include <pthread.h>

#include "../../connector/reader/include/h5lake_reader.h"
#include "check.h"

#define SIZE 1000

static const h5lake_reader_table *table;
static uint64_t dataset;

static void write_file(const char *name)
{
    static int values[SIZE];
    const char *texts[3] = {"one", "", "three"};
    hsize_t size = SIZE, count = 3;
    for (int n = 0; n < SIZE; n++)
        values[n] = n;
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), text = H5Tcopy(H5T_C_S1);
    hid_t line = H5Screate_simple(1, &size, NULL), three = H5Screate_simple(1, &count, NULL);
    CHECK(file >= 0 && H5Tset_size(text, H5T_VARIABLE) >= 0);
    hid_t set = H5Dcreate2(file, "x", H5T_STD_I32LE, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    hid_t words = H5Dcreate2(file, "texts", text, three, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(words, text, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts) >= 0);
    hid_t attribute = H5Acreate2(set, "unit", text, three, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, text, texts) >= 0 && H5Aclose(attribute) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Dclose(words) >= 0 && H5Sclose(line) >= 0 && H5Sclose(three) >= 0);
    CHECK(H5Tclose(text) >= 0 && H5Fclose(file) >= 0);
}

/* Opens the plugin, which HDF5 has found in the first folder of HDF5_PLUGIN_PATH. */
static void open_table(void)
{
    char path[4096];
    const char *folders = getenv("HDF5_PLUGIN_PATH");
    CHECK(folders != NULL);
    snprintf(path, sizeof path, "%.*s/libh5lake.so", (int)strcspn(folders, ":"), folders);
    void *library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    const h5lake_reader_table *(*api)(uint32_t);
    *(void **)&api = dlsym(library, "h5lake_reader_api");
    CHECK(api != NULL && api(H5LAKE_READER_VERSION + 1) == NULL);
    table = api(H5LAKE_READER_VERSION);
    CHECK(table != NULL && table->size >= sizeof *table && table->version == H5LAKE_READER_VERSION);
}

static void *read_part(void *first)
{
    uint64_t selection[3] = {*(uint64_t *)first, 10, 7};
    int32_t values[10];
    h5lake_reader_error error;
    for (int n = 0; n < 200; n++) {
        CHECK(table->read(dataset, 1, selection, values, sizeof values, NULL, &error) == H5LAKE_READER_OK);
        for (int k = 0; k < 10; k++)
            CHECK(values[k] == (int)(selection[0] + 7 * (uint64_t)k));
    }
    return NULL;
}

static void in_threads(void)
{
    pthread_t threads[8];
    uint64_t first[8];
    for (int n = 0; n < 8; n++) {
        first[n] = 100 * (uint64_t)n;
        CHECK(pthread_create(&threads[n], NULL, read_part, &first[n]) == 0);
    }
    for (int n = 0; n < 8; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
}

/* Texts are spans of the pool. */
static void texts(const h5lake_reader_span *spans, const h5lake_reader_bytes *pool)
{
    const char *wanted[3] = {"one", "", "three"};
    for (int n = 0; n < 3; n++) {
        CHECK(spans[n].length == strlen(wanted[n]) && spans[n].offset + spans[n].length <= pool->size);
        CHECK(memcmp((const char *)pool->data + spans[n].offset, wanted[n], strlen(wanted[n])) == 0);
    }
}

static void variable_length(uint64_t file)
{
    h5lake_reader_error error;
    h5lake_reader_bytes json, elements, pool;
    h5lake_reader_span spans[3];
    uint64_t words = 0;
    CHECK(table->open_dataset(file, "texts", &words, &error) == H5LAKE_READER_OK);
    CHECK(table->read(words, 0, NULL, spans, sizeof spans, &pool, &error) == H5LAKE_READER_OK);
    texts(spans, &pool);
    table->release(&pool);
    CHECK(pool.data == NULL && table->close(words, NULL) == H5LAKE_READER_OK);
    CHECK(table->attribute(file, "x", "unit", &json, &elements, &pool, &error) == H5LAKE_READER_OK);
    CHECK(elements.size == sizeof spans && json.size > 0);
    texts(elements.data, &pool);
    table->release(&json);
    table->release(&elements);
    table->release(&pool);
}

static void errors(uint64_t file)
{
    h5lake_reader_error error;
    uint64_t other = 0, selection[3] = {SIZE - 1, 2, 1};
    int32_t values[2];
    CHECK(table->open("none.h5", NULL, &other, &error) == H5LAKE_READER_NOT_FOUND && error.errno_value == 2);
    CHECK(table->open(NULL, NULL, &other, &error) == H5LAKE_READER_INVALID);
    CHECK(table->open("none.h5", "nonsense=1", &other, &error) == H5LAKE_READER_INVALID);
    CHECK(table->open_dataset(file, "none", &other, &error) == H5LAKE_READER_NOT_FOUND && strstr(error.text, "none"));
    CHECK(table->open_dataset(file, "/", &other, &error) == H5LAKE_READER_WRONG_KIND);
    CHECK(table->read(dataset, 1, selection, values, 8, NULL, &error) == H5LAKE_READER_OUT_OF_RANGE);
    CHECK(table->read(dataset, 2, selection, values, 8, NULL, &error) == H5LAKE_READER_INVALID);
    CHECK(table->read(file, 1, selection, values, 8, NULL, &error) == H5LAKE_READER_INVALID);
    CHECK(table->read(999999, 1, selection, values, 8, NULL, NULL) == H5LAKE_READER_INVALID);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    write_file(arguments[1]);
    open_table();
    h5lake_reader_error error;
    h5lake_reader_bytes json;
    uint64_t file = 0;
    int32_t moved = 7;
    CHECK(table->open(arguments[1], NULL, &file, &error) == H5LAKE_READER_OK && file != 0);
    CHECK(table->list(file, "/", &json, &error) == H5LAKE_READER_OK && json.size > 2);
    table->release(&json);
    CHECK(table->open_dataset(file, "/x", &dataset, &error) == H5LAKE_READER_OK);
    in_threads();
    variable_length(file);
    errors(file);
    CHECK(table->refresh(file, &moved, &error) == H5LAKE_READER_OK && moved == 0);
    CHECK(table->close(file, &error) == H5LAKE_READER_OK && table->close(file, &error) == H5LAKE_READER_INVALID);
    /* A dataset stays readable after its file was closed. */
    in_threads();
    CHECK(table->close(dataset, &error) == H5LAKE_READER_OK);
    return 0;
}

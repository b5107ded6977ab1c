/* Says where each of testhdf5's test functions begins and ends, and how many errors were reported until then. Leaves out
 * those that TESTHDF5_LEAVE_OUT names (",one,two,").
 *
 * Also takes the place of the function of HDF5's test library by which tests learn whether they may look into native
 * structures, sizes of native files and limits of the native format. That one asks H5VLobject_is_native, to which h5lake
 * says yes for the sake of deprecated functions. Here the answer is no in the functions that TESTHDF5_NOT_NATIVE names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h5test.h"

#define DEEPEST 16

int GetTestNumErrs(void);

static const char *running[DEEPEST];
static int         depth;

static bool is_named(const char *variable, const char *name)
{
    const char *names = getenv(variable);
    char        word[200];

    snprintf(word, sizeof word, ",%s,", name);
    return names && strstr(names, word);
}

int announced_begin(const char *name)
{
    if (is_named("TESTHDF5_LEAVE_OUT", name)) {
        printf("\n@@ left out %s\n", name);
        return 0;
    }
    printf("\n@@ begin %s %d\n", name, GetTestNumErrs());
    fflush(stdout);
    if (depth < DEEPEST)
        running[depth] = name;
    depth++;
    return 1;
}

void announced_end(const char *name)
{
    depth--;
    printf("\n@@ end %s %d\n", name, GetTestNumErrs());
    fflush(stdout);
}

herr_t h5_using_native_vol(hid_t fapl_id, hid_t obj_id, bool *is_native_vol)
{
    const char *group = getenv("TESTHDF5_GROUP");

    (void)fapl_id;
    (void)obj_id;
    *is_native_vol = true;
    for (int i = 0; i < depth && i < DEEPEST; i++)
        if (is_named("TESTHDF5_NOT_NATIVE", running[i]))
            *is_native_vol = false;
    if (group && is_named("TESTHDF5_NOT_NATIVE", group))
        *is_native_vol = false;
    return 0;
}

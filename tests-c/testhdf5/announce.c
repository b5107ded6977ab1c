/* Prints the beginning and the end of each test function of testhdf5, with the number of errors that were reported
 * until then. Skips the functions that TESTHDF5_LEAVE_OUT names (",one,two,").
 *
 * Also replaces the function of HDF5's test library that tells tests whether they may inspect native structures, sizes
 * of native files and limits of the native format. The original calls H5VLobject_is_native, for which h5lake returns
 * true because deprecated functions require it. This function returns false in the functions that TESTHDF5_NOT_NATIVE
 * names. */
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

/* Replaces the function of HDF5's test library that tells tests whether they may inspect native structures and sizes of
 * native files. The original calls H5VLobject_is_native, for which h5lake returns true because deprecated functions
 * require it. This function returns false if TESTPAR_NOT_NATIVE is set. */
#include <stdbool.h>
#include <stdlib.h>

#include "h5test.h"

herr_t h5_using_native_vol(hid_t fapl_id, hid_t obj_id, bool *is_native_vol)
{
    (void)fapl_id;
    (void)obj_id;
    *is_native_vol = getenv("TESTPAR_NOT_NATIVE") == NULL;
    return 0;
}

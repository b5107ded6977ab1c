/* Takes the place of the function of HDF5's test library by which tests learn whether they may look into native
 * structures and sizes of native files. That one asks H5VLobject_is_native, to which h5lake says yes for the sake of
 * deprecated functions. Here the answer is no if TESTPAR_NOT_NATIVE is set. */
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

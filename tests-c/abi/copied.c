/*
 * A program that names data symbols of libhdf5, so that the linker may keep the live copies of them in the program
 * (copy relocation). Fails unless the probe plugin pushes its error with the ids that the library really uses.
 */
#include <hdf5.h>
#include <stdio.h>
#include <string.h>

static herr_t
look(unsigned n, const H5E_error2_t *error, void *found)
{
    (void)n;
    if (strncmp(error->desc, "probe: slot 0, HDF5 ", 20) == 0 && error->cls_id == H5E_ERR_CLS &&
        error->maj_num == H5E_FILE && error->min_num == H5E_CANTOPENFILE)
        *(int *)found = 1;
    return 0;
}

int
main(void)
{
    int found = 0;

    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (H5Fcreate("not-made.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT) >= 0) {
        fprintf(stderr, "the file was made: the probe plugin was not asked\n");
        return 1;
    }
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, look, &found);
    if (!found) {
        fprintf(stderr, "the plugin's error is not on the stack with the library's own ids\n");
        H5Eprint2(H5E_DEFAULT, stderr);
    }
    return !found;
}

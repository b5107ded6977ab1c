/* A failure in a native file that is passed through is printed as often as by native HDF5: once FILE prints the
 * library's reports on stderr. */
#include "check.h"

static herr_t fail(hid_t group, const char *name, const H5L_info2_t *info, void *data)
{
    (void)name, (void)info, (void)data;
    CHECK(H5Gopen2(group, "nothing", H5P_DEFAULT) < 0);
    return 1;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t stdio = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_fapl_stdio(stdio) >= 0);
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, stdio);
    CHECK(file >= 0);
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dopen2(file, "nothing", H5P_DEFAULT) < 0);
    CHECK(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) < 0);
    CHECK(H5Fopen("no such file.h5", H5F_ACC_RDONLY, stdio) < 0);
    /* The failure occurs in a callback of the application. */
    CHECK(H5Literate2(file, H5_INDEX_NAME, H5_ITER_INC, NULL, fail, NULL) == 1);
    CHECK(H5Gclose(group) >= 0 && H5Fclose(file) >= 0 && H5Pclose(stdio) >= 0);
    return 0;
}

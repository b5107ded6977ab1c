/* Native files that a driver spreads over several: spread FAMILY SPLIT MULTI. They are made with the native connector. */
#include "check.h"

#define DEF H5P_DEFAULT

static void make(const char *name, hid_t access)
{
    const hsize_t size = 5000;
    hid_t space = H5Screate_simple(1, &size, NULL), file = H5Fcreate(name, H5F_ACC_TRUNC, DEF, access);
    int values[5000];
    for (int i = 0; i < 5000; i++)
        values[i] = i * 7;
    hid_t group = H5Gcreate2(file, "group", DEF, DEF, DEF), set = H5Dcreate2(group, "set", H5T_STD_I32BE, space, DEF, DEF, DEF);
    CHECK(set >= 0 && H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, DEF, values) >= 0 && H5Oset_comment(set, "said") >= 0);
    CHECK(H5Lcreate_soft("/group/set", file, "soft", DEF, DEF) >= 0 && H5Lcreate_hard(group, "set", file, "hard", DEF, DEF) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Gclose(group) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0 && H5Pclose(access) >= 0);
}

static hid_t natively(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), native = H5VLget_connector_id_by_name("native");
    CHECK(H5Pset_vol(access, native, NULL) >= 0 && H5VLclose(native) >= 0);
    return access;
}

int main(int count, char **arguments)
{
    CHECK(count == 4);
    hid_t access = natively();
    CHECK(H5Pset_fapl_family(access, 4096, DEF) >= 0);
    make(arguments[1], access);
    access = natively();
    CHECK(H5Pset_fapl_split(access, "-m.h5", DEF, "-r.h5", DEF) >= 0);
    make(arguments[2], access);
    access = natively();
    CHECK(H5Pset_fapl_multi(access, NULL, NULL, NULL, NULL, 1) >= 0);
    make(arguments[3], access);
    return 0;
}

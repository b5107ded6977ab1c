/* H5Odisable_mdc_flushes and related calls: a setting of an object, seen by every handle of the object, and gone when
 * the last handle is closed. */
#include "check.h"

static int disabled(hid_t object)
{
    hbool_t answer = 9;
    CHECK(H5Oare_mdc_flushes_disabled(object, &answer) >= 0 && (answer == 0 || answer == 1));
    return answer;
}

/* Returns whether a call fails. Its error report is not printed. */
static int fails(herr_t (*call)(hid_t), hid_t object)
{
    herr_t status;
    H5E_BEGIN_TRY
    {
        status = call(object);
    }
    H5E_END_TRY
    return status < 0;
}

static void one(hid_t file, hid_t other, const char *name)
{
    hid_t first = H5Oopen(file, name, H5P_DEFAULT), second = H5Oopen(other, name, H5P_DEFAULT);
    CHECK(first >= 0 && second >= 0 && !disabled(first) && fails(H5Oenable_mdc_flushes, first));
    CHECK(H5Odisable_mdc_flushes(first) >= 0 && disabled(first) && disabled(second));
    CHECK(fails(H5Odisable_mdc_flushes, second) && H5Oenable_mdc_flushes(second) >= 0 && !disabled(first));
    CHECK(H5Odisable_mdc_flushes(second) >= 0 && H5Oflush(first) >= 0 && disabled(first));
    CHECK(H5Oclose(second) >= 0 && disabled(first));
    CHECK(H5Oclose(first) >= 0 && (first = H5Oopen(file, name, H5P_DEFAULT)) >= 0 && !disabled(first));
    CHECK(H5Oclose(first) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    hid_t latest = H5Pcreate(H5P_FILE_ACCESS), space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_NATIVE_INT), file, set, group;
    CHECK(H5Pset_libver_bounds(latest, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0);
    CHECK((file = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, latest)) >= 0);
    CHECK((set = H5Dcreate2(file, "set", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK((group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)) >= 0);
    CHECK(H5Tcommit2(file, "type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Gclose(group) >= 0 && H5Tclose(type) >= 0 && H5Sclose(space) >= 0);
    hid_t other = H5Fopen(argv[1], H5F_ACC_RDWR, latest);
    CHECK(other >= 0);
    one(file, other, "set");
    one(file, other, "group");
    one(file, other, "type");
    /* A file is not an object. */
    CHECK(fails(H5Odisable_mdc_flushes, file));
    CHECK(H5Fclose(other) >= 0 && H5Fclose(file) >= 0 && H5Pclose(latest) >= 0);
    return 0;
}

/* References of the kind that HDF5 1.12 introduced (H5R_ref_t), to objects, regions and attributes, in datasets and
 * attributes, of this file and of another: refs write|read FILE OTHER. */
#include "check.h"

#define ROWS 4
#define COLUMNS 5
#define KINDS 3

static void make_target(hid_t file, int first)
{
    hsize_t size[2] = {ROWS, COLUMNS};
    int values[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = first + i;
    hid_t space = H5Screate_simple(2, size, NULL), scalar = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, "set", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "unit", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &values[3]) >= 0);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0 && H5Sclose(scalar) >= 0);
}

/* Makes references to the objects that `make_target` created in a file. */
static void refer(hid_t file, H5R_ref_t *refs)
{
    hsize_t size[2] = {ROWS, COLUMNS}, start[2] = {1, 1}, count[2] = {2, 3};
    hid_t space = H5Screate_simple(2, size, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Rcreate_object(file, "/set", H5P_DEFAULT, &refs[0]) >= 0);
    CHECK(H5Rcreate_region(file, "/set", space, H5P_DEFAULT, &refs[1]) >= 0);
    CHECK(H5Rcreate_attr(file, "/set", "unit", H5P_DEFAULT, &refs[2]) >= 0);
    CHECK(H5Sclose(space) >= 0);
}

static void destroy(H5R_ref_t *refs, int count)
{
    for (int i = 0; i < count; i++)
        CHECK(H5Rdestroy(&refs[i]) >= 0);
}

/* Checks the targets of references: `first` identifies the file of the dataset. */
static void follow(H5R_ref_t *refs, const char *file, int first)
{
    char name[100];
    int value = 0, values[6] = {0};
    hsize_t six = 6;
    CHECK(H5Rget_type(&refs[0]) == H5R_OBJECT2);
    CHECK(H5Rget_type(&refs[1]) == H5R_DATASET_REGION2);
    CHECK(H5Rget_type(&refs[2]) == H5R_ATTR);
    for (int i = 0; i < KINDS; i++) {
        H5O_type_t type;
        CHECK(H5Rget_file_name(&refs[i], name, sizeof name) > 0 && strcmp(name, file) == 0);
        CHECK(H5Rget_obj_name(&refs[i], H5P_DEFAULT, name, sizeof name) > 0 && strcmp(name, "/set") == 0);
        CHECK(H5Rget_obj_type3(&refs[i], H5P_DEFAULT, &type) >= 0 && type == H5O_TYPE_DATASET);
    }
    CHECK(H5Rget_attr_name(&refs[2], name, sizeof name) == 4 && strcmp(name, "unit") == 0);
    hid_t set = H5Ropen_object(&refs[0], H5P_DEFAULT, H5P_DEFAULT);
    hid_t region = H5Ropen_region(&refs[1], H5P_DEFAULT, H5P_DEFAULT), row = H5Screate_simple(1, &six, NULL);
    CHECK(set >= 0 && H5Sget_select_npoints(region) == 6);
    CHECK(H5Dread(set, H5T_NATIVE_INT, row, region, H5P_DEFAULT, values) >= 0);
    CHECK(values[0] == first + 6 && values[5] == first + 13);
    hid_t attribute = H5Ropen_attr(&refs[2], H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT, &value) >= 0 && value == first + 3);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Sclose(region) >= 0 && H5Sclose(row) >= 0);
}

static void store(hid_t file, const char *name, H5R_ref_t *refs)
{
    hsize_t size = KINDS;
    hid_t space = H5Screate_simple(1, &size, NULL);
    hid_t set = H5Dcreate2(file, name, H5T_STD_REF, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "the same", H5T_STD_REF, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && attribute >= 0);
    /* The write is repeated: freeing the replaced references must not free the new ones. */
    for (int turn = 0; turn < 2; turn++) {
        CHECK(H5Dwrite(set, H5T_STD_REF, H5S_ALL, H5S_ALL, H5P_DEFAULT, refs) >= 0);
        CHECK(H5Awrite(attribute, H5T_STD_REF, refs) >= 0);
    }
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
}

static void load(hid_t file, const char *name, const char *leads_to, int first)
{
    H5R_ref_t refs[KINDS];
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT), attribute = H5Aopen(set, "the same", H5P_DEFAULT);
    CHECK(H5Dread(set, H5T_STD_REF, H5S_ALL, H5S_ALL, H5P_DEFAULT, refs) >= 0);
    follow(refs, leads_to, first);
    destroy(refs, KINDS);
    CHECK(H5Aread(attribute, H5T_STD_REF, refs) >= 0);
    follow(refs, leads_to, first);
    destroy(refs, KINDS);
    CHECK(H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0);
}

static void write(const char *name, const char *other_name)
{
    H5R_ref_t refs[KINDS], copy;
    hid_t file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t other = H5Fcreate(other_name, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    make_target(file, 0);
    make_target(other, 100);
    refer(file, refs);
    CHECK(H5Rcopy(&refs[1], &copy) >= 0 && H5Requal(&refs[1], &copy) > 0 && H5Requal(&refs[0], &copy) == 0);
    destroy(&copy, 1);
    store(file, "own", refs);
    destroy(refs, KINDS);
    refer(other, refs);
    store(file, "others", refs);
    destroy(refs, KINDS);
    CHECK(H5Fclose(other) >= 0 && H5Fclose(file) >= 0);
}

/* References that were never written refer to no object. */
static void unwritten(hid_t file)
{
    H5R_ref_t ref;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, "unwritten", H5T_STD_REF, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dread(set, H5T_STD_REF, H5S_ALL, H5S_ALL, H5P_DEFAULT, &ref) >= 0);
    H5E_BEGIN_TRY
    {
        CHECK(H5Ropen_object(&ref, H5P_DEFAULT, H5P_DEFAULT) < 0);
    }
    H5E_END_TRY
    CHECK(H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    if (strcmp(argv[1], "write") == 0)
        write(argv[2], argv[3]);
    hid_t file = H5Fopen(argv[2], H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(file >= 0);
    load(file, "own", argv[2], 0);
    load(file, "others", argv[3], 100);
    if (strcmp(argv[1], "read") == 0)
        unwritten(file);
    CHECK(H5Fclose(file) >= 0);
    return 0;
}

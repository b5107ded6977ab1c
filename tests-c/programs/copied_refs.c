/* References in copies (H5Ocopy), old ones and those of HDF5 1.12 (H5R_ref_t), as elements and in variable-length data:
 * within a file, into another file, and between files of two kinds: copied_refs ONE OTHER [NATIVE], where NATIVE is
 * opened with an explicit driver. */
#include "check.h"

#define ROWS 4
#define COLUMNS 5

/* A record with references as members and in variable-length data. */
typedef struct {
    char *name;
    hdset_reg_ref_t region;
    hvl_t regions;
    hobj_ref_t object;
    hvl_t objects;
    hvl_t news;
} row_t;

static hid_t row_type(void)
{
    hid_t text = H5Tcopy(H5T_C_S1), row = H5Tcreate(H5T_COMPOUND, sizeof(row_t));
    hid_t regions = H5Tvlen_create(H5T_STD_REF_DSETREG), objects = H5Tvlen_create(H5T_STD_REF_OBJ);
    hid_t news = H5Tvlen_create(H5T_STD_REF);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    CHECK(H5Tinsert(row, "name", HOFFSET(row_t, name), text) >= 0);
    CHECK(H5Tinsert(row, "region", HOFFSET(row_t, region), H5T_STD_REF_DSETREG) >= 0);
    CHECK(H5Tinsert(row, "regions", HOFFSET(row_t, regions), regions) >= 0);
    CHECK(H5Tinsert(row, "object", HOFFSET(row_t, object), H5T_STD_REF_OBJ) >= 0);
    CHECK(H5Tinsert(row, "objects", HOFFSET(row_t, objects), objects) >= 0);
    CHECK(H5Tinsert(row, "news", HOFFSET(row_t, news), news) >= 0);
    CHECK(H5Tclose(text) >= 0 && H5Tclose(regions) >= 0 && H5Tclose(objects) >= 0 && H5Tclose(news) >= 0);
    return row;
}

static hid_t part(hsize_t at)
{
    hsize_t size[2] = {ROWS, COLUMNS}, start[2] = {at, 1}, count[2] = {1, 3};
    hid_t space = H5Screate_simple(2, size, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    return space;
}

static void region_to(hid_t file, hsize_t at, hdset_reg_ref_t *region)
{
    hid_t space = part(at);
    CHECK(H5Rcreate(region, file, "/set", H5R_DATASET_REGION1, space) >= 0);
    CHECK(H5Sclose(space) >= 0);
}

static void three_new(hid_t file, H5R_ref_t *refs)
{
    hid_t space = part(2);
    CHECK(H5Rcreate_object(file, "/set", H5P_DEFAULT, &refs[0]) >= 0);
    CHECK(H5Rcreate_region(file, "/set", space, H5P_DEFAULT, &refs[1]) >= 0);
    CHECK(H5Rcreate_attr(file, "/set", "unit", H5P_DEFAULT, &refs[2]) >= 0);
    CHECK(H5Sclose(space) >= 0);
}

/* Creates a dataset that is referred to, and a group with references to it: g/rows, g/new, and an attribute. */
static void fill(hid_t file)
{
    hsize_t size[2] = {ROWS, COLUMNS}, two = 2, three = 3;
    int values[ROWS * COLUMNS], unit = 42;
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = i;
    hid_t grid = H5Screate_simple(2, size, NULL), scalar = H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, "set", H5T_NATIVE_INT, grid, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(set, "unit", H5T_NATIVE_INT, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &unit) >= 0 && H5Aclose(attribute) >= 0 && H5Dclose(set) >= 0);

    hid_t group = H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), type = row_type();
    hid_t pair = H5Screate_simple(1, &two, NULL), triple = H5Screate_simple(1, &three, NULL);
    hdset_reg_ref_t regions[2];
    hobj_ref_t object;
    H5R_ref_t news[3];
    row_t rows[2];
    memset(rows, 0, sizeof rows);
    region_to(file, 1, &regions[0]);
    region_to(file, 3, &regions[1]);
    CHECK(H5Rcreate(&object, file, "/set", H5R_OBJECT1, -1) >= 0);
    three_new(file, news);
    rows[1].name = "row";
    region_to(file, 0, &rows[1].region);
    rows[1].regions = (hvl_t){2, regions};
    rows[1].object = object;
    rows[1].objects = (hvl_t){1, &object};
    rows[1].news = (hvl_t){3, news};
    set = H5Dcreate2(group, "rows", type, pair, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0 && H5Dclose(set) >= 0);
    set = H5Dcreate2(group, "new", H5T_STD_REF, triple, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(set >= 0 && H5Dwrite(set, H5T_STD_REF, H5S_ALL, H5S_ALL, H5P_DEFAULT, news) >= 0 && H5Dclose(set) >= 0);
    attribute = H5Acreate2(group, "new", H5T_STD_REF, triple, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Awrite(attribute, H5T_STD_REF, news) >= 0 && H5Aclose(attribute) >= 0);
    for (int i = 0; i < 3; i++)
        CHECK(H5Rdestroy(&news[i]) >= 0);
    CHECK(H5Sclose(grid) >= 0 && H5Sclose(scalar) >= 0 && H5Sclose(pair) >= 0 && H5Sclose(triple) >= 0);
    CHECK(H5Tclose(type) >= 0 && H5Gclose(group) >= 0);
}

/* Checks that an object is the dataset, or its copy, in this very file. */
static void is_set(hid_t file, hid_t object)
{
    int values[ROWS * COLUMNS] = {0};
    unsigned long here, there;
    H5O_info2_t info;
    CHECK(object >= 0 && H5Oget_info3(object, &info, H5O_INFO_BASIC) >= 0);
    there = info.fileno;
    CHECK(H5Oget_info3(file, &info, H5O_INFO_BASIC) >= 0);
    here = info.fileno;
    CHECK(here == there);
    CHECK(H5Dread(object, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 && values[19] == 19);
    CHECK(H5Oclose(object) >= 0);
}

static void is_part(hid_t space, hsize_t at)
{
    hsize_t start[2], end[2];
    CHECK(space >= 0 && H5Sget_select_npoints(space) == 3 && H5Sget_select_bounds(space, start, end) >= 0);
    CHECK(start[0] == at && end[0] == at && start[1] == 1 && end[1] == 3);
    CHECK(H5Sclose(space) >= 0);
}

static void follow_region(hid_t file, hdset_reg_ref_t *region, hsize_t at)
{
    is_set(file, H5Rdereference2(file, H5P_DEFAULT, H5R_DATASET_REGION1, region));
    is_part(H5Rget_region(file, H5R_DATASET_REGION1, region), at);
}

static void follow_new(hid_t file, H5R_ref_t *news)
{
    int value = 0;
    CHECK(H5Rget_type(&news[0]) == H5R_OBJECT2 && H5Rget_type(&news[1]) == H5R_DATASET_REGION2);
    CHECK(H5Rget_type(&news[2]) == H5R_ATTR);
    is_set(file, H5Ropen_object(&news[0], H5P_DEFAULT, H5P_DEFAULT));
    is_set(file, H5Ropen_object(&news[1], H5P_DEFAULT, H5P_DEFAULT));
    is_part(H5Ropen_region(&news[1], H5P_DEFAULT, H5P_DEFAULT), 2);
    hid_t attribute = H5Ropen_attr(&news[2], H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT, &value) >= 0 && value == 42);
    CHECK(H5Aclose(attribute) >= 0);
}

static int is_null(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const char *)bytes)[i])
            return 0;
    return 1;
}

static void rows_of(hid_t group, row_t *rows, hid_t *type, hid_t *space)
{
    hid_t set = H5Dopen2(group, "rows", H5P_DEFAULT);
    *type = row_type();
    *space = H5Dget_space(set);
    memset(rows, 1, 2 * sizeof *rows);
    CHECK(H5Dread(set, *type, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) >= 0 && H5Dclose(set) >= 0);
    CHECK(!rows[0].name && !rows[0].regions.len && !rows[0].news.len && is_null(&rows[0].region, sizeof(hdset_reg_ref_t)));
    CHECK(strcmp(rows[1].name, "row") == 0 && rows[1].regions.len == 2 && rows[1].objects.len == 1 && rows[1].news.len == 3);
}

static void done_with(row_t *rows, hid_t type, hid_t space)
{
    CHECK(H5Treclaim(type, space, H5P_DEFAULT, rows) >= 0 && H5Tclose(type) >= 0 && H5Sclose(space) >= 0);
}

static void read_new(hid_t group, H5R_ref_t *sets, H5R_ref_t *attributes)
{
    hid_t set = H5Dopen2(group, "new", H5P_DEFAULT), attribute = H5Aopen(group, "new", H5P_DEFAULT);
    CHECK(H5Dread(set, H5T_STD_REF, H5S_ALL, H5S_ALL, H5P_DEFAULT, sets) >= 0);
    CHECK(H5Aread(attribute, H5T_STD_REF, attributes) >= 0);
    CHECK(H5Dclose(set) >= 0 && H5Aclose(attribute) >= 0);
}

/* Checks that all references in a group lead to the dataset, or its copy, in its file. If `deep`, also those in the
 * rows. */
static void leads(hid_t file, const char *name, int attributes_too, int deep)
{
    row_t rows[2];
    H5R_ref_t sets[3], attributes[3];
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT), type, space;
    CHECK(group >= 0);
    if (deep) {
        rows_of(group, rows, &type, &space);
        hdset_reg_ref_t *regions = rows[1].regions.p;
        follow_region(file, &rows[1].region, 0);
        follow_region(file, &regions[0], 1);
        follow_region(file, &regions[1], 3);
        is_set(file, H5Rdereference2(file, H5P_DEFAULT, H5R_OBJECT1, &rows[1].object));
        is_set(file, H5Rdereference2(file, H5P_DEFAULT, H5R_OBJECT1, rows[1].objects.p));
        follow_new(file, rows[1].news.p);
        done_with(rows, type, space);
    }
    read_new(group, sets, attributes);
    follow_new(file, sets);
    if (attributes_too)
        follow_new(file, attributes);
    for (int i = 0; i < 3; i++)
        CHECK(H5Rdestroy(&sets[i]) >= 0 && (H5Rdestroy(&attributes[i]) >= 0 || !attributes_too));
    CHECK(H5Gclose(group) >= 0);
}

/* Checks that no reference in a group leads to an object. */
static void leads_nowhere(hid_t file, const char *name, int deep)
{
    row_t rows[2];
    H5R_ref_t sets[3], attributes[3];
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT), type, space;
    if (deep) {
        rows_of(group, rows, &type, &space);
        CHECK(is_null(&rows[1].region, sizeof(hdset_reg_ref_t)) && is_null(rows[1].regions.p, 2 * sizeof(hdset_reg_ref_t)));
        CHECK(!rows[1].object && !*(hobj_ref_t *)rows[1].objects.p);
        CHECK(is_null(rows[1].news.p, 3 * sizeof(H5R_ref_t)));
        done_with(rows, type, space);
    }
    read_new(group, sets, attributes);
    CHECK(is_null(sets, sizeof sets) && is_null(attributes, sizeof attributes));
    CHECK(H5Gclose(group) >= 0);
}

static void copy(hid_t from, const char *source, hid_t to, const char *name, unsigned flags)
{
    hid_t list = H5Pcreate(H5P_OBJECT_COPY);
    CHECK(H5Pset_copy_object(list, flags) >= 0);
    CHECK(H5Ocopy(from, source, to, name, list, H5P_DEFAULT) >= 0 && H5Pclose(list) >= 0);
}

/* Native HDF5 copies old references in compounds and sequences unchanged, whatever they refer to in the other file:
 * their values are checked only with `deep`. */
static void between(hid_t from, hid_t to, int deep)
{
    copy(from, "g", to, "expanded", H5O_COPY_EXPAND_REFERENCE_FLAG);
    leads(to, "expanded", 1, deep);
    copy(from, "g", to, "plain", 0);
    leads_nowhere(to, "plain", deep);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    hid_t driver = H5Pcreate(H5P_FILE_ACCESS), latest = H5Pcreate(H5P_FILE_ACCESS);
    CHECK(H5Pset_fapl_stdio(driver) >= 0);
    CHECK(H5Pset_libver_bounds(driver, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0);
    CHECK(H5Pset_libver_bounds(latest, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0);
    hid_t one = H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, latest);
    hid_t other = H5Fcreate(argv[2], H5F_ACC_TRUNC, H5P_DEFAULT, latest);
    int deep = argc > 3;
    fill(one);
    leads(one, "g", 1, 1);
    if (deep) {
        /* The copy is within the file; native HDF5 cannot copy a dataset of new references within a file. */
        copy(one, "g", one, "again", 0);
        leads(one, "again", 1, 1);
        between(one, other, 1);
        hid_t native = H5Fcreate(argv[3], H5F_ACC_TRUNC, H5P_DEFAULT, driver);
        between(one, native, 1);
        fill(native);
        copy(native, "g", other, "from native", H5O_COPY_EXPAND_REFERENCE_FLAG);
        leads(other, "from native", 1, 1);
        copy(native, "g", other, "nulls from native", 0);
        leads_nowhere(other, "nulls from native", 1);
        CHECK(H5Fclose(native) >= 0);
        CHECK(H5Ldelete(one, "g", H5P_DEFAULT) >= 0);
    }
    CHECK(H5Fclose(one) >= 0 && H5Fclose(other) >= 0);
    one = H5Fopen(argv[1], H5F_ACC_RDONLY, latest);
    leads(one, deep ? "again" : "g", 1, 1);
    if (deep) {
        other = H5Fopen(argv[2], H5F_ACC_RDONLY, latest);
        leads(other, "expanded", 1, 1);
        leads(other, "from native", 1, 1);
        CHECK(H5Fclose(other) >= 0);
    }
    CHECK(H5Fclose(one) >= 0 && H5Pclose(driver) >= 0 && H5Pclose(latest) >= 0);
    return 0;
}

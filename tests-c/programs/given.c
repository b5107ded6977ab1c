/* Datatypes that H5Dget_type and H5Aget_type return, and attributes without elements, which fit any memory type: given FILE. */
#include "quiet.h"

#define DEF H5P_DEFAULT

/* The file that holds the objects of this test, and a dataset of a predefined type. */
static hid_t file, plain;

/* Changes that succeed on a datatype of this class unless it is read-only. */
static herr_t change(hid_t type)
{
    switch (H5Tget_class(type)) {
    case H5T_COMPOUND: return H5Tpack(type);
    case H5T_STRING: return H5Tset_strpad(type, H5T_STR_SPACEPAD);
    case H5T_OPAQUE: return H5Tset_tag(type, "other");
    case H5T_ENUM: case H5T_VLEN: case H5T_ARRAY: return -1; /* no change shows it for these classes */
    default: return H5Tset_size(type, 16);
    }
}

/* Types of datasets and attributes are read-only, as in native HDF5: they can be copied, closed and committed, but not changed. */
static void read_only(void)
{
    hid_t types[9], space = H5Screate(H5S_SCALAR), at = H5Gcreate2(file, "types", DEF, DEF, DEF);
    hsize_t three = 3;
    size_t count = 0;
    int two = 2;
    types[count++] = H5Tcopy(H5T_STD_I16BE);
    types[count++] = H5Tcopy(H5T_IEEE_F32LE);
    types[count] = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(types[count++], 9) >= 0);
    types[count] = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(types[count++], H5T_VARIABLE) >= 0);
    types[count] = H5Tcreate(H5T_COMPOUND, 12);
    CHECK(H5Tinsert(types[count], "a", 0, H5T_NATIVE_INT) >= 0 && H5Tinsert(types[count], "b", 8, H5T_NATIVE_INT) >= 0);
    types[++count] = H5Tenum_create(H5T_NATIVE_INT);
    CHECK(H5Tenum_insert(types[count++], "two", &two) >= 0);
    types[count] = H5Tcreate(H5T_OPAQUE, 5);
    CHECK(H5Tset_tag(types[count++], "tag") >= 0);
    types[count++] = H5Tarray_create2(H5T_NATIVE_INT, 1, &three);
    types[count++] = H5Tvlen_create(H5T_STD_REF_OBJ);
    for (size_t n = 0; n < count; n++) {
        char name[20];
        snprintf(name, sizeof name, "type%d", (int)n);
        hid_t set = H5Dcreate2(at, name, types[n], space, DEF, DEF, DEF), of_set = H5Acreate2(set, "a", types[n], space, DEF, DEF);
        const hid_t given[] = {H5Dget_type(set), H5Aget_type(of_set)};
        for (size_t m = 0; m < 2; m++) {
            CHECK(H5Tequal(given[m], types[n]) > 0 && H5Tcommitted(given[m]) == 0);
            QUIET(change(given[m]));
            CHECK(result < 0 && H5Tequal(given[m], types[n]) > 0);
            /* A copy can be changed, also one that H5Tcopy makes of a dataset's type. */
            const hid_t copies[] = {H5Tcopy(given[m]), m ? H5Tcopy(types[n]) : H5Tcopy(set)};
            for (size_t c = 0; c < 2; c++) {
                QUIET(change(copies[c]));
                H5T_class_t class = H5Tget_class(copies[c]);
                CHECK((result >= 0) == (class != H5T_ENUM && class != H5T_VLEN && class != H5T_ARRAY) && H5Tclose(copies[c]) >= 0);
            }
            strcat(name, "c");
            CHECK(H5Tcommit2(at, name, given[m], DEF, DEF, DEF) >= 0 && H5Tcommitted(given[m]) > 0 && H5Tclose(given[m]) >= 0);
        }
        CHECK(H5Aclose(of_set) >= 0 && H5Dclose(set) >= 0 && H5Tclose(types[n]) >= 0);
    }
    CHECK(H5Gclose(at) >= 0 && H5Sclose(space) >= 0);
}

/* A program may request any number of types: closed types leave no memory or identifiers behind. */
static void types_go(void)
{
    const hid_t all = H5F_OBJ_ALL;
    hid_t record = H5Tcreate(H5T_COMPOUND, 4), space = H5Screate(H5S_SCALAR), set;
    CHECK(H5Tinsert(record, "a", 0, H5T_NATIVE_INT) >= 0);
    CHECK((set = H5Dcreate2(file, "records", record, space, DEF, DEF, DEF)) >= 0 && H5Tclose(record) >= 0);
    CHECK(H5Tclose(H5Dget_type(set)) >= 0);
    const ssize_t before = H5Fget_obj_count(all, H5F_OBJ_DATATYPE);
    for (int n = 0; n < 1000; n++)
        CHECK(H5Tclose(H5Dget_type(set)) >= 0 && H5Tclose(H5Dget_type(plain)) >= 0);
    CHECK(H5Fget_obj_count(all, H5F_OBJ_DATATYPE) == before && H5Dclose(set) >= 0 && H5Sclose(space) >= 0);
}

/* Attributes without elements fit any memory type, because there is nothing to convert. Datasets without elements do not. */
static void no_elements(void)
{
    hsize_t none = 0;
    const hid_t spaces[] = {H5Screate(H5S_NULL), H5Screate_simple(1, &none, NULL)};
    const hid_t types[] = {H5T_NATIVE_INT, H5T_C_S1, H5T_STD_REF_OBJ, H5Tvlen_create(H5T_NATIVE_INT)};
    char buffer[64] = "untouched";
    for (size_t s = 0; s < 2; s++)
        for (size_t stored = 0; stored < 4; stored++) {
            hid_t one = H5Acreate2(plain, "none", types[stored], spaces[s], DEF, DEF);
            for (size_t memory = 0; memory < 4; memory++)
                CHECK(H5Awrite(one, types[memory], buffer) >= 0 && H5Aread(one, types[memory], buffer) >= 0);
            CHECK(H5Aclose(one) >= 0 && H5Adelete(plain, "none") >= 0);
        }
    hid_t set = H5Dcreate2(file, "none", H5T_NATIVE_INT, spaces[1], DEF, DEF, DEF);
    QUIET(H5Dread(set, H5T_C_S1, H5S_ALL, H5S_ALL, DEF, buffer));
    CHECK(result < 0 && strcmp(buffer, "untouched") == 0 && H5Dclose(set) >= 0 && H5Tclose(types[3]) >= 0);
    CHECK(H5Sclose(spaces[0]) >= 0 && H5Sclose(spaces[1]) >= 0);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    hid_t space = H5Screate(H5S_SCALAR);
    CHECK((file = H5Fcreate(arguments[1], H5F_ACC_TRUNC, DEF, DEF)) >= 0);
    CHECK((plain = H5Dcreate2(file, "plain", H5T_NATIVE_INT, space, DEF, DEF, DEF)) >= 0);
    read_only();
    types_go();
    no_elements();
    CHECK(H5Dclose(plain) >= 0 && H5Sclose(space) >= 0 && H5Fclose(file) >= 0);
    return 0;
}

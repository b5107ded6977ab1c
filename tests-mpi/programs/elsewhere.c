/* Elements that refer to data elsewhere in the file. Collective writes of such elements are rejected, because the data
 * would be visible only to the process that wrote it. Elements that contain their data are written, including object
 * references. */

#include "together.h"

static hid_t all_list;

static int is_refused(hid_t dataset, hid_t type, const void *value) {
    hsize_t one = 1, start = (hsize_t)rank;
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &one, NULL);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);
    herr_t done;
    H5E_BEGIN_TRY
    {
        done = H5Dwrite(dataset, type, memory, space, all_list, value);
    }
    H5E_END_TRY
    H5Sclose(memory);
    H5Sclose(space);
    return done < 0;
}

static hid_t make(hid_t file, const char *name, hid_t type) {
    hsize_t count = (hsize_t)size;
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Sclose(space) >= 0);
    return dataset;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    /* Native HDF5 accepts new references and rejects object references. */
    int is_native = !is_ours();
    hid_t file = create("elsewhere.h5");
    hid_t plain = make(file, "plain", H5T_STD_I32LE), space = H5Dget_space(plain);
    hsize_t start = (hsize_t)rank, one = 1;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &one, NULL) >= 0);

    hid_t text = H5Tcopy(H5T_C_S1);
    CHECK(H5Tset_size(text, H5T_VARIABLE) >= 0);
    const char *word = rank ? "another" : "one";
    hid_t texts = make(file, "texts", text);
    CHECK(is_refused(texts, text, &word) && H5Dclose(texts) >= 0 && H5Tclose(text) >= 0);

    hdset_reg_ref_t region;
    CHECK(H5Rcreate(&region, file, "plain", H5R_DATASET_REGION, space) >= 0);
    hid_t regions = make(file, "regions", H5T_STD_REF_DSETREG);
    CHECK(is_refused(regions, H5T_STD_REF_DSETREG, &region) && H5Dclose(regions) >= 0);

    H5R_ref_t reference;
    CHECK(H5Rcreate_region(file, "plain", space, H5P_DEFAULT, &reference) >= 0);
    hid_t references = make(file, "references", H5T_STD_REF);
    CHECK((is_native || is_refused(references, H5T_STD_REF, &reference)) && H5Dclose(references) >= 0);
    CHECK(H5Rdestroy(&reference) >= 0);

    hobj_ref_t object;
    CHECK(H5Rcreate(&object, file, "plain", H5R_OBJECT, -1) >= 0);
    hid_t objects = make(file, "objects", H5T_STD_REF_OBJ);
    CHECK((is_native || !is_refused(objects, H5T_STD_REF_OBJ, &object)) && H5Dclose(objects) >= 0);

    CHECK(!is_refused(plain, H5T_NATIVE_INT, &rank) && H5Sclose(space) >= 0 && H5Dclose(plain) >= 0);
    CHECK(H5Pclose(all_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

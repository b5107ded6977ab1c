/* Creates, uses and closes files and datasets repeatedly, and measures its own resident size.
 *     leaks FILE FILES DATASETS_EACH [MOST_GROWTH_KIB]
 * With a bound, fails if the size after the last file exceeds that after the first tenth of the files by more than the
 * bound. */
#include "check.h"
#include <unistd.h>

static long resident_kib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%*d %ld", &pages) == 1);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void one_dataset(hid_t file, int n)
{
    hsize_t size[2] = {20, 30}, most[2] = {H5S_UNLIMITED, 30}, chunk[2] = {7, 30}, grown[2] = {40, 30};
    static double data[1200];
    char name[32];
    hid_t space = H5Screate_simple(2, size, most), create = H5Pcreate(H5P_DATASET_CREATE);
    snprintf(name, sizeof name, "d%d", n);
    if (n % 2)
        CHECK(H5Pset_chunk(create, 2, chunk) >= 0);
    else
        space = (H5Sclose(space), H5Screate_simple(2, size, NULL));
    hid_t dataset = H5Dcreate2(file, name, H5T_IEEE_F32BE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    CHECK(dataset >= 0);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (n % 2)
        CHECK(H5Dset_extent(dataset, grown) >= 0);
    CHECK(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);

    hid_t scalar = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(dataset, "n", H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(H5Awrite(attribute, H5T_NATIVE_INT, &n) >= 0);
    hid_t type = H5Dget_type(dataset), read_space = H5Dget_space(dataset);
    CHECK(H5Tget_size(type) == 4 && H5Sget_simple_extent_ndims(read_space) == 2);
    CHECK(H5Tclose(type) >= 0 && H5Sclose(read_space) >= 0 && H5Aclose(attribute) >= 0);
    CHECK(H5Sclose(scalar) >= 0 && H5Dclose(dataset) >= 0 && H5Sclose(space) >= 0 && H5Pclose(create) >= 0);
}

static herr_t visitor(hid_t object, const char *name, const H5O_info2_t *info, void *count)
{
    (void)object, (void)name, (void)info;
    ++*(int *)count;
    return 0;
}

static void one_file(const char *path, int datasets)
{
    int visited = 0;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(file >= 0);
    hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(group >= 0 && H5Lcreate_soft("/group", group, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    for (int n = 0; n < datasets; n++)
        one_dataset(n % 3 ? file : group, n);
    CHECK(H5Gclose(group) >= 0 && H5Fclose(file) >= 0);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(file >= 0 && H5Ovisit3(file, H5_INDEX_NAME, H5_ITER_INC, visitor, &visited, H5O_INFO_BASIC) >= 0);
    CHECK(visited == datasets + 2);
    H5E_BEGIN_TRY
    { /* failing calls must not leak either */
        CHECK(H5Dopen2(file, "absent", H5P_DEFAULT) < 0);
        CHECK(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) < 0);
        CHECK(H5Fopen("/no/such/file", H5F_ACC_RDONLY, H5P_DEFAULT) < 0);
    }
    H5E_END_TRY
    CHECK(H5Ldelete(file, "group", H5P_DEFAULT) >= 0);
    CHECK(H5Fget_obj_count(file, H5F_OBJ_ALL) == 1 && H5Fclose(file) >= 0);
    CHECK(unlink(path) == 0);
}

/* Objects that are closed after their file: closing the last of them closes the file, while objects of another file
 * stay open. */
static void outlive_file(const char *path, const char *other_path)
{
    hid_t other = H5Fcreate(other_path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(other >= 0);
    one_dataset(other, 1);
    hid_t beside = H5Dopen2(other, "d1", H5P_DEFAULT);
    CHECK(beside >= 0);
    for (int last = 0; last < 3; last++) {
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        CHECK(file >= 0);
        one_dataset(file, 0);
        hid_t objects[3] = {H5Dopen2(file, "d0", H5P_DEFAULT), H5Gopen2(file, "/", H5P_DEFAULT),
                            H5Aopen_by_name(file, "d0", "n", H5P_DEFAULT, H5P_DEFAULT)};
        CHECK(H5Fclose(file) >= 0);
        for (int n = 1; n <= 3; n++)
            CHECK(H5Idec_ref(objects[(last + n) % 3]) >= 0);
    }
    CHECK(H5Fclose(other) >= 0 && H5Dclose(beside) >= 0);
    CHECK(unlink(path) == 0 && unlink(other_path) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 4);
    int files = atoi(argv[2]), datasets = atoi(argv[3]);
    long most = argc > 4 ? atol(argv[4]) : 0, early = 0;
    char other[4096];
    snprintf(other, sizeof other, "%s.other", argv[1]);
    outlive_file(argv[1], other);
    for (int n = 0; n < files; n++) {
        one_file(argv[1], datasets);
        if (n == files / 10)
            early = resident_kib();
    }
    long late = resident_kib();
    printf("resident: %ld KiB after a tenth, %ld KiB at the end\n", early, late);
    return most && late - early > most;
}

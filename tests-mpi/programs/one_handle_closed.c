/* Processes close one of two handles of a file and continue with the other one. They still change the file
 * collectively. */

#include "together.h"

/* Opens a second handle of a file. */
static hid_t open_again(hid_t file, const char *name, int reopens) {
    hid_t access = mpio(), again = reopens ? H5Freopen(file) : H5Fopen(name, H5F_ACC_RDWR, access);
    CHECK(again >= 0 && H5Pclose(access) >= 0);
    return again;
}

static void make_group(hid_t file, const char *name) {
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(group >= 0 && H5Gclose(group) >= 0);
}

static int opens_alone(const char *name, unsigned flags) {
    hid_t file;
    H5E_BEGIN_TRY { file = H5Fopen(name, flags, H5P_DEFAULT); }
    H5E_END_TRY
    CHECK(file < 0 || H5Fclose(file) >= 0);
    return file >= 0;
}

/* Intermediate groups of a link get the same object ids in all processes. */
static void make_on_the_way(hid_t file) {
    begin("a link behind new groups, and datasets");
    char name[64];
    hid_t list = H5Pcreate(H5P_LINK_CREATE);
    CHECK(H5Pset_create_intermediate_group(list, 1) >= 0);
    for (int n = 0; n < 3; n++) {
        snprintf(name, sizeof name, "/new %d/way/soft", n);
        CHECK(H5Lcreate_soft("/nowhere", file, name, list, H5P_DEFAULT) >= 0);
        snprintf(name, sizeof name, "/new %d/x", n);
        hid_t dataset = make_ints(file, name, (hsize_t)size, 0);
        CHECK(dataset >= 0);
        write_ints(dataset, H5P_DEFAULT, (hsize_t)rank, 1, 10 * n + rank);
        CHECK(H5Dclose(dataset) >= 0);
    }
    CHECK(H5Pclose(list) >= 0);
}

/* A process that opens the file independently does not commit what all processes have staged. */
static void open_beside(hid_t file, const char *name) {
    char group[64];
    for (int opener = 0; opener < size; opener++) {
        begin("one opens it by itself");
        snprintf(group, sizeof group, "beside %d", opener);
        make_group(file, group);
        barrier();
        CHECK(rank != opener || (!opens_alone(name, H5F_ACC_RDWR) && opens_alone(name, H5F_ACC_RDONLY)));
        barrier();
        CHECK(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    }
}

static void check_all(const char *name) {
    begin("all is there");
    if (rank == 0) {
        char path[64];
        hid_t file = H5Fopen(name, H5F_ACC_RDONLY, H5P_DEFAULT);
        CHECK(file >= 0);
        for (int n = 0; n < 3; n++) {
            snprintf(path, sizeof path, "/new %d/way/soft", n);
            CHECK(H5Lexists(file, path, H5P_DEFAULT) == 1);
            snprintf(path, sizeof path, "/new %d/x", n);
            hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
            for (int k = 0; k < size; k++)
                check_int(dataset, H5P_DEFAULT, (hsize_t)k, 10 * n + k);
            CHECK(H5Dclose(dataset) >= 0);
        }
        for (int n = 0; n < size && is_ours(); n++) {
            snprintf(path, sizeof path, "beside %d", n);
            CHECK(H5Lexists(file, path, H5P_DEFAULT) == 1);
        }
        CHECK(H5Fclose(file) >= 0);
    }
    barrier();
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int reopens = 0; reopens < 2; reopens++) {
        for (int closes_first = 0; closes_first < 2; closes_first++) {
            const char *name = "one-handle-closed.h5";
            begin(reopens ? "opened by H5Freopen" : "opened by H5Fopen");
            hid_t first = create(name), second = open_again(first, name, reopens);
            CHECK(H5Fclose(closes_first ? first : second) >= 0);
            hid_t file = closes_first ? second : first;
            make_on_the_way(file);
            if (is_ours())
                open_beside(file, name);
            CHECK(H5Fclose(file) >= 0);
            check_all(name);
        }
    }
    MPI_Finalize();
    return 0;
}

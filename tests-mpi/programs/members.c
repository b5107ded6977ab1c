/* Processes write different members of the same records one after the other. Each write retains the members that the
 * other processes wrote. */

#include "together.h"

#include <stddef.h>

enum { RECORDS = 6 };

struct record {
    int a, b;
};

static hid_t all_list, own_list, whole, one_of[2];

static hid_t make(hid_t file, const char *name) {
    hsize_t count = RECORDS;
    hid_t space = H5Screate_simple(1, &count, NULL);
    hid_t dataset = H5Dcreate2(file, name, whole, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(dataset >= 0 && H5Sclose(space) >= 0 && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    return dataset;
}

/* Writes one member of all records. In a collective call, the other processes write nothing. */
static void write_member(hid_t dataset, hid_t list, int member, int writes, int value) {
    int data[RECORDS];
    for (int n = 0; n < RECORDS; n++)
        data[n] = value + n;
    hid_t space = H5Dget_space(dataset);
    if (!writes)
        CHECK(H5Sselect_none(space) >= 0);
    CHECK(H5Dwrite(dataset, one_of[member], space, space, list, data) >= 0);
    CHECK(H5Sclose(space) >= 0);
}

static void check(hid_t dataset, int a, int b) {
    struct record data[RECORDS];
    CHECK(H5Dread(dataset, whole, H5S_ALL, H5S_ALL, all_list, data) >= 0);
    for (int n = 0; n < RECORDS; n++) {
        if (data[n].a != a + n || data[n].b != b + n)
            fprintf(stderr, "record %d: %d, %d and not %d, %d\n", n, data[n].a, data[n].b, a + n, b + n);
        CHECK(data[n].a == a + n && data[n].b == b + n);
    }
}

/* Process 0 writes the first member, and the last process writes the second member. */
static void in_turn(hid_t file, const char *name, hid_t list, int rounds) {
    begin(name);
    int is_own = list == own_list;
    hid_t dataset = make(file, name);
    for (int n = 1; n <= rounds; n++) {
        if (!is_own || rank == 0)
            write_member(dataset, list, 0, rank == 0, 10 * n);
        barrier();
        if (!is_own || rank == size - 1)
            write_member(dataset, list, 1, rank == size - 1, 1000 * n);
        barrier();
    }
    check(dataset, 10 * rounds, 1000 * rounds);
    CHECK(H5Dclose(dataset) >= 0);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    all_list = transfers(H5FD_MPIO_COLLECTIVE);
    own_list = transfers(H5FD_MPIO_INDEPENDENT);
    whole = H5Tcreate(H5T_COMPOUND, sizeof(struct record));
    CHECK(H5Tinsert(whole, "a", offsetof(struct record, a), H5T_NATIVE_INT) >= 0);
    CHECK(H5Tinsert(whole, "b", offsetof(struct record, b), H5T_NATIVE_INT) >= 0);
    for (int member = 0; member < 2; member++) {
        one_of[member] = H5Tcreate(H5T_COMPOUND, sizeof(int));
        CHECK(H5Tinsert(one_of[member], member ? "b" : "a", 0, H5T_NATIVE_INT) >= 0);
    }
    hid_t file = create("members.h5");
    in_turn(file, "once, each by itself", own_list, 1);
    in_turn(file, "each by itself", own_list, 15);
    in_turn(file, "once, in a call of all", all_list, 1);
    in_turn(file, "in a call of all", all_list, 15);
    begin("members by each, then by all");
    hid_t dataset = make(file, "mixed");
    for (int n = 1; n <= 9 && rank == 0; n++)
        write_member(dataset, own_list, 0, 1, n);
    barrier();
    write_member(dataset, all_list, 1, rank == size - 1, 70);
    check(dataset, 9, 70);
    CHECK(H5Dclose(dataset) >= 0 && H5Tclose(whole) >= 0 && H5Tclose(one_of[0]) >= 0 && H5Tclose(one_of[1]) >= 0);
    CHECK(H5Pclose(all_list) >= 0 && H5Pclose(own_list) >= 0 && H5Fclose(file) >= 0);
    MPI_Finalize();
    return 0;
}

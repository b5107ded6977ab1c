/* Unions of hyperslabs for which libhdf5 has wrong parameters are refused, and no element is transferred. Dataspaces
 * with another rank than their dataset: unions FILE [ours]. */
#include "quiet.h"

#define DEF H5P_DEFAULT
#define INT H5T_NATIVE_INT
#define EXTENT 24

static int ours, refused, all, next = 1;

typedef struct {
    hsize_t start, stride, count, block;
} Slab;

static hid_t row(hsize_t length)
{
    return H5Screate_simple(1, &length, NULL);
}

static hid_t front(hsize_t length)
{
    hsize_t start = 0;
    hid_t space = row(EXTENT);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &length, NULL) >= 0);
    return space;
}

static void add(hid_t space, H5S_seloper_t how, const Slab *slab)
{
    CHECK(H5Sselect_hyperslab(space, how, &slab->start, &slab->stride, &slab->count, &slab->block) >= 0);
}

static hid_t union_of(const Slab *first, const Slab *second)
{
    hid_t space = row(EXTENT);
    add(space, H5S_SELECT_SET, first);
    add(space, H5S_SELECT_OR, second);
    return space;
}

static void mark(const Slab *slab, int *selected)
{
    for (hsize_t i = 0; i < slab->count; i++)
        for (hsize_t j = 0; j < slab->block; j++)
            selected[slab->start + i * slab->stride + j] = 1;
}

/* Returns whether the parameters that libhdf5 has describe as many elements as it counts. */
static int is_sound(hid_t space)
{
    hsize_t start[2], stride[2], count[2], block[2], points = 1;
    int rank = H5Sget_simple_extent_ndims(space);
    CHECK(rank == 1 || rank == 2);
    if (H5Sis_regular_hyperslab(space) <= 0)
        return 1;
    CHECK(H5Sget_regular_hyperslab(space, start, stride, count, block) >= 0);
    for (int d = 0; d < rank; d++)
        points *= count[d] * block[d];
    return points == (hsize_t)H5Sget_select_npoints(space);
}

static void read_all(hid_t dataset, int *values)
{
    CHECK(H5Dread(dataset, INT, H5S_ALL, H5S_ALL, DEF, values) >= 0);
}

/* Uses the union as the selection in the file. */
static void in_file(hid_t dataset, hid_t space, const int *selected, int points, int sound)
{
    int before[EXTENT], after[EXTENT], given[EXTENT], found[EXTENT], n = 0;
    hid_t memory = row((hsize_t)points);
    read_all(dataset, before);
    for (int i = 0; i < points; i++)
        given[i] = next++;
    QUIET(H5Dwrite(dataset, INT, memory, space, DEF, given));
    CHECK((result >= 0) == sound);
    read_all(dataset, after);
    for (int i = 0; i < EXTENT; i++) {
        int is_written = sound && selected[i];
        CHECK(after[i] == (is_written ? given[n] : before[i]));
        n += is_written;
    }
    QUIET(H5Dread(dataset, INT, memory, space, DEF, found));
    CHECK((result >= 0) == sound);
    CHECK(!sound || memcmp(found, given, (size_t)points * sizeof *found) == 0);
    CHECK(H5Sclose(memory) >= 0);
}

/* Uses the union as the selection in memory. Memory after the buffer's extent is not touched either. */
static void in_memory(hid_t dataset, hid_t space, const int *selected, int points, int sound)
{
    int values[EXTENT], found[4 * EXTENT], n = 0;
    hid_t first = front((hsize_t)points);
    read_all(dataset, values);
    for (int i = 0; i < 4 * EXTENT; i++)
        found[i] = -1;
    QUIET(H5Dread(dataset, INT, space, first, DEF, found));
    CHECK((result >= 0) == sound);
    for (int i = 0; i < 4 * EXTENT; i++) {
        int is_read = sound && i < EXTENT && selected[i];
        CHECK(found[i] == (is_read ? values[n] : -1));
        n += is_read;
    }
    CHECK(H5Sclose(first) >= 0);
}

static void try_union(hid_t dataset, const Slab *first, const Slab *second)
{
    int selected[EXTENT] = {0}, points = 0;
    hid_t space = union_of(first, second);
    int sound = is_sound(space);
    all++, refused += !sound;
    mark(first, selected);
    mark(second, selected);
    for (int i = 0; i < EXTENT; i++)
        points += selected[i];
    CHECK(points == (int)H5Sget_select_npoints(space));
    /* Native HDF5 transfers wrong elements then, also some outside the dataset. */
    if (sound || ours) {
        in_file(dataset, space, selected, points, sound);
        in_memory(dataset, space, selected, points, sound);
    }
    CHECK(H5Sclose(space) >= 0);
}

/* Lists all regular hyperslabs in a few elements. */
static size_t slabs(Slab *list, hsize_t most)
{
    size_t n = 0;
    for (hsize_t start = 0; start < 6; start++)
        for (hsize_t stride = 1; stride < 4; stride++)
            for (hsize_t count = 1; count <= most; count++)
                for (hsize_t block = 1; block <= stride; block++)
                    list[n++] = (Slab){start, stride, count, block};
    return n;
}

static void unions(hid_t file)
{
    static Slab first[200], second[200];
    size_t firsts = slabs(first, 3), seconds = slabs(second, 4);
    hsize_t chunk = 5;
    hid_t space = row(EXTENT), list = H5Pcreate(H5P_DATASET_CREATE), sets[2];
    CHECK(H5Pset_chunk(list, 1, &chunk) >= 0);
    sets[0] = H5Dcreate2(file, "row", INT, space, DEF, DEF, DEF);
    sets[1] = H5Dcreate2(file, "chunks", INT, space, DEF, list, DEF);
    CHECK(sets[0] >= 0 && sets[1] >= 0);
    for (size_t i = 0; i < firsts; i++)
        for (size_t j = 0; j < seconds; j++)
            try_union(sets[(i + j) % 2], &first[i], &second[j]);
    CHECK(H5Dclose(sets[0]) >= 0 && H5Dclose(sets[1]) >= 0 && H5Pclose(list) >= 0 && H5Sclose(space) >= 0);
}

/* Selects columns 0 and 2, and then columns 0, 2 and 4. */
static void two_dimensions(hid_t file)
{
    hsize_t sizes[] = {2, 8}, start[] = {0, 0}, stride[] = {1, 2}, count[] = {2, 2}, points = 6;
    int given[] = {1, 2, 3, 4, 5, 6}, found[16], n = 0;
    hid_t space = H5Screate_simple(2, sizes, NULL), memory = row(points);
    hid_t dataset = H5Dcreate2(file, "two", INT, space, DEF, DEF, DEF);
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL) >= 0);
    count[1] = 3;
    CHECK(H5Sselect_hyperslab(space, H5S_SELECT_OR, start, stride, count, NULL) >= 0);
    int sound = is_sound(space);
    if (sound || ours) {
        QUIET(H5Dwrite(dataset, INT, memory, space, DEF, given));
        CHECK((result >= 0) == sound);
        read_all(dataset, found);
        for (int i = 0; i < 16; i++) {
            int is_written = sound && i % 2 == 0 && i % 8 < 6;
            CHECK(found[i] == (is_written ? given[n] : 0));
            n += is_written;
        }
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Sclose(space) >= 0 && H5Sclose(memory) >= 0);
}

/* A virtual dataset would show other elements than were mapped. */
static void mapped(hid_t file)
{
    const Slab two = {0, 2, 2, 1}, three = {0, 2, 3, 1};
    hid_t space = union_of(&two, &three), whole = row(EXTENT), source = row(3), list = H5Pcreate(H5P_DATASET_CREATE);
    if (ours && !is_sound(space)) {
        CHECK(H5Pset_virtual(list, space, "sources.h5", "source", source) >= 0);
        QUIET(H5Dcreate2(file, "mapped", INT, whole, DEF, list, DEF));
        CHECK(result < 0 && H5Lexists(file, "mapped", DEF) == 0);
    }
    CHECK(H5Sclose(space) >= 0 && H5Sclose(whole) >= 0 && H5Sclose(source) >= 0 && H5Pclose(list) >= 0);
}

static hid_t grid(hsize_t rows, hsize_t columns)
{
    hsize_t sizes[] = {rows, columns};
    return H5Screate_simple(2, sizes, NULL);
}

/* One element is transferred, whatever the rank of its dataspace. */
static void one_element(hid_t file, hid_t list, const char *name)
{
    int value = next++, found = 0;
    hid_t scalar = H5Screate(H5S_SCALAR), one = row(1), dataset = H5Dcreate2(file, name, INT, scalar, DEF, list, DEF);
    CHECK(H5Dwrite(dataset, INT, one, one, DEF, &value) >= 0);
    CHECK(H5Dread(dataset, INT, H5S_ALL, H5S_ALL, DEF, &found) >= 0 && found == value);
    found = 0;
    CHECK(H5Dread(dataset, INT, one, one, DEF, &found) >= 0 && found == value && H5Dclose(dataset) >= 0);
    CHECK(H5Sclose(scalar) >= 0 && H5Sclose(one) >= 0);
}

/* Selections of equal size and different shape are transferred in order, if the elements form one sequence. */
static void other_shape(hid_t file, hid_t list, const char *name)
{
    int given[] = {1, 2, 3, 4, 5, 6}, column[] = {20, 50}, found[6] = {0};
    hsize_t start[] = {0, 1}, count[] = {2, 1};
    hid_t six = row(6), two = row(2), shape = grid(2, 3), part = grid(2, 3), fewer = grid(2, 2);
    hid_t dataset = H5Dcreate2(file, name, INT, six, DEF, list, DEF);
    CHECK(H5Sselect_hyperslab(part, H5S_SELECT_SET, start, NULL, count, NULL) >= 0);
    CHECK(H5Dwrite(dataset, INT, shape, shape, DEF, given) >= 0);
    read_all(dataset, found);
    CHECK(memcmp(found, given, sizeof given) == 0);
    CHECK(H5Dwrite(dataset, INT, two, part, DEF, column) >= 0);
    given[1] = 20, given[4] = 50;
    read_all(dataset, found);
    CHECK(memcmp(found, given, sizeof given) == 0);
    CHECK(H5Dread(dataset, INT, two, part, DEF, found) >= 0 && found[0] == 20 && found[1] == 50);
    if (ours) {
        QUIET(H5Dwrite(dataset, INT, fewer, fewer, DEF, given));
        CHECK(result < 0);
    }
    CHECK(H5Dclose(dataset) >= 0 && H5Sclose(six) >= 0 && H5Sclose(two) >= 0 && H5Sclose(shape) >= 0);
    CHECK(H5Sclose(part) >= 0 && H5Sclose(fewer) >= 0);
}

/* Native HDF5 transfers wrong elements of chunks. */
static void chunks_of_other_shape(hid_t file)
{
    int given[] = {1, 2, 3, 4, 5, 6}, found[6];
    hsize_t chunk = 2;
    hid_t six = row(6), shape = grid(2, 3), list = H5Pcreate(H5P_DATASET_CREATE), dataset;
    CHECK(H5Pset_chunk(list, 1, &chunk) >= 0 && (dataset = H5Dcreate2(file, "pieces", INT, six, DEF, list, DEF)) >= 0);
    QUIET(H5Dwrite(dataset, INT, shape, shape, DEF, given));
    CHECK(result < 0);
    read_all(dataset, found);
    for (int i = 0; i < 6; i++)
        CHECK(found[i] == 0);
    CHECK(H5Dclose(dataset) >= 0 && H5Pclose(list) >= 0 && H5Sclose(six) >= 0 && H5Sclose(shape) >= 0);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    ours = argc > 2;
    hid_t file = H5Fcreate(argv[1], H5F_ACC_TRUNC, DEF, DEF), compact = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(file >= 0 && H5Pset_layout(compact, H5D_COMPACT) >= 0);
    unions(file);
    two_dimensions(file);
    mapped(file);
    one_element(file, DEF, "one");
    one_element(file, compact, "small one");
    other_shape(file, DEF, "six");
    other_shape(file, compact, "small six");
    if (ours)
        chunks_of_other_shape(file);
    CHECK(H5Pclose(compact) >= 0 && H5Fclose(file) >= 0);
    printf("of %d unions, libhdf5 holds %d with wrong parameters\n", all, refused);
    return 0;
}

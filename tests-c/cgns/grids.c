/* CGNS files with links to other files: grids write|read FOLDER. The grid of one zone is behind a link to another file, and the grid
 * of another zone is behind a link within the file. */
#include <cgnslib.h>
#include <cgns_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N 5

#define CHECK(what)                                                                                           \
    do {                                                                                                      \
        if (!(what)) {                                                                                        \
            fprintf(stderr, "%s:%d: not true: %s (%s)\n", __FILE__, __LINE__, #what, cg_get_error());         \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

static const char *const AXES[] = {"CoordinateX", "CoordinateY", "CoordinateZ"};

static int open_file(const char *name, int mode)
{
    int file;
    CHECK(cg_open(name, mode, &file) == CG_OK);
    return file;
}

/* Creates a zone without coordinates, and its base if that does not exist yet. */
static int new_zone(int file, int *base, const char *name)
{
    const cgsize_t size[9] = {N, N, N, N - 1, N - 1, N - 1};
    int zone;
    if (!*base)
        CHECK(cg_base_write(file, "Base", 3, 3, base) == CG_OK);
    CHECK(cg_zone_write(file, *base, name, size, CGNS_ENUMV(Structured), &zone) == CG_OK);
    return zone;
}

static float value(int axis, int n) { return (float)(1000 * axis + n); }

static void write_grid(int file, int base, int zone)
{
    float values[N * N * N];
    int coordinate;
    for (int axis = 0; axis < 3; axis++) {
        for (int n = 0; n < N * N * N; n++)
            values[n] = value(axis, n);
        CHECK(cg_coord_write(file, base, zone, CGNS_ENUMV(RealSingle), AXES[axis], values, &coordinate) == CG_OK);
    }
}

static void write_files(void)
{
    int base = 0, file = open_file("part.cgns", CG_MODE_WRITE), zone = new_zone(file, &base, "Zone");
    write_grid(file, base, zone);
    CHECK(cg_close(file) == CG_OK);
    base = 0, file = open_file("whole.cgns", CG_MODE_WRITE), zone = new_zone(file, &base, "Far");
    CHECK(cg_goto(file, base, "Zone_t", zone, "end") == CG_OK);
    CHECK(cg_link_write("GridCoordinates", "part.cgns", "/Base/Zone/GridCoordinates") == CG_OK);
    write_grid(file, base, new_zone(file, &base, "Own"));
    zone = new_zone(file, &base, "Same");
    CHECK(cg_goto(file, base, "Zone_t", zone, "end") == CG_OK);
    CHECK(cg_link_write("GridCoordinates", "", "/Base/Own/GridCoordinates") == CG_OK && cg_close(file) == CG_OK);
}

static void read_links(void)
{
    int io, is_link, file_length, path_length;
    double root, node;
    char file[CGIO_MAX_FILE_LENGTH + 1], path[CGIO_MAX_LINK_LENGTH + 1];
    CHECK(cgio_open_file("whole.cgns", CGIO_MODE_READ, CGIO_FILE_NONE, &io) == 0 && cgio_get_root_id(io, &root) == 0);
    CHECK(cgio_get_node_id(io, root, "/Base/Far/GridCoordinates", &node) == 0);
    CHECK(cgio_is_link(io, node, &is_link) == 0 && is_link && cgio_link_size(io, node, &file_length, &path_length) == 0);
    CHECK(file_length > 0 && path_length > 0 && cgio_get_link(io, node, file, path) == 0 && strcmp(file, "part.cgns") == 0);
    CHECK(strcmp(path, "/Base/Zone/GridCoordinates") == 0 && cgio_close_file(io) == 0);
}

static void read_files(void)
{
    int count, file = open_file("whole.cgns", CG_MODE_READ);
    CHECK(cg_nzones(file, 1, &count) == CG_OK && count == 3);
    for (int zone = 1; zone <= 3; zone++) {
        const cgsize_t first[] = {1, 1, 1}, last[] = {N, N, N};
        float values[N * N * N];
        CHECK(cg_ncoords(file, 1, zone, &count) == CG_OK && count == 3);
        for (int axis = 0; axis < 3; axis++) {
            CHECK(cg_coord_read(file, 1, zone, AXES[axis], CGNS_ENUMV(RealSingle), first, last, values) == CG_OK);
            for (int n = 0; n < N * N * N; n++)
                CHECK(values[n] == value(axis, n));
        }
    }
    CHECK(cg_close(file) == CG_OK);
    read_links();
}

int main(int count, char **arguments)
{
    CHECK(count == 3 && chdir(arguments[2]) == 0 && cg_set_file_type(CG_FILE_HDF5) == CG_OK);
    if (strcmp(arguments[1], "write") == 0)
        write_files();
    else
        read_files();
    return 0;
}

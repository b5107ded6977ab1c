/* Creates the file argv[1], opens it again, and prints the name of the file's connector each time. Uses the default
 * access list, as any program would: so the output shows what the environment selected. */
#include <hdf5.h>
#include <stdio.h>

static int say(hid_t file, const char *when)
{
    char name[256];
    if (file < 0 || H5VLget_connector_name(file, name, sizeof name) < 0) {
        fprintf(stderr, "probe: cannot %s the file\n", when);
        return 1;
    }
    printf("%s: %s\n", when, name);
    return H5Fclose(file) < 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: probe FILE\n");
        return 2;
    }
    if (say(H5Fcreate(argv[1], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), "create"))
        return 1;
    return say(H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT), "open");
}

/* Shared by the programs: a check that prints where it failed and exits. */
#ifndef CHECK_H
#define CHECK_H

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                                                           \
    do {                                                                                                      \
        if (!(what)) {                                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);                              \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

#endif

/* Calls that may fail: returns their result without printing HDF5's error stack on stderr. */
#ifndef QUIET_H
#define QUIET_H

#include "check.h"

static long long result;

#define QUIET(what)                                                                                                          \
    do {                                                                                                                     \
        H5E_BEGIN_TRY                                                                                                        \
        {                                                                                                                    \
            result = (long long)(what);                                                                                      \
        }                                                                                                                    \
        H5E_END_TRY                                                                                                          \
    } while (0)

#endif

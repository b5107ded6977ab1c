/* Parts of the libraries to preload: they replace functions of the C library. */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>

typedef int (*fcntl_function)(int file, int command, ...);

/* Replaces `name`, which is fcntl or fcntl64, by a function that also gets the replaced one:
 * `int by(fcntl_function real, int file, int command, void *argument)`. */
#define REPLACE_FCNTL(name, by)                                                                                        \
    int name(int file, int command, ...)                                                                               \
    {                                                                                                                  \
        va_list list;                                                                                                  \
        va_start(list, command);                                                                                       \
        void *argument = va_arg(list, void *);                                                                         \
        va_end(list);                                                                                                  \
        static fcntl_function real;                                                                                    \
        if (!real)                                                                                                     \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                 \
        return by(real, file, command, argument);                                                                      \
    }

#endif

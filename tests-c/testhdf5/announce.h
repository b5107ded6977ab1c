/* Included in every source of HDF5's testhdf5. build.py has replaced the calls of test functions by ANNOUNCED(name,
 * call): see announce.c. */
int  announced_begin(const char *name);
void announced_end(const char *name);

#define ANNOUNCED(name, call)                                                                                          \
    do {                                                                                                               \
        if (announced_begin(#name)) {                                                                                  \
            call;                                                                                                      \
            announced_end(#name);                                                                                      \
        }                                                                                                              \
    } while (0)

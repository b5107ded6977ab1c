/* Everything of HDF5 that a VOL connector may name. */
#include "hdf5.h"
#include "H5PLextern.h"
#include "H5VLconnector.h"
#include "H5VLconnector_passthru.h"
#include "H5VLnative.h"
#include "H5FDdevelop.h"
#include "H5Idevelop.h"
#include "H5Ldevelop.h"
#include "H5Tdevelop.h"
#include "H5Zdevelop.h"

/* These macros call H5open() or H5check_version() first; a constant cannot. */
#undef H5CHECK
#define H5CHECK
#undef H5OPEN
#define H5OPEN

/*
 * Macros whose value has a cast or a call in it are no integer literal for the
 * bindings generator, so each is turned into a typed constant of the same name.
 */
#define TYPED(type, name) static const type typed_##name = name;
TYPED(hid_t, H5P_DEFAULT)
TYPED(hid_t, H5S_ALL)
TYPED(hid_t, H5S_BLOCK)
TYPED(hid_t, H5S_PLIST)
TYPED(hid_t, H5I_INVALID_HID)
TYPED(hid_t, H5E_DEFAULT)
TYPED(hid_t, H5ES_NONE)
TYPED(unsigned, H5F_ACC_RDONLY)
TYPED(unsigned, H5F_ACC_RDWR)
TYPED(unsigned, H5F_ACC_TRUNC)
TYPED(unsigned, H5F_ACC_EXCL)
TYPED(unsigned, H5F_ACC_CREAT)
TYPED(unsigned, H5F_ACC_SWMR_WRITE)
TYPED(unsigned, H5F_ACC_SWMR_READ)
TYPED(unsigned, H5F_ACC_DEFAULT)
TYPED(unsigned, H5F_OBJ_FILE)
TYPED(unsigned, H5F_OBJ_DATASET)
TYPED(unsigned, H5F_OBJ_GROUP)
TYPED(unsigned, H5F_OBJ_DATATYPE)
TYPED(unsigned, H5F_OBJ_ATTR)
TYPED(unsigned, H5F_OBJ_ALL)
TYPED(unsigned, H5F_OBJ_LOCAL)
TYPED(hsize_t, H5F_FAMILY_DEFAULT)
TYPED(unsigned, H5O_INFO_ALL)
TYPED(double, H5D_CHUNK_CACHE_W0_DEFAULT)
TYPED(int, H5Z_FILTER_ERROR)

/* bindgen does not evaluate constants above INT64_MAX: these travel as their bits. */
#define BITS(type, name) static const long long bits_##type##_as_##name = (long long)(name);
BITS(hsize_t, HSIZE_UNDEF)
BITS(hsize_t, H5S_UNLIMITED)
BITS(haddr_t, HADDR_UNDEF)
BITS(haddr_t, HADDR_MAX)
BITS(size_t, H5T_VARIABLE)
BITS(size_t, H5D_CHUNK_CACHE_NSLOTS_DEFAULT)
BITS(size_t, H5D_CHUNK_CACHE_NBYTES_DEFAULT)

//! The capabilities of the connector.

use h5lake_plugin_abi::bindings as sys;

/// The supported features (`H5VL_CAP_FLAG_*`): a feature with a missing flag is answered with an error.
pub const CAPABILITIES: u64 = sys::H5VL_CAP_FLAG_ATTR_BASIC
    | sys::H5VL_CAP_FLAG_ATTR_MORE
    | sys::H5VL_CAP_FLAG_DATASET_BASIC
    | sys::H5VL_CAP_FLAG_DATASET_MORE
    | sys::H5VL_CAP_FLAG_FILE_BASIC
    | sys::H5VL_CAP_FLAG_FILE_MORE
    | sys::H5VL_CAP_FLAG_GROUP_BASIC
    | sys::H5VL_CAP_FLAG_GROUP_MORE
    | sys::H5VL_CAP_FLAG_LINK_BASIC
    | sys::H5VL_CAP_FLAG_LINK_MORE
    | sys::H5VL_CAP_FLAG_OBJECT_BASIC
    | sys::H5VL_CAP_FLAG_OBJECT_MORE
    | sys::H5VL_CAP_FLAG_REF_BASIC
    | sys::H5VL_CAP_FLAG_REF_MORE
    | sys::H5VL_CAP_FLAG_OBJ_REF
    | sys::H5VL_CAP_FLAG_REG_REF
    | sys::H5VL_CAP_FLAG_ATTR_REF
    | sys::H5VL_CAP_FLAG_STORED_DATATYPES
    | sys::H5VL_CAP_FLAG_CREATION_ORDER
    | sys::H5VL_CAP_FLAG_ITERATE
    | sys::H5VL_CAP_FLAG_STORAGE_SIZE
    | sys::H5VL_CAP_FLAG_BY_IDX
    | sys::H5VL_CAP_FLAG_GET_PLIST
    | sys::H5VL_CAP_FLAG_FLUSH_REFRESH
    | sys::H5VL_CAP_FLAG_EXTERNAL_LINKS
    | sys::H5VL_CAP_FLAG_HARD_LINKS
    | sys::H5VL_CAP_FLAG_UD_LINKS
    | sys::H5VL_CAP_FLAG_MOUNT
    | sys::H5VL_CAP_FLAG_SOFT_LINKS
    | sys::H5VL_CAP_FLAG_TRACK_TIMES
    | sys::H5VL_CAP_FLAG_FILTERS
    | sys::H5VL_CAP_FLAG_FILL_VALUES;

/* Tags that HDF5 gives no type name of their own; the bindings know them by the tag. */
typedef struct H5VL_loc_by_idx   H5VL_loc_by_idx;
typedef struct H5VL_loc_by_name  H5VL_loc_by_name;
typedef struct H5VL_loc_by_token H5VL_loc_by_token;
typedef enum H5C_cache_decr_mode       H5C_cache_decr_mode;
typedef enum H5C_cache_flash_incr_mode H5C_cache_flash_incr_mode;
typedef enum H5C_cache_incr_mode       H5C_cache_incr_mode;

/* The declarations for HDF5 2.x in plugin-abi; printed only with the headers of that line. */
#if H5_VERSION_GE(2, 0, 0)
#define V2_FIELD(t, f) printf("v2 field %s.%s %zu\n", #t, #f, offsetof(t, f));

static void
newer(void)
{
    printf("v2 value H5T_COMPLEX %d\n", (int)H5T_COMPLEX);
    printf("v2 value H5F_LIBVER_V200 %d\n", (int)H5F_LIBVER_V200);
    printf("v2 type H5VL_native_dataset_chunk_read_t %zu\n", sizeof(H5VL_native_dataset_chunk_read_t));
    V2_FIELD(H5VL_native_dataset_chunk_read_t, offset)
    V2_FIELD(H5VL_native_dataset_chunk_read_t, filters)
    V2_FIELD(H5VL_native_dataset_chunk_read_t, buf)
    V2_FIELD(H5VL_native_dataset_chunk_read_t, buf_size)
    printf("v2 type H5VL_native_dataset_chunk_write_t %zu\n", sizeof(H5VL_native_dataset_chunk_write_t));
    V2_FIELD(H5VL_native_dataset_chunk_write_t, offset)
    V2_FIELD(H5VL_native_dataset_chunk_write_t, filters)
    V2_FIELD(H5VL_native_dataset_chunk_write_t, size)
    V2_FIELD(H5VL_native_dataset_chunk_write_t, buf)
}
#else
static void
newer(void)
{
}
#endif

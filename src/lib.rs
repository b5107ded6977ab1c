//! The plugin: what HDF5 looks up by name in the shared library, and nothing else.

h5lake_plugin_abi::export_plugin!(h5lake_connector::class_for, c"h5lake", 496);

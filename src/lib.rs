//! The plugin: what HDF5 and h5lake's Python module look up by name in the shared library, and nothing else.

h5lake_plugin_abi::export_plugin!(h5lake_connector::class_for, c"h5lake", 496);
h5lake_plugin_abi::export_check!(h5lake_check_settings, h5lake_connector::config::check);
h5lake_plugin_abi::export_check!(h5lake_set_message, h5lake_connector::config::set_message);
h5lake_reader::export_api!(h5lake_reader_api);

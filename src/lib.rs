//! The plugin: what HDF5 looks up by name in the shared library, and nothing else.

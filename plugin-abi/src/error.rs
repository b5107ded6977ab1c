//! Errors of binding a libhdf5.

/// The reason why no symbol table could be made for the library that loaded the plugin.
///
/// The entry point of the plugin stores the error. The behaviour of a library without the connector depends on its version
/// (docs/design/003-plugin-discovery.md).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in no loaded object, so the calling library is unknown.
    #[error("no loaded library or program holds the calling address {address:#x}")]
    NoObject {
        /// The address that was looked up.
        address: usize,
    },
    /// The object was found, but the dynamic linker returns no handle of it.
    #[error("cannot get a handle of {library}: {reason}")]
    NoHandle {
        /// The path of the object, or `the main program`.
        library: String,
        /// The message of the dynamic linker.
        reason: String,
    },
    /// A library could not be loaded.
    #[error("{library} cannot be loaded: {reason}")]
    NotLoaded {
        /// The path or name of the library.
        library: String,
        /// The message of the dynamic linker.
        reason: String,
    },
    /// A library that was loaded is not a libhdf5.
    #[error("{library} exports no HDF5 functions")]
    NotHdf5 {
        /// The path or name of the library.
        library: String,
    },
    /// The object does not export the symbols of libhdf5, as is the default for a program that is linked with a static libhdf5.
    #[error(
        "{library} asked for the plugin but exports no HDF5 functions: a program with a statically linked HDF5 \
         must be linked with -rdynamic (--export-dynamic)"
    )]
    NotExported {
        /// The path of the object, or `the main program`.
        library: String,
    },
    /// A function or data symbol that the connector requires is missing.
    #[error("{library} (HDF5 {version}) does not export {symbol}, which the connector needs")]
    MissingSymbol {
        /// The path of the library.
        library: String,
        /// The library's version, `a.b.c`.
        version: String,
        /// The C name of the symbol.
        symbol: String,
    },
    /// `H5_lib_vers_info_g` does not contain a version.
    #[error("{library} gives no version that can be read: H5_lib_vers_info_g is {text:?}")]
    UnreadableVersion {
        /// The path of the library.
        library: String,
        /// The content of the data symbol.
        text: String,
    },
    /// The library is older than the plugin interface of the connector. It may export no symbols.
    #[error("{library} has HDF5 {version}: the connector needs 1.14.0 or newer")]
    TooOld {
        /// The path of the library.
        library: String,
        /// The library's version, `a.b.c`.
        version: String,
    },
    /// The number of different libraries that loaded the plugin in one process exceeds the number of slots.
    #[error("{library} is one libhdf5 too many: the connector serves {max} in one process")]
    TooMany {
        /// The path of the library.
        library: String,
        /// The number of slots.
        max: usize,
    },
    /// The plugin could not pin itself in memory.
    #[error("cannot keep the plugin {library} loaded: {reason}")]
    NotPinned {
        /// The path of the plugin.
        library: String,
        /// The message of the dynamic linker.
        reason: String,
    },
    /// The code of the connector panicked while it made its class. This is a defect to report.
    #[error("the plugin failed while it was loaded; please report this")]
    Panicked,
}

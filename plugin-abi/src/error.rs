//! Why a libhdf5 cannot be bound.

/// Why no symbol table could be made for the library that loaded the plugin.
///
/// The plugin's entry point keeps the error. What the library does without the connector is its version's own
/// (docs/design/003-plugin-discovery.md).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address belongs to no loaded object, so nobody knows which library called.
    #[error("no loaded library or program holds the calling address {address:#x}")]
    NoObject {
        /// The address that was asked for.
        address: usize,
    },
    /// The object was found, but the dynamic linker gives no handle for it.
    #[error("cannot get a handle of {library}: {reason}")]
    NoHandle {
        /// Path of the object, or `the main program`.
        library: String,
        /// The dynamic linker's own words.
        reason: String,
    },
    /// A library that was to be loaded cannot be.
    #[error("{library} cannot be loaded: {reason}")]
    NotLoaded {
        /// Path or name of the library.
        library: String,
        /// The dynamic linker's own words.
        reason: String,
    },
    /// A library that was to be loaded is no libhdf5.
    #[error("{library} exports no HDF5 functions")]
    NotHdf5 {
        /// Path or name of the library.
        library: String,
    },
    /// The object exports no libhdf5, as a program linked with a static libhdf5 does not by default.
    #[error(
        "{library} asked for the plugin but exports no HDF5 functions: a program with a statically linked HDF5 \
         must be linked with -rdynamic (--export-dynamic)"
    )]
    NotExported {
        /// Path of the object, or `the main program`.
        library: String,
    },
    /// A function or data symbol that the connector cannot do without is missing.
    #[error("{library} (HDF5 {version}) does not export {symbol}, which the connector needs")]
    MissingSymbol {
        /// Path of the library.
        library: String,
        /// The library's version, `a.b.c`.
        version: String,
        /// C name of the symbol.
        symbol: String,
    },
    /// `H5_lib_vers_info_g` does not say a version.
    #[error("{library} gives no version that can be read: H5_lib_vers_info_g is {text:?}")]
    UnreadableVersion {
        /// Path of the library.
        library: String,
        /// What the data symbol holds.
        text: String,
    },
    /// The library is older than the plugin interface that the connector speaks. It may show no symbols.
    #[error("{library} has HDF5 {version}: the connector needs 1.14.0 or newer")]
    TooOld {
        /// Path of the library.
        library: String,
        /// The library's version, `a.b.c`.
        version: String,
    },
    /// More different libraries than slots asked for the plugin in one process.
    #[error("{library} is one libhdf5 too many: the connector serves {max} in one process")]
    TooMany {
        /// Path of the library.
        library: String,
        /// Number of slots.
        max: usize,
    },
    /// The plugin could not pin itself in memory.
    #[error("cannot keep the plugin {library} loaded: {reason}")]
    NotPinned {
        /// Path of the plugin.
        library: String,
        /// The dynamic linker's own words.
        reason: String,
    },
    /// The connector's own code failed while it was asked for its class; a defect to report.
    #[error("the plugin failed while it was loaded; please report this")]
    Panicked,
}

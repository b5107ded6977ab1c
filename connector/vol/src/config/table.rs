//! The table of all settings, for errors, the tool and the documentation. docs/settings.md has the same table
//! (cli/tests/settings.rs compares them).

/// One setting: `KEY=value` in the connector string, or the variable `H5LAKE_KEY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The setting's name in the connector string.
    pub key: &'static str,
    /// The values that the setting accepts.
    pub values: &'static str,
    /// The value that applies without the setting.
    pub default: &'static str,
    /// The meaning of the setting.
    pub meaning: &'static str,
}

/// All settings.
pub const SETTINGS: [Setting; 26] = [
    Setting {
        key: "store",
        values: "a URL: memory:NAME, file:///DIR, s3://BUCKET/PREFIX, swift://CONTAINER/PREFIX, rados://POOL/NAMESPACE",
        default: "none: local files",
        meaning: "where files with plain names are kept",
    },
    Setting {
        key: "root",
        values: "an absolute path",
        default: "the working directory at the start",
        meaning: "the folder to which the keys of plain names in the store are relative; other names have no key",
    },
    Setting {
        key: "store_path",
        values: "absolute paths, separated by colons",
        default: "none",
        meaning: "libraries, and folders of libraries, with stores that others made (h5lake docs store-libraries)",
    },
    Setting {
        key: "only",
        values: "patterns: *.h5l,runs/*.h5",
        default: "every name",
        meaning: "which files h5lake makes, by name; all others are left to native HDF5",
    },
    Setting {
        key: "native",
        values: "pass, refuse",
        default: "pass",
        meaning: "native files, and files with an explicit driver: handed to the native connector, or an error",
    },
    Setting {
        key: "native_filters",
        values: "own, library",
        default: "own",
        meaning: "the decoder of chunks of native files: h5lake's filters where they can, side by side, or libhdf5",
    },
    Setting {
        key: "foreign_filters",
        values: "library, refuse",
        default: "library",
        meaning: "filters of containers that are not built in: run by libhdf5 and its plugins, or an error",
    },
    Setting {
        key: "copied_references",
        values: "null, copies",
        default: "null",
        meaning: "references that H5Ocopy copies to another file together with their targets: null, as natively, or references to the copies",
    },
    Setting {
        key: "sync",
        values: "process, commit",
        default: "process",
        meaning: "what a commit survives: the death of the process, or the loss of power too",
    },
    Setting {
        key: "retention",
        values: "30s, 10m, 2h, 7d",
        default: "none in files, 10m in stores",
        meaning: "how long old versions are kept before their space is used again",
    },
    Setting {
        key: "timeout",
        values: "30s, 2m",
        default: "50s",
        meaning: "how long one call, and the end of the program, wait for a store that does not answer",
    },
    Setting {
        key: "version",
        values: "a number from 1 on",
        default: "the newest",
        meaning: "which version files show that are opened to read",
    },
    Setting {
        key: "as_of",
        values: "2026-11-20T10:00:00Z",
        default: "the newest",
        meaning: "the same, by time",
    },
    Setting { key: "tag", values: "a tag's name", default: "the newest", meaning: "the same, by tag" },
    Setting {
        key: "cache",
        values: "64MiB, a number of bytes",
        default: "48MiB; 256MiB in stores",
        meaning: "bound of the block cache of one opened container; the largest bounds all of a process together",
    },
    Setting {
        key: "disk_cache",
        values: "an absolute path",
        default: "none",
        meaning: "a directory where what is read of remote stores is kept, so that reading it again is local",
    },
    Setting {
        key: "disk_cache_size",
        values: "10GiB, a number of bytes",
        default: "10GiB",
        meaning: "bound of that directory",
    },
    Setting {
        key: "stage",
        values: "an absolute path",
        default: "none",
        meaning: "a local folder where writes to stores wait, readable, until they have arrived there in the background",
    },
    Setting {
        key: "stage_size",
        values: "16GiB, a number of bytes",
        default: "16GiB",
        meaning: "the maximum number of bytes that one container keeps there; a writer beyond it waits",
    },
    Setting {
        key: "writers",
        values: "one, many",
        default: "one",
        meaning: "how many processes may have a container open for writing",
    },
    Setting {
        key: "conflict",
        values: "error, merge, last",
        default: "error",
        meaning: "of several writers that changed the same thing, the first wins. The others get an error, and nothing of their batch is committed (error), or all but what is in conflict (merge). With last, the last one wins",
    },
    Setting {
        key: "replace",
        values: "linked, any",
        default: "linked",
        meaning: "which containers in the store of store= a plain name may replace: the one that the pointer file at the path names, or any",
    },
    Setting {
        key: "links",
        values: "local, store, any",
        default: "store",
        meaning: "where names inside files may lead, such as pointer files and external links (h5lake docs security)",
    },
    Setting {
        key: "async",
        values: "off, on",
        default: "off",
        meaning: "whether transfers and flushes that an event set waits for go on beside the program",
    },
    Setting {
        key: "message",
        values: "a text of at most 512 bytes",
        default: "none",
        meaning: "the message of the commits of this process, which h5lake versions shows; a program can change it (h5lake.message)",
    },
    Setting {
        key: "salvage",
        values: "yes, no",
        default: "no",
        meaning: "a damaged container is opened to read its newest version that can be read",
    },
];

/// Returns the names of all settings.
pub fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.key)
}

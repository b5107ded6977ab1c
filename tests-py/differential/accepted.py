"""Differences between native HDF5 and h5lake that are intended, each with its reason. A step that matches is not
compared, but the steps after it are, so that the patterns must be narrow."""

import re

# Entries are (pattern of the step, native outcome, h5lake outcome, reason). An outcome is 'ok', or the exception's
# class and message. All three are regular expressions.
OUTCOMES = [
    (r"", r"(RuntimeError: Special link traversal failed|KeyError: .Can't find object) .too many links.*",
     r"ok|(KeyError|ValueError|TypeError|RuntimeError|OSError): .*(too many links|name already exists).*",
     "cycles of links: native HDF5 recurses until its error stack is full, and a frame in the middle becomes the "
     "outermost one, from which h5py takes the class; in h5lake it is a KeyError if an external link led to the error"),
    (r"", r"RuntimeError: Unable to encode region reference .no write intent", r"OSError: .*no write intent",
     "making a region reference stores it natively, in h5lake writing it does: in a file that is open for reading, another "
     "call fails"),
    (r"\.copy\(", r"RuntimeError: .*unable to copy dataset elements", r"ok",
     "H5Ocopy within a file: native HDF5 refuses chunked datasets of references, though it copies those of other layouts"),
    (r"write_part\(.*'points'", r"OSError: .*bad heap pointer", r"ok",
     "an element of nested variable-length data that one call writes twice: native HDF5 gives the inner data back twice "
     "and fails; h5lake writes such elements one by one"),
    (r"read_direct_chunk", r"RuntimeError: .*chunk storage is not allocated", r"MemoryError",
     "a chunk of a dataset without any: natively an error if there ever were some, else a size of 0, which h5py wants to "
     "allocate; h5lake does not remember chunks that are gone"),
    (r"read_part\(.*'points'", r"OSError: .*point selections not currently supported", r"ok",
     "points of a virtual dataset whose elements have to be converted: native HDF5 has not written that yet (H5Dvirtual.c)"),
    (r"", r"OSError: .*src and dest dataspaces have different number of elements selected", r"ok",
     "a mapping of a virtual dataset that selects all of a source whose extent has changed since: H5S_extent_copy selects the "
     "new extent in place of the mapped one. For the same mapping by a hyperslab native HDF5 reads what h5lake reads "
     "(docs/limitations.md)"),
    (r"", r"RuntimeError: .*.ran off end of input buffer while decoding", r"ok",
     "a copy that expands soft links natively leaves link messages that do not fit their new length: the file is damaged"),
    (r"\.close\(\)", r"RuntimeError: Can't decrement id ref count .new address already in use", r"ok",
     "closing a file in which a committed type with many attributes was copied: native HDF5 moves its header to an address "
     "that is in use"),
]


def more_chunks(native, ours):
    """Returns whether native HDF5 has all that h5lake has, and more: a list of chunks, or a number of them or their bytes."""
    if isinstance(native, list) and isinstance(ours, list):
        return len(native) > len(ours) and all(chunk in native for chunk in ours)
    return isinstance(native, int) and isinstance(ours, int) and native > ours


# The exact parts of an array of floats (prelude.show_array).
FLOATS = r"exactly |\[*-?(\d+\.|\d+e|nan|inf)"

# Entries for steps that return more than an outcome: (names on the path to a value, native value, h5lake value, pattern
# of the earlier steps, reason). In place of the native value, there may be a function of both values.
VALUES = [
    (r"reference$", r"", r"KeyError", r"\bdel [fg]\[|h5py\.File",
     "references to deleted objects: natively an address, where what was there may still lie, or something new; h5lake "
     "knows that the object is gone"),
    (r"", r"\['reference', .*", r"no reference", r"\bdel [fg]\[",
     "region references to deleted datasets: the same; h5lake makes them null when they are read"),
    (r"value", r"no reference", r"\['reference'.*", r"\.copy\(",
     "H5Ocopy within a file: native HDF5 sets references in attributes to null even there, though H5Aint.c says 'only need "
     "to fix reference attribute ... being copied to another file'; in datasets it keeps them, and h5lake keeps both"),
    (r"value|data", r"\['reference'.*", r"no reference", r"\.copy\([^\n]*, g",
     "H5Ocopy into another file without expanding references: native HDF5 sets them to null in datasets of references alone "
     "(H5D__contig_copy), and leaves addresses of the other file in compounds; h5lake sets them to null there too"),
    (r"data|value", r"!RuntimeError", r"\['object'.*", r"ref_dtype[\s\S]*\bdel [fg]\[",
     "references to deleted objects, of which one cannot even be looked at natively, for what lies there now"),
    (r"^$", r"/.*", r"/.*", r"np\.dtype\([\s\S]*\.move\([\s\S]*\bh\d+\.name$",
     "the name of an open committed datatype whose group is moved: native HDF5 forgets to change it"),
    (r"^$", r"None", r"\[\d+, \d+.*", r"libver='latest'[\s\S]*\(\d+,[^\n]* None[,)][\s\S]*get_chunk_info_by_coord",
     "an extensible array with an unlimited dimension that is not the first: native HDF5 swaps dimensions in its index and "
     "looks at the wrong place for a chunk's information"),
    (r"data", r"-?\d+|\[.*", r"-?\d+|\[.*", r"FILTER_NBIT[^\n]*scaleoffset=",
     "scale-offset behind n-bit: it takes packed bits for whole integers and reads beyond their end, so natively data is "
     "lost, and which depends on what lies there in memory"),
    (r"data|value", r"", r"", r"(compression='szip'|szip=)[^\n]*scaleoffset=",
     "szip behind scale-offset: it takes packed bytes for whole pixels, reads beyond their end and drops what is left over, so "
     "data is lost where it seems to compress, which depends on what lies there in memory"),
    (r"data", r"!OSError", r"\[.*", r"deflate=[^\n]*scaleoffset=",
     "scale-offset behind deflate: H5Z__filter_scaleoffset takes the compressed bytes for as many elements as the chunk has, and "
     "drops the bytes behind them, so native data is lost; h5lake skips the filter"),
    (r"data", r"", r"", r"(FILTER_NBIT|integer\(5, 0[^\n]*deflate=)[^\n]*szip=",
     "szip of a type of five bits, behind n-bit or deflate: H5Z__set_local_szip takes the bits of a pixel from the type. The "
     "bytes of those filters have more, so that libaec encodes other bytes, or cannot decode its own; h5lake skips szip"),
    (r"chunks", r"0", r"[1-9]\d*", r"FILTER_NBIT[^\n]*szip=", "the filter mask of such chunks"),
    (r"data|^$", FLOATS, FLOATS, r"scaleoffset=[24][^\n]*dtype='[<>]f[48]'",
     "scale-offset of floats rounds: natively when a chunk leaves the cache (H5D__chunk_cache_evict), in h5lake at the next "
     "flush. show_array also returns the numbers rounded to two decimals, which must be equal"),
    (r"data", r"!OSError", r"\[.*", r"VirtualLayout[\s\S]*\.resize\(",
     "a virtual dataset whose source was resized: see 'different number of elements selected'"),
    (r"dataset (status|chunks|storage)", more_chunks, r"", r"\bh\d+ = [\s\S]*\.copy\(",
     "H5Ocopy of an open dataset: H5D__chunk_copy also writes chunks of fill values that have no storage in the source, if they "
     "are in its cache because they were read"),
    (r"data|value", r"", r"", r"VirtualLayout[\s\S]*write_part\([^\n]*'points'[^\n]*mtype=",
     "points of a virtual dataset that are converted when they are written: native HDF5 writes the first and loses the others"),
    (r"^$", r"\d+", r"\d+", r"\.resize\([\s\S]*regionref\.shape",
     "the extent behind an old region reference after a resize: native code keeps the header that h5lake answered first (docs/limitations.md)"),
    (r"filter_mask|chunks", r"1", r"0", r"compression='lzf'",
     "lzf on a few bytes: h5py's gives up, h5lake's finds something to save; each reads what the other wrote"),
    (r"dataset (status|chunks|storage|bytes)", r"", r"", r"ALLOC_TIME_LATE[\s\S]*\.resize\(",
     "a dataset of late allocation that grew after it was written first: natively it has the chunks of its former extent, "
     "h5lake tells of all, though none takes room before it is written"),
]


def accepted_value(names, native, ours, before):
    """Returns the reason why two values may differ after the earlier steps, or None."""
    for pattern, one, other, did, reason in VALUES:
        if not re.search(did, before) or not re.search(pattern, " ".join(names)):
            continue
        if one(native, ours) if callable(one) else re.match(one, str(native)) and re.match(other, str(ours)):
            return reason
    return None


def accepted(step, native, ours):
    """Returns the reason why two outcomes may differ, or None."""
    def word(outcome):
        return "ok" if outcome[0] == "ok" else f"{outcome[1]}: {outcome[2]}"
    for pattern, one, other, reason in OUTCOMES:
        if re.search(pattern, step) and re.match(one, word(native)) and re.match(other, word(ours)):
            return reason
    return None

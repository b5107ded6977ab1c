//! The C boundary: bindings of libhdf5's plugin side and the run-time symbol table

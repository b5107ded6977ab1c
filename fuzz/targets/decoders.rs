//! Each decoder of the ledger by itself; the first byte selects it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| h5lake_ledger::fuzz::decode(bytes));

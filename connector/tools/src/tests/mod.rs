//! Tests of copies, over containers in a file and in a store in memory.

mod continued_copy;
mod incremental_copy;
mod restored_versions;
mod snapshot_copy;

use crate::*;
use bytes::Bytes;
use h5lake_container::testing::*;
use h5lake_container::*;
use h5lake_records::{keys, record};
use std::sync::Arc;

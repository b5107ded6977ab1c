//! The HDF5 data model on a ledger: groups, links, attributes, datasets, committed types.
//!
//! A [`Container`] is what HDF5 calls a file. All its objects are identified by [`ObjectId`]s; this crate knows nothing
//! of libhdf5's handles. Changes are staged and become one commit when [`Container::flush`] is called.
#![forbid(unsafe_code)]

mod attribute;
mod branch;
mod chunk;
mod commit_outcome;
mod compaction;
mod container;
mod copy;
mod corked;
mod dataset;
mod differing_objects;
mod heap;
mod id_map;
mod ids;
mod link;
mod link_pages;
mod link_positions;
mod listing_cache;
mod loss;
mod materialize;
mod multi_writer;
mod object;
mod object_file;
mod path;
mod registry;
mod selection;
mod spec;
pub mod statistics;
mod storage_use;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use attribute::Attribute;
pub use branch::{MergedBranch, payloads_of};
pub use chunk::cache::BlockPart;
pub use chunk::memory_budget::MemoryBudget;
pub use commit_outcome::Recoverability;
pub use container::{Container, Edition, read_record};
pub use copy::{Convert, ConvertReferences, Elements, Resolve};
pub use dataset::CodecProvider;
pub use dataset::block_places::{BlockPlace, PiecePlace};
pub use dataset::chunk_decoder::{ChunkDecoder, ChunkSource, Decoded, SourceChunk};
pub use dataset::chunk_statistics::{ChunkStatistics, WrittenChunk};
pub use dataset::chunk_walk::ChunkWalk;
pub use dataset::stored_blocks::{BlockLookup, StoredBlocks};
pub use dataset::stored_chunk::StoredChunk;
pub use dataset::stored_numbers::{StoreMatches, StoredNumbers};
pub use dataset::{Dataset, DatasetForm};
pub use differing_objects::DifferingObjects;
pub use h5lake_filters::{ChunkCodec, encode_with_all, is_built_in, known_filter_name};
pub use h5lake_ledger::{Access, PartMatches};
pub use h5lake_records::encoded;
pub use h5lake_records::number::{Number, NumberKind, NumberType, half};
pub use h5lake_records::{
    AllocTime, AttrInfo, CharSet, ChunkInfo, CreationOrder, Dataspace, Datatype, Error, ErrorKind,
    ExternalFile, Fill, FillTime, FillValue, Filter, GroupInfo, HeapPlace, Index, InlineHeap, Layout, Link,
    LinkTarget, ObjectId, ObjectInfo, ObjectKind, Order, Result, SpaceStatus, UNLIMITED, VirtualMapping,
};
pub use ids::NumberSource;
pub use link_pages::LinkPages;
pub use loss::report_losses_by;
pub use materialize::{Materialized, Referenced};
pub use multi_writer::ChangedBlock;
pub use object::OpenObject;
pub use object_file::{Content, ObjectFile, touched_chunks};
pub use path::{Parent, Resolution, ends_in_dot};
pub use selection::{Run, Selection};
pub use spec::{
    AttrSpec, CopyOptions, DatasetSpec, DatatypeSpec, FileCreation, GroupSpec, LastLink, OnConflict, Options,
    Replace, Target, Together,
};
pub use storage_use::{StorageUse, StoredSize};

//! The public interface, so that the layer above can be built against it.
#![allow(clippy::too_many_arguments, unused_variables, missing_docs)]

use crate::*;
use bytes::Bytes;
use std::sync::Arc;

fn later<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, format!("{what} is not supported yet")))
}

#[derive(Debug)]
pub struct Container {}
#[derive(Debug, Clone)]
pub struct OpenObject {}
#[derive(Debug)]
pub struct Attribute {}
#[derive(Debug)]
pub struct Dataset {}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// To an object.
    Object { id: ObjectId },
    /// To a link (with `LastLink::Keep`), held by `group`.
    Link { group: ObjectId, link: Link },
    /// Only the last component is missing. `group` is where it would be.
    Missing { group: Option<ObjectId>, name: Vec<u8> },
    /// Out of the container, by an external or user-defined link; `rest` is the path behind it.
    Leaves { group: ObjectId, link: Link, rest: Vec<u8> },
}

/// The group that a path's last component lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    In {
        group: ObjectId,
        name: Vec<u8>,
    },
    /// The path was `.` or `/`.
    ItSelf(ObjectId),
    Leaves {
        group: ObjectId,
        link: Link,
        rest: Vec<u8>,
    },
}

impl OpenObject {
    pub fn id(&self) -> ObjectId {
        ObjectId(0)
    }
    pub fn kind(&self) -> ObjectKind {
        ObjectKind::Group
    }
    pub fn container(&self) -> &Arc<Container> {
        unreachable!()
    }
}

impl Container {
    pub fn create(
        target: &Target,
        replace: Replace,
        creation: FileCreation,
        options: Options,
    ) -> Result<Arc<Container>> {
        later("create")
    }
    pub fn open(target: &Target, access: Access, options: Options) -> Result<Arc<Container>> {
        later("open")
    }
    pub fn flush(&self) -> Result<()> {
        later("flush")
    }
    pub fn refresh(&self) -> Result<bool> {
        later("refresh")
    }
    pub fn writable(&self) -> bool {
        false
    }
    pub fn file_number(&self) -> u64 {
        0
    }
    pub fn size(&self) -> Result<u64> {
        later("size")
    }
    pub fn root(&self) -> ObjectId {
        ObjectId(0)
    }
    pub fn creation_properties(&self) -> Bytes {
        Bytes::new()
    }
    pub fn user_block(&self) -> u64 {
        0
    }
    pub fn open_object(self: &Arc<Self>, id: ObjectId) -> Result<OpenObject> {
        later("open_object")
    }
    pub fn create_group(self: &Arc<Self>, spec: GroupSpec) -> Result<OpenObject> {
        later("create_group")
    }
    pub fn create_dataset(self: &Arc<Self>, spec: DatasetSpec) -> Result<OpenObject> {
        later("create_dataset")
    }
    pub fn create_datatype(self: &Arc<Self>, spec: DatatypeSpec) -> Result<OpenObject> {
        later("create_datatype")
    }
    pub fn object_info(&self, id: ObjectId) -> Result<ObjectInfo> {
        later("object_info")
    }
    pub fn change_link_count(&self, id: ObjectId, delta: i32) -> Result<u32> {
        later("change_link_count")
    }
    pub fn comment(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        later("comment")
    }
    pub fn set_comment(&self, id: ObjectId, comment: Option<&[u8]>) -> Result<()> {
        later("set_comment")
    }
    pub fn object_creation_properties(&self, id: ObjectId) -> Result<Bytes> {
        later("creation_properties")
    }
    pub fn datatype(&self, id: ObjectId) -> Result<Arc<Datatype>> {
        later("datatype")
    }
    pub fn find_path(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        later("find_path")
    }
    pub fn link(&self, group: ObjectId, name: &[u8]) -> Result<Option<Link>> {
        later("link")
    }
    pub fn link_create(&self, group: ObjectId, name: &[u8], target: LinkTarget, cset: CharSet) -> Result<()> {
        later("link_create")
    }
    pub fn link_delete(&self, group: ObjectId, name: &[u8]) -> Result<()> {
        later("link_delete")
    }
    pub fn link_move(
        &self,
        src_group: ObjectId,
        src_name: &[u8],
        dst_group: ObjectId,
        dst_name: &[u8],
        cset: Option<CharSet>,
    ) -> Result<()> {
        later("link_move")
    }
    pub fn link_copy(
        &self,
        src_group: ObjectId,
        src_name: &[u8],
        dst_group: ObjectId,
        dst_name: &[u8],
        cset: Option<CharSet>,
    ) -> Result<()> {
        later("link_copy")
    }
    pub fn link_at(&self, group: ObjectId, index: Index, order: Order, n: u64) -> Result<Link> {
        later("link_at")
    }
    pub fn links(&self, group: ObjectId, index: Index, order: Order) -> Result<Vec<Link>> {
        later("links")
    }
    pub fn group_info(&self, group: ObjectId) -> Result<GroupInfo> {
        later("group_info")
    }
    pub fn resolve(
        &self,
        base: ObjectId,
        path: &[u8],
        last: LastLink,
        max_soft_links: usize,
    ) -> Result<Resolution> {
        later("resolve")
    }
    pub fn resolve_parent(
        &self,
        base: ObjectId,
        path: &[u8],
        create_missing: Option<&GroupSpec>,
        max_soft_links: usize,
    ) -> Result<Parent> {
        later("resolve_parent")
    }
    pub fn attr_create(
        self: &Arc<Self>,
        id: ObjectId,
        name: &[u8],
        spec: AttrSpec,
    ) -> Result<Arc<Attribute>> {
        later("attr_create")
    }
    pub fn attr_open(self: &Arc<Self>, id: ObjectId, name: &[u8]) -> Result<Arc<Attribute>> {
        later("attr_open")
    }
    pub fn attr_exists(&self, id: ObjectId, name: &[u8]) -> Result<bool> {
        later("attr_exists")
    }
    pub fn attr_delete(&self, id: ObjectId, name: &[u8]) -> Result<()> {
        later("attr_delete")
    }
    pub fn attr_rename(&self, id: ObjectId, old: &[u8], new: &[u8]) -> Result<()> {
        later("attr_rename")
    }
    pub fn attr_count(&self, id: ObjectId) -> Result<u64> {
        later("attr_count")
    }
    pub fn attr_at(&self, id: ObjectId, index: Index, order: Order, n: u64) -> Result<AttrInfo> {
        later("attr_at")
    }
    pub fn attrs(&self, id: ObjectId, index: Index, order: Order) -> Result<Vec<AttrInfo>> {
        later("attrs")
    }
    pub fn dataset(self: &Arc<Self>, id: ObjectId) -> Result<Arc<Dataset>> {
        later("dataset")
    }
    pub fn heap_put(&self, owner: ObjectId, bytes: &[u8]) -> Result<[u8; 16]> {
        later("heap_put")
    }
    pub fn heap_get(&self, id: &[u8; 16], out: &mut [u8]) -> Result<()> {
        later("heap_get")
    }
    pub fn heap_len(&self, id: &[u8; 16]) -> Result<u64> {
        later("heap_len")
    }
    pub fn heap_delete(&self, id: &[u8; 16]) -> Result<()> {
        later("heap_delete")
    }
    pub fn copy_object(
        self: &Arc<Self>,
        source: ObjectId,
        destination: &Arc<Container>,
        options: CopyOptions,
        convert: &mut dyn FnMut(&Datatype, ObjectId, ObjectId, Vec<u8>) -> Result<Vec<u8>>,
    ) -> Result<OpenObject> {
        later("copy_object")
    }
}

impl Attribute {
    pub fn name(&self) -> Vec<u8> {
        Vec::new()
    }
    pub fn datatype(&self) -> &Datatype {
        unreachable!()
    }
    pub fn space(&self) -> &Dataspace {
        unreachable!()
    }
    pub fn cset(&self) -> CharSet {
        CharSet::Ascii
    }
    pub fn creation_order(&self) -> Option<u32> {
        None
    }
    pub fn owner(&self) -> &OpenObject {
        unreachable!()
    }
    pub fn read(&self) -> Result<Bytes> {
        later("read")
    }
    pub fn write(&self, data: &[u8]) -> Result<()> {
        later("write")
    }
    pub fn creation_properties(&self) -> Bytes {
        Bytes::new()
    }
    pub fn storage_size(&self) -> u64 {
        0
    }
}

impl Dataset {
    pub fn object(&self) -> &OpenObject {
        unreachable!()
    }
    pub fn datatype(&self) -> &Datatype {
        unreachable!()
    }
    pub fn space(&self) -> Dataspace {
        Dataspace::Null
    }
    pub fn layout(&self) -> &Layout {
        unreachable!()
    }
    pub fn fill(&self) -> &Fill {
        unreachable!()
    }
    pub fn filters(&self) -> &[Filter] {
        &[]
    }
    pub fn creation_properties(&self) -> Bytes {
        Bytes::new()
    }
    pub fn read(&self, selection: &Selection, out: &mut [u8]) -> Result<()> {
        later("read")
    }
    pub fn write(&self, selection: &Selection, data: &[u8]) -> Result<()> {
        later("write")
    }
    pub fn set_extent(&self, dims: &[u64]) -> Result<()> {
        later("set_extent")
    }
    pub fn storage_size(&self) -> Result<u64> {
        later("storage_size")
    }
    pub fn space_status(&self) -> Result<SpaceStatus> {
        later("space_status")
    }
    pub fn chunk_count(&self) -> Result<u64> {
        later("chunk_count")
    }
    pub fn chunk_at(&self, n: u64) -> Result<ChunkInfo> {
        later("chunk_at")
    }
    pub fn chunk_at_coords(&self, coords: &[u64]) -> Result<Option<ChunkInfo>> {
        later("chunk_at_coords")
    }
    pub fn read_chunk(&self, coords: &[u64]) -> Result<(u32, Bytes)> {
        later("read_chunk")
    }
    pub fn write_chunk(&self, coords: &[u64], mask: u32, data: &[u8]) -> Result<()> {
        later("write_chunk")
    }
    pub fn flush(&self) -> Result<()> {
        later("flush")
    }
    pub fn refresh(&self) -> Result<()> {
        later("refresh")
    }
}

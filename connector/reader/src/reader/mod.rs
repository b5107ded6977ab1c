//! An open container, and the objects that paths lead to. The elements of a virtual dataset may be behind paths of other
//! containers, so the modules below use each other.

pub mod stored;
mod virtual_dataset;

use std::collections::HashMap;
use std::sync::Arc;

use h5lake_connector::config::Config;
use h5lake_connector::reading::ReadContainer;
use h5lake_container::{
    Container, Dataspace, Error, ErrorKind, Index, LastLink, Link, LinkTarget, ObjectId, ObjectKind, Order,
    Resolution, Result,
};
use h5lake_ledger::locks::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use serde_json::{Value, json};

use crate::convert::{Converter, zeros};
use crate::describe;
use crate::elements::type_of;
use crate::form::Form;
use crate::walk::Paths;
use stored::StoredElements;

/// The maximum number of soft links in a path, as in HDF5 (`H5L_NUM_LINKS`), and of external links.
const MAX_LINKS: usize = 16;

/// The maximum number of other containers, reached through links and virtual datasets, that stay open for the next use.
const MAX_LINKED: usize = 64;

/// An open container. All methods may be called from several threads at the same time.
pub struct Reader {
    open: ReadContainer,
    /// The paths of objects, for references.
    paths: Mutex<Paths>,
    /// Held for reading while elements are read, so that a refresh does not change the version within one read.
    gate: RwLock<()>,
    /// Containers that this one leads to, by the names in its links and mappings. `None` for a name without a file.
    linked: Mutex<HashMap<Vec<u8>, Option<Arc<Reader>>>>,
}

/// An object, in the container in which a path ended.
pub struct Found {
    /// The container.
    pub reader: Arc<Reader>,
    /// The object.
    pub id: ObjectId,
}

/// The value of an attribute.
pub struct AttributeValue {
    /// Its description.
    pub description: Value,
    /// Its elements in value form.
    pub elements: Vec<u8>,
    /// The bytes that the spans of the elements name.
    pub pool: Vec<u8>,
}

/// Returns the settings of a connector string without the connector's name, or of the environment.
fn config_of(settings: Option<&str>) -> Result<Config> {
    let config = settings.map_or_else(Config::from_environment, Config::parse);
    config.map_err(|why| Error::new(ErrorKind::InvalidArgument, why))
}

impl Reader {
    /// Opens a container by its path or URL, which may select a version (`NAME@v=12`). `settings` is a connector string
    /// without the connector's name; `None` takes the settings of the environment, as a program with HDF5 does.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong setting, and those of [`ReadContainer::open`].
    pub fn open(name: &[u8], settings: Option<&str>) -> Result<Self> {
        ReadContainer::open(name, &config_of(settings)?).map(Self::of)
    }

    /// Opens the local container at `path` that `h5lake adopt` made of the native file `name`.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong setting, and those of [`ReadContainer::open_adopted`].
    pub fn open_adopted(path: &[u8], name: &[u8], settings: Option<&str>) -> Result<Self> {
        ReadContainer::open_adopted(path, name, &config_of(settings)?).map(Self::of)
    }

    fn of(open: ReadContainer) -> Self {
        Self { open, paths: Mutex::default(), gate: RwLock::default(), linked: Mutex::default() }
    }

    /// Returns the container.
    pub fn container(&self) -> &Arc<Container> {
        self.open.container()
    }

    /// Prevents a refresh while elements are read.
    pub(crate) fn stay(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// Returns the paths of objects.
    pub(crate) fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock()
    }

    /// Moves to the newest version, after reads that are under way. Returns whether the version changed.
    ///
    /// # Errors
    /// Those of the container.
    pub fn refresh(&self) -> Result<bool> {
        let _alone = self.gate.write();
        let has_moved = self.container().refresh()?;
        // Other containers that are still in use keep their version.
        self.linked.lock().clear();
        if has_moved {
            *self.paths.lock() = Paths::default();
        }
        Ok(has_moved)
    }

    /// Returns the object to which a path from the root leads, also through external links.
    ///
    /// # Errors
    /// `NotFound`; `TooManyLinks`; those of opening another container.
    pub fn find(self: &Arc<Self>, path: &[u8]) -> Result<Found> {
        let (mut reader, mut path) = (self.clone(), path.to_vec());
        for _ in 0..MAX_LINKS {
            let container = reader.container();
            let found = container.resolve(container.root(), &path, LastLink::Follow, MAX_LINKS);
            match found.map_err(|error| error.within(container.name(), shown(&path)))? {
                Resolution::Object { id } => return Ok(Found { reader, id }),
                Resolution::Leaves { link, rest, .. } => (reader, path) = reader.behind(&link, &rest)?,
                Resolution::Missing { .. } | Resolution::Link { .. } => {
                    return Err(missing(container, &path));
                }
            }
        }
        Err(Error::new(ErrorKind::TooManyLinks, format!("{}: too many external links", shown(&path))))
    }

    /// Returns the container and the path behind a link that leaves this container.
    fn behind(self: &Arc<Self>, link: &Link, rest: &[u8]) -> Result<(Arc<Self>, Vec<u8>)> {
        let container = self.container();
        let LinkTarget::External { file, path, .. } = &link.target else {
            let text = format!("{}: a user-defined link is not followed", shown(&link.name));
            return Err(
                Error::new(ErrorKind::Unsupported, text).within(container.name(), "unable to open object")
            );
        };
        let listed = variable("HDF5_EXT_PREFIX");
        match self.other(file, &listed)? {
            Some(other) => Ok((other, [&path[..], b"/", rest].concat())),
            None => {
                let text = format!("the file '{}' of an external link does not exist", shown(file));
                Err(Error::new(ErrorKind::NotFound, text).within(container.name(), shown(&link.name)))
            }
        }
    }

    /// Returns the container that a name in this container leads to; `None` if no file exists. `.` and the empty name
    /// are not special here. `listed` has folders, separated by colons, in which the file is searched first.
    pub(crate) fn other(self: &Arc<Self>, file: &[u8], listed: &[u8]) -> Result<Option<Arc<Self>>> {
        if let Some(known) = self.linked.lock().get(file) {
            return Ok(known.clone());
        }
        // The map is not locked while a store opens.
        let opened = self.open.open_named(file, listed)?.map(|open| Arc::new(Self::of(open)));
        let mut linked = self.linked.lock();
        if linked.len() >= MAX_LINKED {
            linked.clear();
        }
        linked.insert(file.to_vec(), opened.clone());
        Ok(opened)
    }

    /// Describes the object at a path.
    ///
    /// # Errors
    /// As for [`Self::find`]; a datatype that cannot be read.
    pub fn describe(self: &Arc<Self>, path: &[u8]) -> Result<Value> {
        let _stay = self.stay();
        let found = self.find(path)?;
        found.describe()
    }

    /// Lists the links of the group at a path: in the order of their creation if the group tracks it, and by name
    /// otherwise.
    ///
    /// # Errors
    /// As for [`Self::find`]; `WrongKind` if the object is not a group.
    pub fn list(self: &Arc<Self>, path: &[u8]) -> Result<Value> {
        let _stay = self.stay();
        let found = self.find(path)?;
        let container = found.reader.container();
        let is_tracked = container.group_info(found.id)?.link_order.tracked;
        let index = if is_tracked { Index::CreationOrder } else { Index::Name };
        let links = container.links(found.id, index, Order::Increasing)?;
        Ok(links.iter().map(|link| describe::link(link)).collect())
    }

    /// Lists the attributes of the object at a path, in the order of their creation if the object tracks it, and by
    /// name otherwise.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn attributes(self: &Arc<Self>, path: &[u8]) -> Result<Value> {
        let _stay = self.stay();
        let found = self.find(path)?;
        let container = found.reader.container();
        let is_tracked = container.attribute_order(found.id)?.tracked;
        let index = if is_tracked { Index::CreationOrder } else { Index::Name };
        let all = container.attrs(found.id, index, Order::Increasing)?;
        Ok(all.iter().map(|info| describe::named(&info.name)).collect())
    }

    /// Reads an attribute of the object at a path.
    ///
    /// # Errors
    /// As for [`Self::find`]; `NotFound` if there is no such attribute.
    pub fn attribute(self: &Arc<Self>, path: &[u8], name: &[u8]) -> Result<AttributeValue> {
        let _stay = self.stay();
        let found = self.find(path)?;
        let container = found.reader.container();
        let attribute = container.attr_open(found.id, name)?;
        let of = type_of(attribute.datatype()).map_err(describe::damaged)?;
        let form = Form::of(&of).map_err(describe::damaged)?;
        let description = describe::attribute(&attribute, &of)?;
        let points = match attribute.space() {
            Dataspace::Null => 0,
            space => space.points()?,
        };
        let (stored, heap) = attribute.read_with_heap()?;
        let count = stored.len() / form.file_size().max(1);
        if count as u64 != points {
            return Err(describe::damaged("the value of an attribute has another length than its dataspace"));
        }
        let mut elements = zeros(count.saturating_mul(form.size()))?;
        let mut paths = found.reader.paths();
        let pool = Converter::new(container, heap, &mut paths).convert(&form, &stored, &mut elements)?;
        Ok(AttributeValue { description, elements, pool })
    }

    /// Opens the dataset at a path.
    ///
    /// # Errors
    /// As for [`Self::find`]; `WrongKind` if the object is not a dataset.
    pub fn dataset(self: &Arc<Self>, path: &[u8]) -> Result<StoredElements> {
        let _stay = self.stay();
        let found = self.find(path)?;
        StoredElements::open(self.clone(), &found)
    }
}

impl Found {
    fn describe(&self) -> Result<Value> {
        let container = self.reader.container();
        let info = container.object_info(self.id)?;
        let mut made = match info.kind {
            ObjectKind::Group => json!({ "links": container.group_info(self.id)?.link_count }),
            ObjectKind::Dataset => StoredElements::open(self.reader.clone(), self)?.description()?,
            ObjectKind::Datatype => {
                let of = type_of(&*container.datatype(self.id)?).map_err(describe::damaged)?;
                json!({ "type": describe::datatype(&of)? })
            }
        };
        made["kind"] = json!(describe::kind(info.kind));
        made["token"] = json!(describe::token(self.id));
        made["file"] = json!(container.name());
        made["attributes"] = json!(info.attribute_count);
        Ok(made)
    }
}

fn missing(container: &Container, path: &[u8]) -> Error {
    let text = format!("{}: unable to open object: nothing is at '{}'", container.name(), shown(path));
    Error::new(ErrorKind::NotFound, text)
}

pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Returns an environment variable; empty if it is not set.
pub(crate) fn variable(name: &str) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(std::env::var_os(name).unwrap_or_default())
}

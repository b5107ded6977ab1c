"""Repositories of Icechunk in folders: makes them, and recognises those that h5lake made."""

import inspect
import os
from contextlib import contextmanager

from . import _temporary

#: The key in the metadata of h5lake's snapshots.
MARK = "h5lake"


@contextmanager
def committing(icechunk, target, containers, about, mode):
    """A session on the branch `main` of a repository in a folder, either one of h5lake's or a new one with files of the
    given mode. When the block ends, the repository has one more snapshot. After an error the repository is as it was
    before, or does not exist. `containers` are virtual chunk containers, each with the permission to read it; `about`
    describes the published version."""
    if not os.path.lexists(target):
        with _made(target, mode) as folder:
            yield from _committed(_opened(icechunk, folder, containers, is_there=False), about)
        return
    # The name of a file in it is not sufficient, because versions of Icechunk use different names. Icechunk panics if
    # there is no folder.
    if not target.is_dir() or not icechunk.Repository.exists(icechunk.local_filesystem_storage(str(target))):
        raise FileExistsError(f"{target}: something else is there; name another folder")
    repository = _opened(icechunk, target, containers, is_there=True)
    _check_is_ours(repository, target)
    yield from _committed(repository, about)


@contextmanager
def _made(target, mode):
    """A folder of a hidden name that becomes `target` when the block ends, and is removed after an error."""
    with _temporary.folder(target, "icechunk") as new:
        yield new
        _temporary.restrict(new, mode)
        new.rename(target)


def _opened(icechunk, folder, containers, is_there):
    """Opens a repository, with these virtual chunk containers besides those that earlier snapshots need."""
    storage, readers, kind = icechunk.local_filesystem_storage(str(folder)), {}, icechunk.Repository
    config = (kind.fetch_config(storage) if is_there else None) or icechunk.RepositoryConfig.default()
    for container, reader in containers:
        config.set_virtual_chunk_container(container)
        readers[container.url_prefix] = reader
    return (kind.open if is_there else kind.create)(storage, config, authorize_virtual_chunk_access=icechunk.containers_credentials(readers))


def _check_is_ours(repository, target):
    """Checks that only a snapshot of h5lake's is replaced, or the first one, which is empty."""
    newest = next(iter(repository.ancestry(branch="main")))
    if newest.parent_id is not None and MARK not in (newest.metadata or {}):
        raise FileExistsError(f"{target}: the newest snapshot of its branch main ({newest.message!r}) is not h5lake's; name another folder")


def _committed(repository, about):
    session = repository.writable_session("main")
    yield session
    # The configuration is saved first, because readers of the snapshot need it.
    repository.save_config()
    more = {"allow_empty": True} if "allow_empty" in inspect.signature(session.commit).parameters else {}
    session.commit(f"{about.get('container')}, version {about.get('version')}", metadata={MARK: about}, **more)

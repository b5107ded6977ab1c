"""Runs programs in C under a connector, then HDF5's tools on their files. The output of the tools must equal that
for a native file of the same program. conftest.py has the shared parts."""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from harness import RESULTS, cargo, connector as connectors
from harness.suite import Failure

HERE = Path(__file__).resolve().parent
FILES, DATASETS_EACH, GROWTH_KIB = 1000, 10, 4096


def test_tour(r, tour):
    """Ordinary calls, written by one process and read by another."""
    r.ours(r.work / "tour.h5")
    r.run(r.programs["tour"], "read", "tour.h5")


def test_many(r):
    """Several datasets in one call, and writes after their file was closed."""
    r.run(r.programs["many"], r.work / "many.h5")
    r.ours(r.work / "many.h5")


def test_many_wrong(r):
    """Several datasets in one call with a wrong argument for one: nothing is transferred."""
    r.run(r.programs["many_wrong"], r.work / "many_wrong.h5", *ours(r))
    r.ours(r.work / "many_wrong.h5")


def test_chunk_queries(r):
    """Queries about chunks cover all chunks."""
    r.run(r.programs["chunk_queries"], "chunk_queries.h5")
    r.ours(r.work / "chunk_queries.h5")


def test_sessions(r):
    """One open of a file leaves no state to later opens."""
    r.run(r.programs["sessions"], r.work / "sessions.h5")
    r.ours(r.work / "sessions.h5")


def test_threads(r):
    """Threads that write and read in parallel."""
    if not re.search(r"^# *define H5_HAVE_THREADSAFE 1$", (r.prefix / "include" / "H5pubconf.h").read_text(), re.MULTILINE):
        pytest.skip("this build of HDF5 is not made for threads")
    r.run(r.programs["threads"], "threads.h5")
    r.ours(r.work / "threads.h5")


def test_filters(r):
    """Filters of the application, missing ones, edge chunks without filters."""
    r.run(r.programs["filters"], "filters.h5")
    r.ours(r.work / "filters.h5")


def test_filter_room(r):
    """More bytes go through a filter of the application than the native file beneath may hold, in bounded memory."""
    print("  " + r.run(r.programs["filter_room"], "filter_room.h5").strip().replace("\n", "; "))
    r.ours(r.work / "filter_room.h5")


def test_closing(r):
    """Closes that are refused, and objects that are open when the library shuts down or the program ends."""
    for how in ("shut", "write"):
        r.run(r.programs["closing"], how, "closing.h5")
        r.ours(r.work / "closing.h5")
        r.run(r.programs["closing"], "read", "closing.h5")


def test_natives(r):
    """Native files beside containers that have no native objects yet."""
    if not r.connector.is_ours:
        pytest.skip("both would be native")
    r.run(r.programs["natives"], "natives.h5", "natives-native.h5")
    r.ours(r.work / "natives.h5")


def test_values(r):
    """Attributes with variable-length data, written whole, in part and again."""
    r.run(r.programs["values"], "values.h5")
    r.ours(r.work / "values.h5")


def test_members(r):
    """Some members of records with variable-length data, written and read separately."""
    r.run(r.programs["members"], "members.h5")
    r.ours(r.work / "members.h5")


def test_wider(r):
    """Records read into larger ones: the additional members keep the program's pointers and references."""
    r.run(r.programs["wider"], "wider.h5")
    r.ours(r.work / "wider.h5")


def test_points(r):
    """Selections of points."""
    r.run(r.programs["points"], "points.h5")
    r.ours(r.work / "points.h5")


def test_reading(r):
    """The table of functions that read containers in several threads, without libhdf5."""
    if r.connector.files == "container":
        r.run(r.programs["reading"], "reading.h5")


def test_unions(r):
    """Unions of hyperslabs with wrong parameters in libhdf5, and dataspaces of another rank than their dataset."""
    print("  " + r.run(r.programs["unions"], "unions.h5", *(["ours"] if r.connector.files == "container" else [])).strip())
    r.ours(r.work / "unions.h5")


def test_making(r):
    """The links that calls follow when they create links and objects, the groups that they leave behind, and the
    stored values of links."""
    stored = ["stored"] if r.connector.in_store else []
    r.run(r.programs["making"], "making.h5", "making-other.h5", "making-away.h5", *stored)
    r.ours(r.work / "making.h5")


def test_corks(r):
    """Objects with disabled flushes of metadata."""
    r.run(r.programs["corks"], "corks.h5")
    r.ours(r.work / "corks.h5")


def test_refs(r):
    """New references (H5R_ref_t), within a file and into another."""
    r.run(r.programs["refs"], "write", "refs.h5", "refs-other.h5")
    r.ours(r.work / "refs.h5")
    r.run(r.programs["refs"], "read", "refs.h5", "refs-other.h5")


def test_copied_refs(r):
    """References in copies: within a file, into another, and between files of two kinds."""
    # With native HDF5 only references that it stores and reads: it copies references in compounds and sequences
    # unchanged.
    native = ["native.h5"] if r.connector.is_ours else []
    r.run(r.programs["copied_refs"], "one.h5", "other.h5", *native)
    r.ours(r.work / "one.h5")
    r.ours(r.work / "other.h5")


@pytest.mark.parametrize("name", ["refs", "sequences"])
def test_hostile(r, name):
    """Forged new references, and forged sequences of sequences: both are read, and the latter are overwritten."""
    if not r.connector.is_ours:
        pytest.skip("native HDF5 believes what it reads")
    r.run(r.programs[f"hostile_{name}"], f"{name}.h5")
    r.ours(r.work / f"{name}.h5")


def test_vlen_size(r):
    """The memory that variable-length data takes, also for virtual datasets."""
    r.run(r.programs["vlen_size"], "vlen_size.h5")
    r.ours(r.work / "vlen_size.h5")


def test_calls(r):
    """Calls that few programs make, and deprecated calls."""
    r.run(r.programs["calls"], "calls.h5", "mounted.h5", *(["ours"] if r.connector.is_ours else []))
    r.ours(r.work / "calls.h5")


def test_links(r):
    """Properties for following external links, and links of an application's own class."""
    r.run(r.programs["links"], "links.h5", "linked.h5", *(["ours"] if r.connector.is_ours else []))
    r.ours(r.work / "links.h5")


def test_paths(r):
    """The final components of paths, mounted files, hard links if a path leads into another file, and the limit on
    followed links."""
    r.run(r.programs["paths"], "paths.h5", "paths-other.h5", "paths-third.h5")
    r.ours(r.work / "paths.h5")


def test_answers(r):
    """The answers of calls that few programs make."""
    r.run(r.programs["answers"], "answers.h5", "answers-other.h5", *ours(r))
    r.ours(r.work / "answers.h5")


def test_optional(r):
    """Optional operations that succeed, and those that are reported as supported."""
    r.run(r.programs["optional"], "optional.h5", *ours(r))
    r.ours(r.work / "optional.h5")


def test_described(r):
    """Links that are described and not followed, objects behind external links, and comments."""
    r.run(r.programs["described"], "described.h5")
    r.ours(r.work / "described.h5")


def test_given(r):
    """Types that datasets and attributes return, and attributes without elements."""
    r.run(r.programs["given"], "given.h5")
    r.ours(r.work / "given.h5")


def test_indexed(r):
    """Objects by their index in other files, mount points, and the group of an external link."""
    r.run(r.programs["indexed"], "indexed.h5", "indexed-other.h5")
    r.ours(r.work / "indexed.h5")


def test_properties(r):
    """The effects of property lists, and the lists that calls return; writes to read-only files."""
    r.run(r.programs["properties"], "properties.h5", "properties-other.h5")
    r.ours(r.work / "properties.h5")


@pytest.mark.parametrize("how", ["second", "read-only", "link", "names"])
def test_sources_are_committed(r, how):
    """Data written through a virtual dataset is durable once a flush has returned, whatever other handle has its
    source open."""
    killed = subprocess.run([r.programs["unclosed"], how, f"{how}.h5", f"{how}-source.h5"], env=r.connector.env(), cwd=r.work,
                            capture_output=True, text=True, timeout=r.limit)
    assert killed.returncode == -9, killed.stderr
    r.run(r.programs["unclosed"], "check", f"{how}-source.h5")


@pytest.mark.parametrize("how", ["again", "by-object", "at-exit", "filter"])
def test_closes_are_final(r, how):
    """Closing a dataset releases it even if its last changes cannot be stored: they are retained for another try."""
    if not r.connector.is_ours or r.connector.in_store:
        pytest.skip("native HDF5 crashes then; the limit is one for local files")
    r.run(r.programs["unclosed"], how, f"{how}.h5", f"{how}-other.h5")
    r.run(r.programs["unclosed"], "check", f"{how}.h5")


def reported(r, connector, name, *arguments):
    """Returns the names of the failed calls that a program's library reports on stderr, in order."""
    done = subprocess.run([r.programs[name], *arguments], env=connector.env(), cwd=r.work, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"exit {done.returncode}: {done.stderr[-600:]}")
    # The outermost frame of each report says which call failed.
    return re.findall(r"^  #000: .* in (\w+)\(\)", done.stderr, re.M)


def test_once(r):
    """Failures in native files are reported once each."""
    wanted, got = (reported(r, connector, "once", "once.h5") for connector in (r.native, r.connector))
    if got != wanted or len(wanted) != 4:
        raise Failure(f"natively these calls are reported: {wanted}, here: {got}")


def test_conversions(r):
    """Data transforms; each missing conversion is reported once."""
    got = reported(r, r.connector, "conversions", "conversions.h5")
    r.ours(r.work / "conversions.h5")
    if got != ["H5Dwrite", "H5Dread", "H5Awrite", "H5Aread", "H5Dwrite", "H5Dread"]:
        raise Failure(f"these calls are reported: {got}")


def test_vol(r):
    """1,001 datasets of 100,000 ints."""
    r.run(r.programs["vol"], "vol.h5")
    r.ours(r.work / "vol.h5")
    size = (r.work / "vol.h5").stat().st_size
    (r.work / "vol.h5").unlink()
    if size > 1.1 * 1001 * 400_000:
        raise Failure(f"400 MB of data take {size / 1e6:.0f} MB")


def test_resident_size(r):
    """1,000 files and 10,000 datasets in a flat resident size."""
    print("  " + r.run(r.programs["leaks"], "leaks.h5", FILES, DATASETS_EACH, GROWTH_KIB).strip())


def ours(r):
    """Returns the argument that tells a program that its connector is h5lake."""
    return ["ours"] if r.connector.is_ours else []


@pytest.mark.parametrize("case", ["order", "scattered", "random", "waits", "closes", "at-once", "many", "elsewhere", "sets", "files"])
def test_events(r, case):
    """Transfers and flushes with event sets."""
    r.run(r.programs["events"], case, f"{case}.h5", *ours(r))


@pytest.mark.parametrize("case", ["failure", "untold", "many-untold", "number", "lost", "shut", "forked", "threads"])
def test_event_ends(r, case):
    """Failures of these operations, and their end when the program forks or the library shuts down."""
    if case == "number" and r.connector.in_store:
        pytest.skip("the limit is one for local files")
    r.run(r.programs["event_ends"], case, f"{case}.h5", *ours(r))


def test_events_at_exit(r):
    """A program that ends waits for running operations. The file of a killed program contains the flushed data."""
    r.run(r.programs["event_ends"], "end", "end.h5", *ours(r))
    r.run(r.programs["event_ends"], "read", "end.h5")
    r.run(r.programs["event_ends"], "stop", "stop.h5", *ours(r))
    if r.connector.is_ours:
        r.tool("h5dump", "-H", "stop.h5")


def test_failed_events_at_exit(r):
    """A failure that no wait reported is reported when the program ends, and by its exit status."""
    if not r.connector.is_ours:
        pytest.skip("natively it is the call that fails")
    done = subprocess.run([r.programs["event_ends"], "failing-end", "failing.h5", "ours"], env=r.connector.env(), cwd=r.work,
                          capture_output=True, text=True, timeout=r.limit)
    if done.returncode != 74 or "without having waited for an event set" not in done.stderr:
        raise Failure(f"exit {done.returncode}: {done.stderr[-600:]}")


# The programs that run under valgrind.
VALGRIND = {"leaks": ("leaks", "leaks.h5", 12, 10), "closing": ("closing", "shut", "closing.h5"),
            "refs": ("refs", "write", "refs.h5", "refs-other.h5"),
            "copied_refs": ("copied_refs", "one.h5", "other.h5", "native.h5"), "many": ("many", "many.h5"),
            "sessions": ("sessions", "sessions.h5"), "values": ("values", "values.h5"),
            "natives": ("natives", "natives.h5", "natives-native.h5")}


def test_reentry(r):
    """Objects that are closed, and files that are used, in functions that HDF5 calls and in exit handlers."""
    r.run(r.programs["reentry"], "reentry.h5", *(["ours"] if r.connector.is_ours else []))
    r.ours(r.work / "reentry.h5")
    r.run(r.programs["reentry"], "reentry.h5", "read")


def test_stacked(r):
    """A native file, variable-length data included, under a connector that is stacked on this one."""
    if not r.connector.is_ours:
        pytest.skip("there is nothing to be stacked on")
    stacked = r.connector.like("pass_through under_vol=496;under_info={}")
    r.run(r.programs["reentry"], "stacked.h5", connector=r.native)
    r.run(r.programs["reentry"], "stacked.h5", "read", connector=stacked)


def test_memory(r):
    """Each operation on each kind of datatype leaks nothing, however often it is repeated."""
    print("  " + r.run(r.programs["memory"], "memory.h5", limit=r.limit * 3).strip())
    r.ours(r.work / "memory.h5")


def test_valgrind(r):
    """Nothing definitely lost and no invalid access in the connector's code."""
    if not r.connector.is_ours:
        pytest.skip("it looks for the connector's leaks alone")
    if not shutil.which("valgrind") and os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "valgrind"], stdout=subprocess.DEVNULL)
    if not shutil.which("valgrind"):
        r.cannot_run("valgrind", "valgrind is not installed")
    for name, (program, *arguments) in VALGRIND.items():
        report = r.work / f"valgrind-{name}.xml"
        r.run("valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=40", "--xml=yes",
              f"--xml-file={report}", r.programs[program], *arguments, limit=r.limit * 3)
        look_through(report)


def look_through(report):
    """Fails on errors that valgrind found in the connector's code."""
    found = []
    for error in xml.parse(report).getroot().iter("error"):
        kind = error.findtext("kind")
        frames = [(f.findtext("fn"), f.findtext("obj") or "") for f in error.iter("frame")]
        in_ours = [name for name, library in frames if library.endswith("/libh5lake.so")]
        if in_ours and kind != "Leak_PossiblyLost":
            found.append(f"{kind} in {in_ours[0]}")
    if found:
        shutil.copy(report, RESULTS)
        raise Failure(f"{len(found)} findings, the first: {found[0]}; all in {RESULTS / report.name}")


def shown(text, *paths):
    """Returns a tool's output without the file's name and native addresses, so that two files can be compared."""
    for path in paths:
        text = text.replace(str(path), "FILE")
    return re.sub(r"^ *OFFSET \d+\n", "", text, flags=re.M)


def compare(r, name, *arguments):
    """Asserts that the tool's output for our file equals that for the native file of the same program."""
    native, ours = r.work / "native-tour.h5", r.work / "tour.h5"
    if not native.exists():
        r.run(r.programs["tour"], "write", native, connector=r.native)
    wanted = shown(r.tool(name, *arguments, native, connector=r.native), native, native.name)
    got = shown(r.tool(name, *arguments, ours), ours, ours.name)
    if got != wanted:
        at = next(i for i, pair in enumerate(zip(got + "\0", wanted + "\1")) if pair[0] != pair[1])
        raise Failure(f"{name} shows {got[max(0, at - 60):at + 120]!r}, native {wanted[max(0, at - 60):at + 120]!r}")


def test_h5dump(r, tour):
    """h5dump shows everything."""
    compare(r, "h5dump", "-p")


def test_h5ls(r, tour):
    """h5ls lists everything."""
    compare(r, "h5ls", "-r")


def test_comments(r, tour):
    """h5dump and h5ls show comments, which they request from the connector."""
    if r.tool("h5dump", "-p", "tour.h5").count('COMMENT "of ') != 2:
        raise Failure("h5dump does not show both comments")
    if "of a dataset" not in r.tool("h5ls", "-v", "tour.h5/data/plain"):
        raise Failure("h5ls does not show the comment")


def test_h5diff(r, tour):
    """h5diff finds no difference at first, and then the one that was made."""
    r.run(r.programs["tour"], "write", "tour2.h5")
    r.tool("h5diff", "tour.h5", "tour2.h5")
    r.tool("h5copy", "-i", "tour.h5", "-o", "tour2.h5", "-s", "/data/plain", "-d", "/extra")
    try:
        r.tool("h5diff", "-c", "tour.h5", "tour2.h5", "/data/chunked", "/extra")
    except Failure:
        return
    raise Failure("two different datasets are no difference to h5diff")


def test_h5stat(r):
    """h5stat counts as it does for a native file of the same program; the size of metadata depends on the format."""
    def counted(connector, name):
        r.run(r.programs["calls"], name, f"other-{name}", connector=connector)
        return [line for line in r.tool("h5stat", name, connector=connector).splitlines() if "# " in line]
    wanted, got = counted(r.native, "stat-native.h5"), counted(r.connector, "stat.h5")
    if wanted != got or len(wanted) < 20:
        raise Failure(f"{[pair for pair in zip(wanted, got) if pair[0] != pair[1]][:5]} of {len(wanted)}")


def test_h5copy(r, tour):
    """h5copy copies a group with its members."""
    r.tool("h5copy", "-i", "tour.h5", "-o", "copied.h5", "-s", "/data", "-d", "/elsewhere")
    r.ours(r.work / "copied.h5")
    r.tool("h5diff", "tour.h5", "copied.h5", "/data/plain", "/elsewhere/plain")


def test_h5repack(r, tour):
    """h5repack into another layout preserves the content of the file."""
    r.tool("h5repack", "-l", "CHUNK=3x3", "tour.h5", "repacked.h5")
    r.ours(r.work / "repacked.h5")
    r.tool("h5diff", "tour.h5", "repacked.h5")
    if "CHUNKED ( 3, 3 )" not in r.tool("h5dump", "-p", "-H", "-d", "/data/plain", "repacked.h5"):
        raise Failure("the new layout is not there")


@pytest.mark.parametrize("name", ["family%03d.h5", "split", "multi"])
def test_spread_files(r, name):
    """HDF5's tools on native files that a driver spreads over several files, without naming the driver, and the tools' output files."""
    r.run(r.programs["spread"], "family%03d.h5", "split", "multi")
    r.tool("h5repack", name, "whole.h5")
    r.ours(r.work / "whole.h5")
    r.tool("h5diff", name, "whole.h5")
    r.tool("h5diff", "whole.h5", name)
    r.tool("h5repack", "-l", "group/set:CHUNK=100", name, "chunked.h5")
    r.tool("h5diff", name, "chunked.h5")
    r.tool("h5copy", "-i", name, "-o", "whole.h5", "-s", "/group", "-d", "/copy")
    r.tool("h5diff", name, "whole.h5", "/group", "/copy")
    if 'COMMENT "said"' not in r.tool("h5dump", "-H", name) + r.tool("h5dump", "whole.h5"):
        raise Failure("the comment is not there")


def test_a_library_of_a_later_version_is_served(r):
    """This build of HDF5 with the text of a later minor version, which the connector does not know. libhdf5 itself is not to complain."""
    folder = r.work / "later"
    folder.mkdir()
    major, minor, release = connectors.hdf5_version(r.prefix).split(".")
    text, later = (f"HDF5 library version: {major}.{number}.{release}".encode() for number in (minor, "9" * len(minor)))
    library = (r.prefix / "lib" / "libhdf5.so").resolve().read_bytes()
    assert text in library
    (folder / "libhdf5.so").write_bytes(library.replace(text, later))
    preloaded = r.connector.at(r.work)
    preloaded.variables = r.connector.variables | {"LD_PRELOAD": folder / "libhdf5.so", "HDF5_DISABLE_VERSION_CHECK": 1}
    for task in "write", "read":
        r.run(r.programs["tour"], task, "later.h5", connector=preloaded)
    r.ours(r.work / "later.h5")
    r.run(r.programs["tour"], "read", "later.h5")


def test_newer_types(r):
    """Complex numbers and small floating-point numbers: the program reads the same values as from a native file,
    whether the program or the tool made the container, and from a native file that the tool made from a
    container."""
    program = r.programs["newer_types"]
    r.run(program, "write", "native-types.h5", connector=r.native)
    wanted = r.run(program, "read", "native-types.h5", connector=r.native)
    if not wanted:
        pytest.skip("HDF5 has these types from 2.0 on")
    r.run(program, "write", "types.h5")
    r.ours(r.work / "types.h5")
    got = {"types.h5": r.run(program, "read", "types.h5"), "native-types.h5": r.run(program, "read", "native-types.h5")}
    if r.connector.is_ours and not r.connector.in_store:
        library = ["--library", r.prefix / "lib" / "libhdf5.so"]
        r.run(cargo.tool(), "import", *library, "native-types.h5", "imported-types.h5", connector=r.native)
        r.run(cargo.tool(), "export", *library, "types.h5", "native-exported.h5", connector=r.native)
        got["imported-types.h5"] = r.run(program, "read", "imported-types.h5")
        got["native-exported.h5"] = r.run(program, "read", "native-exported.h5", connector=r.native)
    wrong = {name: text for name, text in got.items() if text != wanted}
    if wrong or wanted.count("\n") < 300:
        lines = [(name, *pair) for name, text in wrong.items() for pair in zip(wanted.splitlines(), text.splitlines()) if pair[0] != pair[1]]
        raise Failure(f"natively and here: {lines[:3]}")


def test_cgns(r):
    """CGNS and its tools on files with links to other files: the tools print the same as for native files."""
    made = subprocess.run([HERE.parent / "cgns/build", r.prefix], stdout=subprocess.PIPE, text=True)
    if made.returncode == 3:
        r.cannot_run("cgns", "the source of CGNS cannot be had")
    made.check_returncode()
    cgns = Path(made.stdout.strip())
    libraries = [f"-I{cgns}/include", f"-L{cgns}/lib", f"-Wl,-rpath,{cgns}/lib", "-lcgns"]
    program = connectors.compile_program(HERE.parent / "cgns/grids.c", connectors.programs_folder(r.prefix) / "grids", r.prefix, *libraries)
    shown = []
    for name, connector in ("cgns-native", r.native), ("cgns", r.connector):
        (r.work / name).mkdir()
        for task in "write", "read":
            r.run(program, task, name, connector=connector)
        file = f"{name}/whole.cgns"
        shown.append([r.run(cgns / "bin" / tool, *options, file, connector=connector).replace(file, "FILE")
                      for tool, *options in (("cgnslist", "-f", "-a"), ("cgnscheck",))])
    r.ours(r.work / "cgns/whole.cgns")
    if shown[0] != shown[1] or "part.cgns" not in shown[0][0]:
        raise Failure(f"natively: {shown[0]}, here: {shown[1]}")
    if r.run(cgns / "bin/cgnsdiff", "-d", "cgns-native/whole.cgns", "cgns/whole.cgns"):
        raise Failure("cgnsdiff finds differences")


def test_import_and_export(r):
    """h5repack from a native file and back to one, both passed through. (With --src-vol-name or --dst-vol-name
    native the two files have different connectors, between which libhdf5's H5Lcopy refuses soft links.)"""
    if not r.connector.is_ours:
        pytest.skip("both sides would be native")
    native = r.work / "native-tour.h5"
    r.run(r.programs["tour"], "write", native, connector=r.native)
    r.tool("h5repack", native, "imported.h5")
    r.ours(r.work / "imported.h5")
    r.run(r.programs["tour"], "read", "imported.h5")
    r.tool("h5diff", native, "imported.h5")
    r.tool("h5repack", "--dst-vfd-name", "stdio", "imported.h5", "native-out.h5")
    if connectors.kind_of(r.work / "native-out.h5") != "native":
        raise Failure("what was exported is no native file")
    r.run(r.programs["tour"], "read", "native-out.h5", connector=r.native)


def test_import_and_export_by_the_tool(r):
    """The tool h5lake with the same libhdf5: equal for h5diff, there and back."""
    if not r.connector.is_ours or r.connector.in_store:
        pytest.skip("it makes local containers")
    start, back = r.work / "native-start.h5", r.work / "native-back.h5"
    r.run(r.programs["tour"], "write", start, connector=r.native)
    library = r.prefix / "lib" / "libhdf5.so"
    r.run(cargo.tool(), "import", "--library", library, start, "by-tool.h5", connector=r.native)
    r.ours(r.work / "by-tool.h5")
    r.tool("h5diff", start, "by-tool.h5")
    r.run(r.programs["tour"], "read", "by-tool.h5")
    r.run(cargo.tool(), "export", "--library", library, "by-tool.h5", back, connector=r.native)
    r.tool("h5diff", start, back, connector=r.native)
    r.run(r.programs["tour"], "read", back, connector=r.native)

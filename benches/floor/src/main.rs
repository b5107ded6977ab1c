//! `h5lake-floor ROW PHASE FILE SIZE`: carries out the work of one row of the benchmarks with plain `pwrite` and
//! `pread` (and libdeflate on one core), as a bound that no library exceeds. Prints one line of JSON: seconds per unit.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use rustix::time::{ClockId, clock_gettime};

const MIB: usize = 1 << 20;

/// Metrics with their wall time and the working time of the process, in seconds per unit.
#[derive(Default)]
struct Times(Vec<(&'static str, f64, f64)>);

fn clock(id: ClockId) -> f64 {
    let t = clock_gettime(id);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

impl Times {
    fn take<T>(&mut self, name: &'static str, units: usize, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let (wall, work) = (clock(ClockId::Monotonic), clock(ClockId::ProcessCPUTime));
        let value = body()?;
        let wall = clock(ClockId::Monotonic) - wall;
        self.0.push((name, wall / units as f64, (clock(ClockId::ProcessCPUTime) - work) / units as f64));
        Ok(value)
    }

    fn json(&self, pick: impl Fn(&(&'static str, f64, f64)) -> f64) -> String {
        let pairs: Vec<String> = self.0.iter().map(|m| format!("\"{}\": {:e}", m.0, pick(m))).collect();
        format!("{{{}}}", pairs.join(", "))
    }
}

/// Returns bytes that no page contains by accident.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251 + i) as u8).collect()
}

fn check(right: bool) -> Result<()> {
    if right { Ok(()) } else { Err(Error::other("the data read is not what was written")) }
}

/// Writes or reads all data in calls of `step` bytes.
fn whole(times: &mut Times, phase: &str, path: &str, size: usize, step: usize) -> Result<()> {
    let data = pattern(size);
    if phase == "write" {
        return times.take("write", 1, || {
            let file = File::create(path)?;
            (0..size)
                .step_by(step)
                .try_for_each(|at| file.write_all_at(&data[at..size.min(at + step)], at as u64))
        });
    }
    let mut out = vec![1; size];
    times.take("read", 1, || {
        let file = File::open(path)?;
        (0..size)
            .step_by(step)
            .try_for_each(|at| file.read_exact_at(&mut out[at..size.min(at + step)], at as u64))
    })?;
    check(out == data)
}

/// Makes 1,000 reads of 64 KiB far from each other.
fn slices(times: &mut Times, phase: &str, path: &str, size: usize) -> Result<()> {
    let data = pattern(size);
    if phase == "write" {
        return File::create(path)?.write_all_at(&data, 0);
    }
    let (file, mut out, mut sum) = (File::open(path)?, vec![1; 65_536], 0_u64);
    let starts: Vec<usize> = (0..1000_usize).map(|i| i * 7_919_993 % (size - out.len())).collect();
    times.take("slice", starts.len(), || {
        for start in &starts {
            file.read_exact_at(&mut out, *start as u64)?;
            sum += u64::from(out[7]);
        }
        Ok(())
    })?;
    check(sum == starts.iter().map(|start| u64::from(data[start + 7])).sum())
}

fn smooth(size: usize) -> Vec<u8> {
    let value =
        |n: f64| (n / 5000.0).sin() * 100.0 + (n / 77.0).cos() + ((n * 12.9898).sin() * 4.0).round() / 64.0;
    (0..size / 4).flat_map(|i| (value(i as f64) as f32).to_le_bytes()).collect()
}

fn shuffled(chunk: &[u8]) -> Vec<u8> {
    (0..4).flat_map(|byte| chunk.iter().skip(byte).step_by(4).copied()).collect()
}

/// Runs libdeflate alone; shuffling is not timed.
fn gzip(times: &mut Times, phase: &str, path: &str, size: usize) -> Result<()> {
    let chunks: Vec<Vec<u8>> = smooth(size).chunks(MIB).map(shuffled).collect();
    let mut compressor = Compressor::new(CompressionLvl::new(4).map_err(|_| Error::other("no such level"))?);
    let mut packed: Vec<Vec<u8>> = Vec::new();
    let mut compress = || {
        for chunk in &chunks {
            let mut out = vec![0; compressor.zlib_compress_bound(chunk.len())];
            let length = compressor.zlib_compress(chunk, &mut out).map_err(Error::other)?;
            out.truncate(length);
            packed.push(out);
        }
        Ok(())
    };
    if phase == "write" {
        times.take("write", 1, &mut compress)?;
        return File::create(path)?.write_all_at(&packed.concat(), 0);
    }
    compress()?;
    let (mut decompressor, mut out) = (Decompressor::new(), vec![vec![0; MIB]; chunks.len()]);
    times.take("read", 1, || {
        for (from, to) in packed.iter().zip(&mut out) {
            decompressor.zlib_decompress(from, to).map_err(Error::other)?;
        }
        Ok(())
    })?;
    check(out.iter().zip(&chunks).all(|(found, wanted)| found[..wanted.len()] == wanted[..]))
}

/// Makes a `pwrite` of 4 KiB and one of a superblock slot for each append.
fn appends(times: &mut Times, phase: &str, path: &str, count: usize) -> Result<()> {
    if phase == "read" {
        return Ok(());
    }
    let (file, data) = (File::create(path)?, pattern(4096));
    times.take("append", count, || {
        (0..count).try_for_each(|i| {
            file.write_all_at(&data, 4096 * (i as u64 + 1))?;
            file.write_all_at(&data[..256], 0)
        })
    })
}

/// Writes or reads 400,000 bytes at a time, through one buffer.
fn sets(times: &mut Times, phase: &str, path: &str, count: usize) -> Result<()> {
    let mut data = pattern(400_000);
    let begin = |i: usize| (i * 400_000) as u64;
    if phase == "write" {
        return times.take("write", count, || {
            let file = File::create(path)?;
            (0..count).try_for_each(|i| file.write_all_at(&data, begin(i)))
        });
    }
    times.take("read", count, || {
        let file = File::open(path)?;
        (0..count).try_for_each(|i| file.read_exact_at(&mut data, begin(i)))
    })?;
    check(data == pattern(400_000))
}

fn main() -> Result<()> {
    rustix::thread::disable_transparent_huge_pages(true)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [row, phase, path, size] = words.as_slice() else {
        return Err(Error::other("h5lake-floor ROW PHASE FILE SIZE"));
    };
    let size: usize = size.parse().map_err(Error::other)?;
    let mut times = Times::default();
    match row.as_str() {
        "contiguous" => whole(&mut times, phase, path, size, size),
        "chunks" => whole(&mut times, phase, path, size, MIB),
        "compound" => whole(&mut times, phase, path, size * 32, size * 32),
        "slices" => slices(&mut times, phase, path, size),
        "gzip" => gzip(&mut times, phase, path, size),
        "appends" => appends(&mut times, phase, path, size),
        "vol-c" => sets(&mut times, phase, path, size),
        _ => Err(Error::other(format!("no floor for {row}"))),
    }?;
    let (wall, work) = (times.json(|m| m.1), times.json(|m| m.2));
    println!("{{\"times\": {wall}, \"work\": {work}, \"connector\": \"floor\", \"rss\": 0}}");
    Ok(())
}

//! A reproducible workload with payloads, and the content that it should produce.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "tests")]

use std::collections::BTreeMap;

use h5lake_ledger::{Error, Extent, Ledger};

pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A small random sequence; equal for equal seeds.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

pub fn data(seed: u64, len: u64) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31).wrapping_add(seed.wrapping_mul(77))) as u8).collect()
}

/// Returns the content of a container without tags and branches. All payloads are read and verified.
pub fn content(l: &Ledger) -> Result<Map, Error> {
    let mut out = Map::new();
    for (k, v) in l
        .scan_prefix(b"", None, usize::MAX)?
        .into_iter()
        .filter(|(k, _)| !matches!(k.first(), Some(&(b'T' | b'V'))))
    {
        let value = if v[0] == 1 {
            let e = Extent::decode(&v[1..])?.0;
            let mut buf = vec![0; e.len() as usize];
            l.read_payload(&e, 0, &mut buf)?;
            buf
        } else {
            v[1..].to_vec()
        };
        out.insert(k.to_vec(), value);
    }
    Ok(out)
}

/// Appends to a payload in place if possible; otherwise a new payload replaces it.
fn grow(l: &Ledger, model: &mut Map, key: &[u8], more: &[u8]) -> Result<(), Error> {
    const MAX_GROWN_BYTES: u64 = 30_000;
    let mut all = model.get(key).cloned().unwrap_or_default();
    let old = l.get(key)?.map(|v| Extent::decode(&v[1..])).transpose()?.map(|(e, _)| e);
    let grown = match &old {
        Some(old) if old.len() < MAX_GROWN_BYTES => l.grow_payload(old, more)?,
        _ => None,
    };
    if old.as_ref().is_none_or(|old| old.len() >= MAX_GROWN_BYTES) {
        all.clear();
    }
    all.extend_from_slice(more);
    let (new, replaced) = match grown {
        Some(grown) => (grown, None),
        None => (l.write_to_grow(&all, MAX_GROWN_BYTES)?, old),
    };
    let mut v = vec![1];
    new.encode(&mut v);
    l.put(key, v)?;
    model.insert(key.to_vec(), all);
    replaced.map_or(Ok(()), |old| l.free_payload(&old))
}

/// Changes a few bytes of a value, or makes it longer or shorter.
fn edit(l: &Ledger, model: &mut Map, n: u64) -> Result<(), Error> {
    let mut c = Chance::new(n + 1000);
    let key = format!("edited-{}", c.below(2)).into_bytes();
    let mut bytes = match model.get(&key) {
        Some(old) if c.below(8) > 0 => old.clone(),
        _ => data(n, 40 + c.below(400)),
    };
    let at = c.below(bytes.len() as u64) as usize;
    match c.below(6) {
        0 => drop(bytes.drain(at..)),
        1 => bytes.extend(data(n, 80)),
        2 => bytes.insert(at, n as u8),
        _ => bytes[at] ^= 1 + n as u8 % 100,
    }
    if bytes.len() < 10 {
        model.remove(&key);
        return l.delete(&key);
    }
    l.put(&key, [&[0], &*bytes].concat())?;
    model.insert(key, bytes);
    Ok(())
}

/// Stages the changes of one commit, different for every `n`.
pub fn stage(l: &Ledger, model: &mut Map, n: u64) -> Result<(), Error> {
    let mut c = Chance::new(n + 1);
    for key in [b"grows-0", b"grows-1"].iter().take(1 + c.below(2) as usize) {
        let length = [4096, 64, 992, 4000, 40_000][c.below(5) as usize];
        grow(l, model, *key, &data(n, length))?;
    }
    edit(l, model, n)?;
    for _ in 0..1 + c.below(12) {
        let key = format!("key-{:03}", c.below(60)).into_bytes();
        if let Some(old) = l.get(&key)?
            && old[0] == 1
        {
            l.free_payload(&Extent::decode(&old[1..])?.0)?;
        }
        match c.below(4) {
            0 => {
                l.delete(&key)?;
                model.remove(&key);
            }
            1 => {
                let bytes = data(n, [10, 300, 5000, 40_000, 90_000][c.below(5) as usize]);
                let mut v = vec![1];
                l.write_payload(&bytes)?.encode(&mut v);
                l.put(&key, v)?;
                model.insert(key, bytes);
            }
            _ => {
                let bytes = data(n, [3, 100, 2500][c.below(3) as usize]);
                let mut v = vec![0];
                v.extend_from_slice(&bytes);
                l.put(&key, v)?;
                model.insert(key, bytes);
            }
        }
    }
    Ok(())
}

/// Commits until a commit fails. Returns the number of acknowledged versions, and the states of all versions, including
/// the one in flight.
pub fn work(l: &Ledger, start: &Map, commits: u64) -> (u64, Vec<Map>, Result<(), Error>) {
    let mut states = vec![start.clone()];
    let first = l.version();
    for n in 0..commits {
        let mut model = states[n as usize].clone();
        let staged = stage(l, &mut model, first + n);
        states.push(model);
        if let Err(e) = staged.and_then(|()| l.commit()) {
            return (n, states, Err(e));
        }
    }
    (commits, states, Ok(()))
}

//! Conversion of elements from file form to [value form](crate::form).
//!
//! Variable-length data is read level by level: all strings and sequences of the elements first, then those inside of
//! these sequences, and so on. So the blobs of one level are read together, in the order of their addresses.

use h5lake_container::{Container, Error, ErrorKind, InlineHeap, Result};

use crate::elements::value::Decoder;
use crate::elements::{Bits, ByteOrder, Padding, ReferenceKind, Type};
use crate::form::{Form, NULL_SPAN};
use crate::walk::Paths;

/// The maximum number of bytes of variable-length data that one call returns. The bound is needed because the elements
/// of a hostile container may name the same blob many times, at any depth.
pub const MAX_POOL: usize = 1 << 30;

/// The alignment of the elements of a sequence in the pool, in bytes.
const ALIGNMENT: usize = 8;

/// The error number of the system for memory that is exhausted.
const ENOMEM: i32 = 12;

/// The size of a blob's id, and of the length before it.
const LENGTH: usize = 4;
const ID: usize = 16;

/// The location of a span that is not filled yet.
#[derive(Debug, Clone, Copy)]
enum Spot {
    Elements(usize),
    Pool(usize),
}

/// A span whose bytes are to be read.
struct Wanted<'f> {
    spot: Spot,
    id: [u8; ID],
    /// Its length in bytes of text, or in elements.
    count: u32,
    form: &'f Form,
}

/// A reference whose target is to be found, with its stored bytes.
struct Referring {
    spot: Spot,
    kind: ReferenceKind,
    bytes: Vec<u8>,
}

/// A converter for the elements of one call.
pub struct Converter<'a, 'f> {
    container: &'a Container,
    /// The blobs of an attribute; empty for a dataset.
    heap: InlineHeap,
    paths: &'a mut Paths,
    pool: Vec<u8>,
    limit: usize,
    wanted: Vec<Wanted<'f>>,
    referring: Vec<Referring>,
}

fn too_large(limit: usize) -> Error {
    let text = format!(
        "the selected elements have more than {limit} bytes of variable-length data; select fewer elements"
    );
    Error::new(ErrorKind::NoSpace, text).with_errno(Some(ENOMEM))
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{why}; 'h5lake verify' shows the damage"))
}

fn no_memory(bytes: usize) -> Error {
    Error::new(ErrorKind::NoSpace, format!("no memory for {bytes} bytes; select fewer elements"))
        .with_errno(Some(ENOMEM))
}

/// Returns a zeroed buffer.
///
/// # Errors
/// If there is no memory for it.
pub fn zeros(bytes: usize) -> Result<Vec<u8>> {
    let mut made = Vec::new();
    made.try_reserve_exact(bytes).map_err(|_| no_memory(bytes))?;
    made.resize(bytes, 0);
    Ok(made)
}

impl<'a, 'f> Converter<'a, 'f> {
    /// Makes a converter.
    pub fn new(container: &'a Container, heap: InlineHeap, paths: &'a mut Paths) -> Self {
        let (wanted, referring) = (Vec::new(), Vec::new());
        Self { container, heap, paths, pool: Vec::new(), limit: MAX_POOL, wanted, referring }
    }

    /// Replaces the bound of the pool.
    #[cfg(test)]
    pub fn bounded(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Converts `stored` elements to `out`, which is as long as they are in value form. Returns the pool.
    ///
    /// # Errors
    /// If variable-length data is damaged, cannot be read, or exceeds [`MAX_POOL`].
    pub fn convert(mut self, form: &'f Form, stored: &[u8], out: &mut [u8]) -> Result<Vec<u8>> {
        let (from, to) = (form.file_size().max(1), form.size().max(1));
        for (n, (element, value)) in stored.chunks_exact(from).zip(out.chunks_exact_mut(to)).enumerate() {
            self.element(form, element, value, Spot::Elements(n * to))?;
        }
        while !self.wanted.is_empty() || !self.referring.is_empty() {
            self.fill_level(out)?;
        }
        Ok(self.pool)
    }

    fn element(&mut self, form: &'f Form, stored: &[u8], out: &mut [u8], spot: Spot) -> Result<()> {
        match form {
            Form::Plain(_) => out.copy_from_slice(stored),
            Form::Number { bits, signed } => number(stored, bits, *signed, out),
            Form::Text { padding, .. } => text(stored, *padding, out),
            Form::VariableText | Form::Sequence(_) => self.want(form, stored, out, spot),
            Form::Reference(kind) => self.refer(*kind, stored, out, spot),
            Form::Compound { members, .. } => {
                for (from, to, member) in members {
                    let stored = &stored[*from..*from + member.file_size()];
                    let out = &mut out[*to..*to + member.size()];
                    self.element(member, stored, out, spot.behind(*to))?;
                }
            }
            Form::Array { base, .. } => {
                let (from, to) = (base.file_size().max(1), base.size().max(1));
                for (n, (stored, out)) in stored.chunks_exact(from).zip(out.chunks_exact_mut(to)).enumerate()
                {
                    self.element(base, stored, out, spot.behind(n * to))?;
                }
            }
        }
        Ok(())
    }

    /// Notes a span to fill. The length of an element of variable length precedes the id of its blob.
    fn want(&mut self, form: &'f Form, stored: &[u8], out: &mut [u8], spot: Spot) {
        let mut count = [0; LENGTH];
        count.copy_from_slice(&stored[..LENGTH]);
        let mut id = [0; ID];
        id.copy_from_slice(&stored[LENGTH..LENGTH + ID]);
        let count = u32::from_le_bytes(count);
        if id == [0; ID] && count == 0 {
            write_span(out, NULL_SPAN, 0);
        } else {
            self.wanted.push(Wanted { spot, id, count, form });
        }
    }

    fn refer(&mut self, kind: ReferenceKind, stored: &[u8], out: &mut [u8], spot: Spot) {
        if stored.iter().all(|byte| *byte == 0) {
            write_span(out, NULL_SPAN, 0);
        } else {
            self.referring.push(Referring { spot, kind, bytes: stored.to_vec() });
        }
    }

    /// Reads the bytes of all spans that are known to be missing. The spans in these bytes are missing then.
    fn fill_level(&mut self, out: &mut [u8]) -> Result<()> {
        for referring in std::mem::take(&mut self.referring) {
            self.fill_reference(&referring, out)?;
        }
        let wanted = std::mem::take(&mut self.wanted);
        self.check_lengths(&wanted)?;
        let is_inline = |wanted: &Wanted<'_>| InlineHeap::has(&wanted.id);
        if wanted.iter().any(is_inline) {
            let heap = std::mem::take(&mut self.heap);
            for wanted in wanted.iter().filter(|wanted| is_inline(wanted)) {
                let bytes = heap.get(&wanted.id, bytes_of(wanted)?)?;
                self.fill(wanted, bytes, out)?;
            }
            self.heap = heap;
        }
        let apart: Vec<&Wanted<'f>> = wanted.iter().filter(|wanted| !is_inline(wanted)).collect();
        let blobs = apart.iter().map(|wanted| (wanted.id, bytes_of(wanted).unwrap_or(u64::MAX)));
        let container = self.container;
        container.heap_get_all(blobs, |n, bytes| self.fill(apart[n], bytes, out))
    }

    /// Checks that the blobs fit the pool before any is read: their lengths come from an untrusted container.
    fn check_lengths(&self, wanted: &[Wanted<'_>]) -> Result<()> {
        let mut total = self.pool.len() as u64;
        for wanted in wanted {
            total = total.saturating_add(bytes_of(wanted)?);
        }
        if total > self.limit as u64 { Err(too_large(self.limit)) } else { Ok(()) }
    }

    /// Appends the bytes of a span to the pool, in value form.
    fn fill(&mut self, wanted: &Wanted<'f>, bytes: &[u8], out: &mut [u8]) -> Result<()> {
        let Form::Sequence(base) = wanted.form else {
            // A program reads up to the first NUL.
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            return self.append(wanted.spot, &bytes[..end], out);
        };
        let count = wanted.count as usize;
        let at = self.pool.len().next_multiple_of(ALIGNMENT);
        let length = count.checked_mul(base.size()).ok_or_else(|| too_large(self.limit))?;
        self.grow_to(at.saturating_add(length))?;
        self.span_at(wanted.spot, out, at as u64, count as u64);
        let mut pool = std::mem::take(&mut self.pool);
        let filled = self.items(base, bytes, &mut pool[at..], at);
        self.pool = pool;
        filled
    }

    fn items(&mut self, base: &'f Form, bytes: &[u8], out: &mut [u8], at: usize) -> Result<()> {
        if base.is_plain() {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        let (from, to) = (base.file_size().max(1), base.size().max(1));
        for (n, (stored, out)) in bytes.chunks_exact(from).zip(out.chunks_exact_mut(to)).enumerate() {
            self.element(base, stored, out, Spot::Pool(at + n * to))?;
        }
        Ok(())
    }

    fn append(&mut self, spot: Spot, bytes: &[u8], out: &mut [u8]) -> Result<()> {
        let at = self.pool.len();
        if at.saturating_add(bytes.len()) > self.limit {
            return Err(too_large(self.limit));
        }
        self.pool.try_reserve(bytes.len()).map_err(|_| no_memory(bytes.len()))?;
        self.pool.extend_from_slice(bytes);
        self.span_at(spot, out, at as u64, bytes.len() as u64);
        Ok(())
    }

    fn grow_to(&mut self, length: usize) -> Result<()> {
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        self.pool.try_reserve(length - self.pool.len()).map_err(|_| no_memory(length))?;
        self.pool.resize(length, 0);
        Ok(())
    }

    fn span_at(&mut self, spot: Spot, out: &mut [u8], offset: u64, length: u64) {
        match spot {
            Spot::Elements(at) => write_span(&mut out[at..], offset, length),
            Spot::Pool(at) => write_span(&mut self.pool[at..], offset, length),
        }
    }

    /// Finds the target of a reference.
    fn fill_reference(&mut self, referring: &Referring, out: &mut [u8]) -> Result<()> {
        let mut decoder = Decoder::new(self.container, self.heap.clone(), self.paths);
        let found = decoder.decode(&Type::Reference(referring.kind), &referring.bytes);
        let found = found.map_err(|why| match why.downcast::<Error>() {
            Ok(error) => *error,
            Err(why) => damaged(&why.to_string()),
        })?;
        self.append(referring.spot, found.json().to_string().as_bytes(), out)
    }
}

impl Spot {
    fn behind(self, bytes: usize) -> Self {
        match self {
            Self::Elements(at) => Self::Elements(at + bytes),
            Self::Pool(at) => Self::Pool(at + bytes),
        }
    }
}

/// Returns the stored length of a span's bytes.
fn bytes_of(wanted: &Wanted<'_>) -> Result<u64> {
    let width = match wanted.form {
        Form::Sequence(base) => base.file_size(),
        _ => 1,
    };
    let length = u64::from(wanted.count).checked_mul(width as u64);
    length.ok_or_else(|| damaged("a sequence has an impossible length"))
}

fn write_span(out: &mut [u8], offset: u64, length: u64) {
    out[..8].copy_from_slice(&offset.to_ne_bytes());
    out[8..16].copy_from_slice(&length.to_ne_bytes());
}

/// Writes a number so that it fills all its bytes.
fn number(stored: &[u8], bits: &Bits, signed: bool, out: &mut [u8]) {
    let add = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
    let all = match bits.order {
        ByteOrder::Big => stored.iter().fold(0, add),
        _ => stored.iter().rev().fold(0, add),
    };
    let precision = bits.precision.clamp(1, 128);
    let unused = 128 - precision;
    let shifted = all.checked_shr(bits.offset).unwrap_or(0) << unused;
    let value = if signed { (shifted as i128 >> unused) as u128 } else { shifted >> unused };
    for (n, byte) in out.iter_mut().enumerate() {
        let place = if bits.order == ByteOrder::Big { stored.len() - 1 - n } else { n };
        *byte = (value >> (8 * place)) as u8;
    }
}

/// Writes a string of fixed length with NULs as its padding.
fn text(stored: &[u8], padding: Padding, out: &mut [u8]) {
    let end = match padding {
        Padding::Nul => stored.iter().position(|byte| *byte == 0).unwrap_or(stored.len()),
        Padding::Blanks => stored.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1),
        Padding::Nuls => stored.len(),
    };
    out[..end].copy_from_slice(&stored[..end]);
    out[end..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(order: ByteOrder, offset: u32, precision: u32) -> Bits {
        Bits { order, size: 2, offset, precision }
    }

    #[test]
    fn numbers_fill_all_their_bytes() {
        let little = |stored: [u8; 2], offset, precision, signed| {
            let mut out = [0; 2];
            number(&stored, &bits(ByteOrder::Little, offset, precision), signed, &mut out);
            i16::from_le_bytes(out)
        };
        assert_eq!(little([0xff, 0xff], 0, 12, true), -1);
        assert_eq!(little([0xff, 0xff], 0, 12, false), 0xfff);
        assert_eq!(little([0xf0, 0x7f], 4, 12, true), 0x7ff);
        assert_eq!(little([0xf0, 0x80], 4, 12, true), -0x7f1);
        let mut out = [0; 2];
        number(&[0x80, 0xf0], &bits(ByteOrder::Big, 4, 12), true, &mut out);
        assert_eq!(i16::from_be_bytes(out), -0x7f1);
    }

    #[test]
    fn strings_are_padded_with_nuls() {
        let padded = |stored: &[u8; 6], padding| {
            let mut out = [b'?'; 6];
            text(stored, padding, &mut out);
            out
        };
        assert_eq!(&padded(b"ab\0cd\0", Padding::Nul), b"ab\0\0\0\0");
        assert_eq!(&padded(b"ab c  ", Padding::Blanks), b"ab c\0\0");
        assert_eq!(&padded(b"abcdef", Padding::Nul), b"abcdef");
        assert_eq!(&padded(b"      ", Padding::Blanks), b"\0\0\0\0\0\0");
    }
}

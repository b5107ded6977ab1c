//! Reads and writes little-endian integers, LEB128 varints and byte strings. Every read checks its bounds.

/// The result of a decoder. The error is the reason why the bytes are not valid.
pub(crate) type Decoded<T> = std::result::Result<T, &'static str>;

const CUT: &str = "cut short";

/// The reason to refuse a reserved field that is not zero. Only a newer build writes such a field, so
/// [`Error::corrupt`](crate::Error) makes `NewerFormat` of it: repair, salvage and replacement must not treat newer data
/// as damage.
pub(crate) const NEWER: &str = "it has a codec, a key or a field that this build does not know";

/// The limit of versions, sequences, microseconds and byte counts, so that the sum of two of them does not overflow.
const END_OF_NUMBERS: u64 = 1 << 62;

fn below_end(n: u64) -> Decoded<u64> {
    if n < END_OF_NUMBERS { Ok(n) } else { Err("a number is larger than any version, time or length") }
}

/// Reads from the front of a byte slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns a reader that begins at a position. Reading beyond the end is an error.
    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, at: position }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(CUT)?;
        let part = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(part)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        let byte = *self.bytes.get(self.at).ok_or(CUT)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a version, a sequence, a time or a number of bytes: a varint below [`END_OF_NUMBERS`].
    pub(crate) fn number(&mut self) -> Decoded<u64> {
        self.varint().and_then(below_end)
    }

    /// Reads a number as [`Self::number`] does, from eight bytes.
    pub(crate) fn number64(&mut self) -> Decoded<u64> {
        self.u64().and_then(below_end)
    }

    pub(crate) fn id(&mut self) -> Decoded<[u8; 16]> {
        self.array()
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Decoded<u64> {
        // Most varints are lengths below 128.
        match self.bytes.get(self.at) {
            Some(b) if *b < 0x80 => {
                self.at += 1;
                Ok(u64::from(*b))
            }
            _ => match self.bytes.get(self.at..self.at + 8).and_then(|next| next.try_into().ok()) {
                Some(next) => self.varint_in(u64::from_le_bytes(next)),
                None => self.long_varint(),
            },
        }
    }

    /// Skips a varint without decoding it. A varint of more than 64 bits is an error.
    #[inline(always)]
    pub(crate) fn skip_varint(&mut self) -> Decoded<()> {
        let next = self.bytes.get(self.at..self.at + 8).and_then(|next| next.try_into().ok());
        let ends = next.map_or(0, |next| !u64::from_le_bytes(next) & 0x8080_8080_8080_8080);
        if ends == 0 {
            return self.long_varint().map(drop);
        }
        self.at += ends.trailing_zeros() as usize / 8 + 1;
        Ok(())
    }

    /// Decodes a varint that ends within the next eight bytes, all its groups of seven bits at once.
    #[inline(always)]
    fn varint_in(&mut self, next: u64) -> Decoded<u64> {
        let ends = !next & 0x8080_8080_8080_8080;
        if ends == 0 {
            return self.long_varint();
        }
        let bits = ends.trailing_zeros() + 1;
        let v = next & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
        let v = (v & 0x7f00_7f00_7f00_7f00) >> 1 | v & 0x007f_007f_007f_007f;
        let v = (v & 0x3fff_0000_3fff_0000) >> 2 | v & 0x0000_3fff_0000_3fff;
        let v = (v & 0x0fff_ffff_0000_0000) >> 4 | v & 0x0000_0000_0fff_ffff;
        self.at += bits as usize / 8;
        Ok(v)
    }

    #[cold]
    fn long_varint(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            let bits = u64::from(b & 0x7f);
            if shift == 63 && bits > 1 {
                return Err("an integer is longer than 64 bits");
            }
            value |= bits << shift;
            if b & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer is longer than 64 bits")
    }

    /// Reads a varint that is the length of following bytes, which must exist.
    #[inline(always)]
    pub(crate) fn length(&mut self) -> Decoded<usize> {
        let n = self.varint()?;
        if n > self.remaining() as u64 {
            return Err(CUT);
        }
        Ok(n as usize)
    }

    /// Reads a length and that many bytes.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Decoded<&'a [u8]> {
        let n = usize::try_from(self.varint()?).map_err(|_| CUT)?;
        self.take(n)
    }

    pub(crate) fn end(&self) -> Decoded<()> {
        if self.remaining() == 0 { Ok(()) } else { Err("bytes follow the end") }
    }
}

/// Returns an id in hexadecimal digits, as it appears in names.
pub(crate) fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

pub(crate) fn put_string(out: &mut Vec<u8>, s: &[u8]) {
    put_varint(out, s.len() as u64);
    out.extend_from_slice(s);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_before_the_sum_of_two_would_wrap() {
        for n in [0, 127, END_OF_NUMBERS - 1, END_OF_NUMBERS, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            let read = [Reader::new(&out).number(), Reader::new(&n.to_le_bytes()).number64()];
            assert!(read.iter().all(|r| r.is_ok_and(|r| r == n) == (n < END_OF_NUMBERS)), "{n}: {read:?}");
        }
    }

    #[test]
    fn varints_round_trip_and_refuse_excess() {
        let ends =
            (0..64).flat_map(|n| [(1 << n) - 1, 1 << n, 0x0123_4567_89ab_cdef_u64 >> n, u64::MAX >> n]);
        for v in ends {
            let mut out = Vec::new();
            put_varint(&mut out, v);
            let mut r = Reader::new(&out);
            assert_eq!(r.varint(), Ok(v));
            assert!(r.end().is_ok());
            assert!(Reader::new(&out[..out.len() - 1]).varint().is_err());
            assert!(Reader::new(&out[..out.len() - 1]).skip_varint().is_err());
            // The bytes after a varint must not influence its value.
            for behind in [0, 0x7f, 0xff] {
                let longer = [&out[..], &[behind; 9]].concat();
                let mut r = Reader::new(&longer);
                assert_eq!((r.varint(), r.position()), (Ok(v), out.len()), "{behind}");
                let mut r = Reader::new(&longer);
                assert_eq!((r.skip_varint(), r.position()), (Ok(()), out.len()), "{behind}");
            }
        }
        assert!(Reader::new(&[0xff; 10]).varint().is_err());
        assert!(Reader::new(&[5, 1]).string().is_err());
    }
}

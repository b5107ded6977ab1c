//! Reads encodings, and checks every bound.

/// The result of checking an encoding: its properties, or its error.
pub type Checked<T> = Result<T, &'static str>;

/// The encoding ends before the length that it states.
const CUT: &str = "it is cut short";

/// A reader from the front of an encoding.
#[derive(Debug, Clone)]
pub(super) struct Bytes<'a> {
    remaining: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { remaining: bytes }
    }

    /// Returns the bytes that were not read yet.
    pub(super) fn remaining(&self) -> &'a [u8] {
        self.remaining
    }

    pub(super) fn take(&mut self, n: usize) -> Checked<&'a [u8]> {
        let (part, remaining) = self.remaining.split_at_checked(n).ok_or(CUT)?;
        self.remaining = remaining;
        Ok(part)
    }

    /// Takes bytes like [`Self::take`], with a length that comes from the encoding.
    pub(super) fn take_long(&mut self, n: u64) -> Checked<&'a [u8]> {
        self.take(usize::try_from(n).map_err(|_| CUT)?)
    }

    pub(super) fn u8(&mut self) -> Checked<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads a little-endian integer of `bytes` bytes, at most eight.
    pub(super) fn integer(&mut self, bytes: usize) -> Checked<u64> {
        if bytes > 8 {
            return Err("an integer has more than 8 bytes");
        }
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    pub(super) fn u16(&mut self) -> Checked<u16> {
        Ok(self.integer(2)? as u16)
    }

    pub(super) fn u32(&mut self) -> Checked<u32> {
        Ok(self.integer(4)? as u32)
    }

    pub(super) fn u64(&mut self) -> Checked<u64> {
        self.integer(8)
    }

    /// Reads the number of bytes of an integer, and the integer.
    pub(super) fn sized_integer(&mut self) -> Checked<u64> {
        let bytes = usize::from(self.u8()?);
        self.integer(bytes)
    }

    /// Reads the size of an `unsigned int`, and its value.
    pub(super) fn unsigned(&mut self) -> Checked<u32> {
        if self.u8()? != 4 {
            return Err("an unsigned integer has another size than 4 bytes");
        }
        self.u32()
    }

    /// Reads the bytes before the next NUL, and skips the NUL.
    pub(super) fn name(&mut self) -> Checked<&'a [u8]> {
        let n = self.remaining.iter().position(|b| *b == 0).ok_or("a name has no end")?;
        let name = self.take(n)?;
        self.take(1)?;
        Ok(name)
    }
}

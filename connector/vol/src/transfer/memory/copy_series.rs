//! Copies runs of bytes at regular distances.

/// Copies `times` runs of `length` bytes. Each side has the address of its first run, and the distance in bytes from
/// the start of a run to the start of the next one. If the compiler knows the length, the copy of a run is one load
/// and one store.
///
/// # Safety
/// All runs of `from` are readable and those of `to` writable; the two sides do not overlap.
pub unsafe fn copy_series(from: (*const u8, usize), to: (*mut u8, usize), length: usize, times: u64) {
    // SAFETY: as promised; each length is that of the array.
    unsafe {
        match length {
            1 => copy_fixed::<1>(from, to, times),
            2 => copy_fixed::<2>(from, to, times),
            4 => copy_fixed::<4>(from, to, times),
            8 => copy_fixed::<8>(from, to, times),
            16 => copy_fixed::<16>(from, to, times),
            _ => {
                for n in 0..times as usize {
                    std::ptr::copy_nonoverlapping(from.0.add(n * from.1), to.0.add(n * to.1), length);
                }
            }
        }
    }
}

/// Copies runs of `N` bytes.
///
/// # Safety
/// As for [`copy_series`].
unsafe fn copy_fixed<const N: usize>(from: (*const u8, usize), to: (*mut u8, usize), times: u64) {
    for n in 0..times as usize {
        // SAFETY: as promised; arrays of bytes have no alignment.
        unsafe { *to.0.add(n * to.1).cast::<[u8; N]>() = *from.0.add(n * from.1).cast::<[u8; N]>() };
    }
}

//! Fields of what lies in files: little-endian, at offsets from the beginning.

/// 0 where the bytes end before.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    chunk_at(bytes, offset).map_or(0, u16::from_le_bytes)
}

/// 0 where the bytes end before.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    chunk_at(bytes, offset).map_or(0, u32::from_le_bytes)
}

/// 0 where the bytes end before.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    chunk_at(bytes, offset).map_or(0, u64::from_le_bytes)
}

fn chunk_at<const SIZE: usize>(bytes: &[u8], offset: usize) -> Option<[u8; SIZE]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Puts a field, for which the bytes are long enough.
pub(super) fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

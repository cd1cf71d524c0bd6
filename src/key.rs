//! The hash that stands for a key.

/// The hash of a key, as messages carry it. It is part of the format: every build computes the
/// same.
///
/// FNV-1a of 64 bits (Fowler, Noll, Vo), whose bits the finaliser of `MurmurHash3` (Appleby)
/// then mixes, so that every part of it depends on all of the key. It is no defence against
/// whoever chooses keys to collide; messages of keys that collide wait for
/// each other needlessly, and no more.
///
/// ```
/// use ringway::key_hash;
///
/// assert_eq!(key_hash(b"customer 7"), key_hash(b"customer 7"));
/// assert_ne!(key_hash(b"customer 7"), key_hash(b"customer 8"));
/// ```
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    let fnv =
        key.iter().fold(OFFSET_BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::key_hash;

    #[test]
    fn a_hash_is_what_it_always_was() {
        assert_eq!(key_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(key_hash(b"a"), 0x82a2_a958_a9be_ce5b);
        assert_eq!(key_hash(b"customer 7"), 0x6b44_5560_629b_a30b);
    }

    #[test]
    fn near_keys_have_hashes_that_differ_in_their_lower_and_upper_halves() {
        use std::collections::HashSet;

        let hashes: Vec<u64> = (0..10_000_u32).map(|n| key_hash(&n.to_le_bytes())).collect();
        for shift in [0, 32] {
            let halves: HashSet<u64> =
                hashes.iter().map(|hash| (hash >> shift) & u64::from(u32::MAX)).collect();
            // Of 10,000 random numbers of 32 bits, 0.01 pairs are the same.
            assert!(halves.len() >= hashes.len() - 1, "{}", halves.len());
        }
    }
}

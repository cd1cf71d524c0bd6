//! How large everything is, and where each part begins.

use core::mem::size_of;

use super::{
    CAPACITY_MAX, CAPACITY_MIN, Control, Header, LARGE_RING_ALIGN, LINE_SIZE, MEMBERS_MAX, Member,
    Part, REGION_ALIGN, SECTORS, SHARES_MAX, SUBSCRIPTIONS_MAX, Share, Subscription,
};

/// How many entries the tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) members: u32,
    pub(crate) subscriptions: u32,
    pub(crate) shares: u32,
}

/// How large everything is. Built only with sizes that fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    capacity: u64,
    tables: Tables,
}

impl Geometry {
    /// Checks the sizes; the error says which bound is broken.
    pub(crate) fn new(capacity: u64, tables: Tables) -> Result<Self, String> {
        if !(CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity) {
            return Err(format!(
                "a capacity of {capacity} bytes is outside {CAPACITY_MIN} to {CAPACITY_MAX} (64 KiB to 2 GiB)"
            ));
        }
        if !capacity.is_power_of_two() {
            let next = capacity.next_power_of_two() >> 10;
            let next =
                if next < 1 << 10 { format!("{next} KiB") } else { format!("{} MiB", next >> 10) };
            return Err(format!(
                "a capacity of {capacity} bytes is not a power of two, try {next}"
            ));
        }
        let Tables { members, subscriptions, shares } = tables;
        if !(1..=MEMBERS_MAX).contains(&members) {
            return Err(format!("{members} members are outside 1 to {MEMBERS_MAX}"));
        }
        if subscriptions > SUBSCRIPTIONS_MAX {
            return Err(format!(
                "{subscriptions} named subscriptions are more than {SUBSCRIPTIONS_MAX}"
            ));
        }
        if shares > SHARES_MAX {
            return Err(format!("{shares} shares are more than {SHARES_MAX}"));
        }
        Ok(Self { capacity, tables })
    }

    /// Whether a ring can have so many bytes.
    pub(crate) fn is_capacity(bytes: u64) -> bool {
        (CAPACITY_MIN..=CAPACITY_MAX).contains(&bytes) && bytes.is_power_of_two()
    }

    /// A ring too small for a segment, for tests that look at every byte of it.
    #[cfg(test)]
    pub(crate) fn tiny(capacity: u64, tables: Tables) -> Self {
        assert!(capacity.is_power_of_two() && capacity >= 16 * SECTORS as u64);
        Self { capacity, tables }
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) const fn sector_size(&self) -> u64 {
        self.capacity / SECTORS as u64
    }

    /// The largest payload, bytes.
    pub(crate) const fn message_size_max(&self) -> u64 {
        self.capacity / 8
    }

    /// The most bytes of frames that one batch may hold. With the largest frame, the padding
    /// before it and the index's distance from the end, that leaves the newest entry of the
    /// sector index above the floor at all times.
    pub(crate) const fn batch_size_max(&self) -> u64 {
        self.capacity / 4
    }

    pub(crate) const fn tables(&self) -> Tables {
        self.tables
    }

    pub(crate) const fn control_offset() -> usize {
        Header::SIZE.next_multiple_of(REGION_ALIGN)
    }

    pub(crate) const fn member_map_words(&self) -> usize {
        map_words(self.tables.members)
    }

    /// From the start of the control region; `word` is below [`Self::member_map_words`].
    pub(crate) const fn member_map(word: usize) -> usize {
        Control::SIZE + word * size_of::<u64>()
    }

    pub(crate) const fn subscription_map_words(&self) -> usize {
        map_words(self.tables.subscriptions)
    }

    /// From the start of the control region; `word` is below [`Self::subscription_map_words`].
    pub(crate) const fn subscription_map(&self, word: usize) -> usize {
        Control::SIZE + map_size(self.tables.members) + word * size_of::<u64>()
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn subscription(&self, index: u32) -> usize {
        let table = self.subscription_map(0) + map_size(self.tables.subscriptions);
        table + index as usize * Subscription::SIZE
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn member(&self, index: u32) -> usize {
        self.subscription(self.tables.subscriptions) + index as usize * Member::SIZE
    }

    /// From the start of the control region; `index` is below the table's size.
    pub(crate) const fn share(&self, index: u32) -> usize {
        self.member(self.tables.members) + index as usize * Share::SIZE
    }

    pub(crate) const fn control_size(&self) -> usize {
        self.share(self.tables.shares)
    }

    /// Where the pages of the control region end.
    pub(crate) const fn control_end(&self) -> usize {
        (Self::control_offset() + self.control_size()).next_multiple_of(REGION_ALIGN)
    }

    pub(crate) const fn ring_offset(&self) -> usize {
        let is_large = self.capacity >= LARGE_RING_ALIGN as u64;
        self.control_end().next_multiple_of(if is_large { LARGE_RING_ALIGN } else { REGION_ALIGN })
    }

    /// Bytes from the segment's start to its end.
    pub(crate) const fn segment_size(&self) -> u64 {
        self.ring_offset() as u64 + self.capacity
    }

    /// Bytes of memory that it takes: all but what lies between the control region and the ring.
    pub(crate) const fn memory_size(&self) -> u64 {
        self.control_end() as u64 + self.capacity
    }
}

const fn map_words(bits: u32) -> usize {
    bits.div_ceil(u64::BITS) as usize
}

const fn map_size(bits: u32) -> usize {
    (map_words(bits) * size_of::<u64>()).next_multiple_of(LINE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_overlap_at_any_size() {
        for capacity_log2 in 16..=31 {
            for (members, subscriptions, shares) in
                [(1, 0, 0), (64, 64, 128), (65, 3, 7), (16_384, 4_096, 32_768)]
            {
                let tables = Tables { members, subscriptions, shares };
                let geometry = Geometry::new(1 << capacity_log2, tables).unwrap();
                assert!(Header::SIZE <= Geometry::control_offset());
                let maps = [
                    (Geometry::member_map(geometry.member_map_words()), members),
                    (geometry.subscription_map(geometry.subscription_map_words()), subscriptions),
                ];
                assert!(geometry.subscription_map(0) >= maps[0].0);
                assert!(geometry.subscription(0) >= maps[1].0);
                for begin in [geometry.subscription(0), geometry.member(0), geometry.share(0)] {
                    assert_eq!(begin % LINE_SIZE, 0);
                }
                let control_end = Geometry::control_offset() + geometry.control_size();
                assert!(control_end <= geometry.control_end());
                assert!(geometry.control_end() <= geometry.ring_offset());
                let is_large = geometry.capacity() >= LARGE_RING_ALIGN as u64;
                let align = if is_large { LARGE_RING_ALIGN } else { REGION_ALIGN };
                assert_eq!(geometry.ring_offset() % align, 0);
                let gap = geometry.ring_offset() - geometry.control_end();
                assert!(gap < align);
                assert_eq!(geometry.memory_size(), geometry.segment_size() - gap as u64);
                assert_eq!(geometry.segment_size() % REGION_ALIGN as u64, 0);
            }
        }
    }
}

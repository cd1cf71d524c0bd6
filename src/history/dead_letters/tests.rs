//! What damage does to a file of dead letters: letters may be missing, and none is ever wrong.

use std::fs;
use std::os::unix::fs::FileExt;

use super::record::{HEADER_SIZE, MAGIC, encode};
use super::*;

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(purpose: &str) -> Self {
        let name = format!("ringway-letters-{purpose}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn file(&self) -> DeadLetterFile {
        DeadLetterFile::new(&self.0, "orders", [7; 16], "workers")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn letter(sequence: u64, payload: &[u8]) -> Letter<'_> {
    let reason = if sequence.is_multiple_of(2) { Reason::Refused } else { Reason::Unacknowledged };
    let key_hash = (sequence != 1).then_some(sequence);
    Letter { sequence, key_hash, deliveries: 3, reason, payload }
}

/// Payloads that are long, empty, and look like what they are not.
fn payloads() -> Vec<Vec<u8>> {
    let magics = [&MAGIC[..], b"RWLE", &MAGIC, &MAGIC].concat();
    vec![b"short".to_vec(), vec![], magics, vec![0xab; 300]]
}

/// A directory whose file has a letter for each of the payloads.
fn written(purpose: &str) -> (Directory, DeadLetterFile, Vec<DeadLetter>) {
    let directory = Directory::new(purpose);
    let file = directory.file();
    for (sequence, payload) in (0..).zip(payloads()) {
        file.append(&letter(sequence, &payload)).unwrap();
    }
    let (letters, passed_over) = all(&file);
    assert_eq!(passed_over, 0);
    (directory, file, letters)
}

/// The letters that can be read, and how many bytes were passed over.
fn all(file: &DeadLetterFile) -> (Vec<DeadLetter>, u64) {
    let mut letters = file.read().unwrap();
    let found = letters.by_ref().collect::<Result<_, _>>().unwrap();
    (found, letters.passed_over())
}

/// The letters of a file that holds these bytes.
fn all_of(file: &DeadLetterFile, bytes: &[u8]) -> (Vec<DeadLetter>, u64) {
    fs::write(&file.path, bytes).unwrap();
    all(file)
}

#[test]
fn letters_read_back_as_written() {
    let (_directory, _file, letters) = written("back");
    assert_eq!(letters.len(), payloads().len());
    for ((sequence, payload), found) in (0..).zip(payloads()).zip(&letters) {
        let Letter { key_hash, deliveries, reason, .. } = letter(sequence, &payload);
        assert_eq!((found.sequence, &found.payload), (sequence, &payload));
        assert_eq!((found.key_hash, found.deliveries), (key_hash, deliveries));
        assert_eq!((found.reason, found.instance_id), (reason, [7; 16]));
        assert_eq!((found.queue.as_str(), found.subscription.as_str()), ("orders", "workers"));
        assert!(found.time.elapsed().is_ok());
    }
    assert!(letters.is_sorted_by_key(|letter| letter.id));
}

#[test]
fn a_file_that_ends_anywhere_in_its_last_record_has_all_the_others() {
    let (_directory, file, letters) = written("torn");
    let bytes = fs::read(&file.path).unwrap();
    let (last, others) = letters.split_last().unwrap();
    let last_begin = usize::try_from(last.id).unwrap();
    for end in last_begin..bytes.len() {
        assert_eq!(all_of(&file, &bytes[..end]), (others.to_vec(), (end - last_begin) as u64));
        // Whoever appends now does that behind what is torn.
        if end % 37 == 0 {
            file.append(&letter(99, b"later")).unwrap();
            let (found, _) = all(&file);
            assert_eq!(found[..others.len()], *others);
            assert_eq!((found.len(), found[others.len()].sequence), (others.len() + 1, 99));
        }
    }
}

#[test]
fn a_bit_that_flips_costs_its_own_letter_and_no_other() {
    let (_directory, file, letters) = written("bits");
    let bytes = fs::read(&file.path).unwrap();
    let disk = OpenOptions::new().write(true).open(&file.path).unwrap();
    let ends: Vec<u64> =
        letters[1..].iter().map(|letter| letter.id).chain([bytes.len() as u64]).collect();
    for (place, byte) in (0..).zip(bytes) {
        let hit = ends.iter().position(|&end| place < end).unwrap();
        let mut others = letters.clone();
        let size = ends[hit] - others.remove(hit).id;
        let expected = (others, size);
        for bit in 0..8 {
            disk.write_all_at(&[byte ^ 1 << bit], place).unwrap();
            assert_eq!(all(&file), expected, "bit {bit} of {place}");
        }
        disk.write_all_at(&[byte], place).unwrap();
    }
}

#[test]
fn what_is_no_file_of_letters_has_none() {
    let (_directory, file, letters) = written("garbage");
    let bytes = fs::read(&file.path).unwrap();
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        })
        .collect();
    for garbage in [&noise[..], &[0; 5000], &MAGIC.repeat(10_000), &MAGIC, &[], b"R"] {
        assert_eq!(all_of(&file, garbage), (vec![], garbage.len() as u64));
        // Letters within it are found all the same.
        let (found, passed_over) = all_of(&file, &[garbage, &bytes, garbage].concat());
        let facts = |letter: &DeadLetter| (letter.sequence, letter.payload.clone());
        assert!(found.iter().map(facts).eq(letters.iter().map(facts)));
        assert_eq!(passed_over, 2 * garbage.len() as u64);
    }
}

#[test]
fn a_letter_is_found_wherever_it_lies_in_what_is_read_at_a_time() {
    let (_directory, file, letters) = written("steps");
    let bytes = fs::read(&file.path).unwrap();
    for before in (64 << 10) - 100..=(64 << 10) + 1 {
        let (found, passed_over) = all_of(&file, &[&vec![0; before], &bytes[..]].concat());
        assert_eq!((found.len(), passed_over), (letters.len(), before as u64));
    }
}

#[test]
fn lengths_that_cannot_be_are_no_record() {
    let (_directory, file, letters) = written("lengths");
    let bytes = fs::read(&file.path).unwrap();
    let behind = usize::try_from(letters[1].id).unwrap();
    for (offset, size) in [(8, 4), (64, 4), (68, 2), (70, 2)] {
        for value in [0_u32, 1, 79, 80, 1 << 20, (256 << 20) + 4097, u32::MAX >> 1, u32::MAX] {
            // With a checksum that is right: not damage, but somebody's making.
            let mut made = bytes.clone();
            made[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
            let check = crc32c::crc32c(&made[16..behind]);
            made[12..16].copy_from_slice(&check.to_le_bytes());
            let (found, passed_over) = all_of(&file, &made);
            assert_eq!(found, letters[1..], "{value} at {offset}");
            assert_eq!(passed_over, behind as u64);
        }
    }
}

#[test]
fn a_letter_within_a_letter_is_a_payload_and_no_more() {
    let directory = Directory::new("within");
    let file = directory.file();
    let inner = encode(&file, Kind::Letter, &letter(17, b"never given up"));
    let middle = encode(&file, Kind::Letter, &letter(18, &[&inner[..], &inner].concat()));
    file.append(&letter(0, &middle)).unwrap();
    let (found, _) = all(&file);
    assert_eq!((found.len(), &found[0].payload), (1, &middle));
    let bytes = fs::read(&file.path).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(all_of(&file, &bytes[..end]).0, []);
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x20;
        assert_eq!(all_of(&file, &damaged).0, [], "{place}");
    }
}

#[test]
fn payloads_that_excuse_many_masks_are_written_all_the_same() {
    let directory = Directory::new("masks");
    let file = directory.file();
    let disguised = |mask: u32| {
        let mask = mask.to_le_bytes();
        MAGIC.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect::<Vec<_>>()
    };
    // At all four places that a word can have relative to the mask.
    for gap in 0..4 {
        let payload: Vec<u8> =
            (0..2000).flat_map(|mask| [disguised(mask), vec![b'-'; gap]].concat()).collect();
        file.append(&letter(gap as u64, &payload)).unwrap();
        let bytes = fs::read(&file.path).unwrap();
        let magics = bytes.windows(MAGIC.len()).filter(|bytes| **bytes == MAGIC).count();
        assert_eq!(magics, gap + 1);
        let (found, passed_over) = all(&file);
        assert_eq!((found.len(), passed_over), (gap + 1, 0));
        assert_eq!(found[gap].payload, payload);
    }
}

#[test]
fn only_a_letter_that_is_there_can_be_dropped() {
    let (_directory, file, letters) = written("drop");
    let end = fs::metadata(&file.path).unwrap().len();
    for id in [1, letters[1].id - 1, end - 1, end, end + 500, u64::MAX] {
        let refused = file.append_drop(id);
        assert!(matches!(refused, Err(Error::NoSuchDeadLetter { id: of, .. }) if of == id));
    }
    assert_eq!(fs::metadata(&file.path).unwrap().len(), end, "nothing was written");
    file.append_drop(letters[1].id).unwrap();
    file.append_drop(letters[1].id).unwrap();
    let left = [&letters[..1], &letters[2..]].concat();
    assert_eq!(all(&file), (left, 0));
    // A drop is no letter.
    assert!(matches!(file.append_drop(end), Err(Error::NoSuchDeadLetter { .. })));
    // A message whose letter was dropped is not among them any more, should it fail once more.
    assert!(!file.has_on_disk(1).unwrap() && file.has_on_disk(2).unwrap());
}

#[test]
fn an_heir_finds_what_was_written_since_it_looked_whatever_became_of_the_file() {
    let (_directory, file, letters) = written("heir");
    let heir = DeadLetterFile::new(
        file.path.ancestors().nth(2).unwrap(),
        &file.queue,
        file.instance,
        &file.subscription,
    );
    assert!(heir.has_on_disk(3).unwrap() && !heir.has_on_disk(4).unwrap());
    file.append(&letter(4, b"since")).unwrap();
    file.append_drop(letters[3].id).unwrap();
    assert!(!heir.has_on_disk(3).unwrap() && heir.has_on_disk(4).unwrap());
    file.append(&letter(3, b"again")).unwrap();
    assert!(heir.has_on_disk(3).unwrap());
    // Half of one may be the beginning of a whole one, when the rest is there.
    let half = encode(&file, Kind::Letter, &letter(5, b"in two parts"));
    let mut open = OpenOptions::new().append(true).open(&file.path).unwrap();
    open.write_all(&half[..100]).unwrap();
    assert!(!heir.has_on_disk(5).unwrap());
    open.write_all(&half[100..]).unwrap();
    assert!(heir.has_on_disk(5).unwrap());
    // Cut, and another one in its place.
    open.set_len(letters[1].id).unwrap();
    assert!(heir.has_on_disk(0).unwrap() && !heir.has_on_disk(1).unwrap());
    let whole = fs::read(&file.path).unwrap();
    fs::remove_file(&file.path).unwrap();
    assert!(!heir.has_on_disk(0).unwrap());
    fs::write(&file.path, [&half[..], &half, &whole].concat()).unwrap();
    assert!(heir.has_on_disk(5).unwrap() && heir.has_on_disk(0).unwrap());
}

#[test]
fn a_letter_that_could_not_be_written_is_written_again_whatever_stands_in_the_file() {
    let (_directory, file, _) = written("failed");
    let (before, aside) = (fs::read(&file.path).unwrap(), letter(9, b"not on disk"));
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    file.append(&aside).unwrap_err();
    fs::remove_dir(&file.path).unwrap();
    // As after a sync that failed: all of it can be read.
    let record = encode(&file, Kind::Letter, &aside);
    fs::write(&file.path, [&before[..], &record].concat()).unwrap();
    assert!(file.has_on_disk(2).unwrap() && !file.has_on_disk(9).unwrap());
    file.append(&aside).unwrap();
    assert!(file.has_on_disk(9).unwrap());
}

#[test]
fn a_drop_of_what_comes_after_it_hides_nothing() {
    let directory = Directory::new("foresight");
    let file = directory.file();
    let names = "orders".len() + "workers".len();
    let id = (HEADER_SIZE + names) as u64;
    let ahead = Letter { sequence: id, ..letter(0, b"") };
    file.append_record(Kind::Dropped, &ahead).unwrap();
    file.append(&letter(5, b"comes later")).unwrap();
    let (found, _) = all(&file);
    assert_eq!((found.len(), found[0].id, found[0].sequence), (1, id, 5));
}

#[test]
fn a_damaged_drop_shows_its_letter_again() {
    let (_directory, file, letters) = written("undropped");
    file.append_drop(letters[0].id).unwrap();
    let mut bytes = fs::read(&file.path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(all_of(&file, &bytes).0, letters);
}

#[test]
fn what_is_no_file_is_an_error_and_keeps_nobody_waiting() {
    let directory = Directory::new("fifo");
    let file = directory.file();
    assert_eq!(all(&file), (vec![], 0));
    assert!(!directory.0.exists(), "reading makes nothing");
    fs::create_dir_all(file.path.parent().unwrap()).unwrap();
    let path = std::ffi::CString::new(file.path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a string that ends with a zero and outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let is_file_error = |result: Result<(), Error>| matches!(result, Err(Error::File { .. }));
    assert!(is_file_error(file.read().map(drop)));
    assert!(is_file_error(file.append(&letter(0, b"x"))));
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    assert!(is_file_error(file.read().map(drop)));
    assert!(is_file_error(file.append(&letter(0, b"x"))));
    assert!(is_file_error(file.append_drop(0)));
    fs::remove_dir_all(&directory.0).unwrap();
    fs::write(&directory.0, "a file where a directory should be").unwrap();
    assert!(is_file_error(file.append(&letter(0, b"x"))));
    fs::remove_file(&directory.0).unwrap();
}

/// Work that grows with the square of the file's length would take hours here.
#[test]
fn a_large_file_is_read_in_one_go() {
    let directory = Directory::new("large");
    let file = directory.file();
    file.append(&letter(0, b"makes the directory")).unwrap();
    let small = encode(&file, Kind::Letter, &letter(2, b"small"));
    let many = small.repeat(100_000);
    // Of a large record there is the beginning alone: whoever looks for its end reads all.
    let mut torn = small.clone();
    for (offset, length) in [(8, small.len() - "small".len()), (64, 0)] {
        let length = u32::try_from(length + (20 << 20)).unwrap();
        torn[offset..offset + 4].copy_from_slice(&length.to_le_bytes());
    }
    let drops: Vec<u8> = (0..50_000)
        .map(|number| Letter { sequence: (1 + number) * small.len() as u64, ..letter(0, b"") })
        .flat_map(|drop| encode(&file, Kind::Dropped, &drop))
        .collect();
    let (found, passed_over) =
        all_of(&file, &[&torn, &many, &drops].map(|part| &part[..]).concat());
    assert_eq!((found.len(), passed_over), (50_000, small.len() as u64));
}

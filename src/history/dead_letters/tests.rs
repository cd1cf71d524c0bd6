//! What damage does to a file of dead letters: letters may be missing, and none is ever wrong.

use std::fs;
use std::io::Write;

use super::record::{BEGINNING_SIZE, HEADER_SIZE, MAGIC, encode};
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

    fn file(&self) -> DeadLetters {
        DeadLetters::of_instance(&self.0, "orders", [7; 16], "workers")
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
fn written(purpose: &str) -> (Directory, DeadLetters, Vec<DeadLetter>) {
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
fn all(file: &DeadLetters) -> (Vec<DeadLetter>, u64) {
    let mut letters = file.iter();
    let found = letters.by_ref().collect::<Result<_, _>>().unwrap();
    (found, letters.passed_over())
}

/// The letters of a file that holds these bytes.
fn all_of(file: &DeadLetters, bytes: &[u8]) -> (Vec<DeadLetter>, u64) {
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
    let inner = encode(&file, Kind::Letter, &letter(17, b"never given up"), 0);
    let middle = encode(&file, Kind::Letter, &letter(18, &[&inner[..], &inner].concat()), 0);
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
        assert_eq!(file.drop(&[id]).unwrap(), []);
    }
    assert_eq!(fs::metadata(&file.path).unwrap().len(), end, "nothing was written");
    let four_times = [letters[1].id, 1, letters[1].id, letters[1].id];
    assert_eq!(file.drop(&four_times).unwrap(), [letters[1].id]);
    assert_eq!(file.drop(&four_times).unwrap(), []);
    let left = [&letters[..1], &letters[2..]].concat();
    assert_eq!(all(&file), (left, 0));
    // A drop is no letter.
    assert_eq!(file.drop(&[end]).unwrap(), []);
    // A message whose letter was dropped is not among them any more, should it fail once more.
    assert!(!file.has_on_disk(1).unwrap() && file.has_on_disk(2).unwrap());
}

#[test]
fn an_heir_finds_what_was_written_since_it_looked_whatever_became_of_the_file() {
    let (_directory, file, letters) = written("heir");
    let heir = DeadLetters::of_instance(
        file.path.ancestors().nth(2).unwrap(),
        &file.queue,
        file.instance,
        &file.subscription,
    );
    assert!(heir.has_on_disk(3).unwrap() && !heir.has_on_disk(4).unwrap());
    file.append(&letter(4, b"since")).unwrap();
    file.drop(&[letters[3].id]).unwrap();
    assert!(!heir.has_on_disk(3).unwrap() && heir.has_on_disk(4).unwrap());
    file.append(&letter(3, b"again")).unwrap();
    assert!(heir.has_on_disk(3).unwrap());
    // Half of one may be the beginning of a whole one, when the rest is there.
    let half = encode(&file, Kind::Letter, &letter(5, b"in two parts"), 0);
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
fn a_letter_that_was_seen_and_is_not_there_any_more_is_not_on_disk() {
    let (_directory, file, letters) = written("lost");
    let heir = another(&file);
    assert!(heir.has_on_disk(1).unwrap());
    // As after a sync that failed, when the system has dropped what it had in memory.
    let disk = OpenOptions::new().write(true).open(&file.path).unwrap();
    let zeros = vec![0; usize::try_from(letters[2].id - letters[1].id).unwrap()];
    disk.write_all_at(&zeros, letters[1].id).unwrap();
    let before = fs::read(&file.path).unwrap();
    assert!(!heir.has_on_disk(1).unwrap() && heir.has_on_disk(2).unwrap());
    assert_eq!(fs::read(&file.path).unwrap(), before);
}

#[test]
fn what_a_write_left_torn_is_cut_off_unless_somebody_has_appended_behind_it() {
    let (_directory, file, letters) = written("short");
    let whole = size_of(&file);
    let drop = |id| Letter { sequence: id, ..letter(0, b"") };
    let record = encode(&file, Kind::Dropped, &drop(letters[0].id), 0);
    let bytes = [&record[..], &record[..50]].concat();
    let appending = file.open_to_append().unwrap();
    for (behind, left) in [(&b""[..], record.len()), (b"behind", bytes.len() + 6)] {
        OpenOptions::new().write(true).open(&file.path).unwrap().set_len(whole).unwrap();
        appending.lock_to_append().unwrap();
        appending.append(&bytes).unwrap();
        OpenOptions::new().append(true).open(&file.path).unwrap().write_all(behind).unwrap();
        appending.cut_torn(&bytes).unwrap();
        assert_eq!(size_of(&file), whole + left as u64);
    }
    // Nor while others append, who may be behind it in a moment.
    let other = file.open_to_append().unwrap();
    appending.lock_to_append().unwrap();
    other.lock_to_append().unwrap();
    let before = size_of(&file);
    appending.append(&bytes).unwrap();
    assert_eq!(appending.cut_torn(&bytes).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(size_of(&file), before + bytes.len() as u64);
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
    let record = encode(&file, Kind::Letter, &aside, 0);
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
    fs::create_dir_all(file.path.parent().unwrap()).unwrap();
    fs::write(&file.path, encode(&file, Kind::Dropped, &ahead, 0)).unwrap();
    file.append(&letter(5, b"comes later")).unwrap();
    let (found, _) = all(&file);
    assert_eq!((found.len(), found[0].id, found[0].sequence), (1, id, 5));
}

#[test]
fn a_damaged_drop_shows_its_letter_again() {
    let (_directory, file, letters) = written("undropped");
    file.drop(&[letters[0].id]).unwrap();
    let mut bytes = fs::read(&file.path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(all_of(&file, &bytes).0, letters);
}

#[track_caller]
fn assert_is_not_read(file: &DeadLetters) {
    let mut letters = file.iter();
    assert!(matches!(letters.next(), Some(Err(Error::File { .. }))));
    assert!(letters.next().is_none());
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
    assert_is_not_read(&file);
    assert!(is_file_error(file.append(&letter(0, b"x"))));
    fs::remove_file(&file.path).unwrap();
    fs::create_dir(&file.path).unwrap();
    assert_is_not_read(&file);
    assert!(is_file_error(file.append(&letter(0, b"x"))));
    assert!(is_file_error(file.drop(&[0]).map(drop)));
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
    let small = encode(&file, Kind::Letter, &letter(2, b"small"), 0);
    let many = small.repeat(100_000);
    // Of a large record there is the beginning alone: whoever looks for its end reads all.
    let mut torn = small.clone();
    for (offset, length) in [(8, small.len() - "small".len()), (64, 0)] {
        let length = u32::try_from(length + (20 << 20)).unwrap();
        torn[offset..offset + 4].copy_from_slice(&length.to_le_bytes());
    }
    let drops: Vec<u8> = (0..50_000)
        .map(|number| Letter { sequence: (1 + number) * small.len() as u64, ..letter(0, b"") })
        .flat_map(|drop| encode(&file, Kind::Dropped, &drop, 0))
        .collect();
    let (found, passed_over) =
        all_of(&file, &[&torn, &many, &drops].map(|part| &part[..]).concat());
    assert_eq!((found.len(), passed_over), (50_000, small.len() as u64));
}

/// Another who knows nothing yet: another process, or one after a restart.
fn another(file: &DeadLetters) -> DeadLetters {
    let directory = file.path.ancestors().nth(2).unwrap();
    DeadLetters::of_instance(directory, &file.queue, file.instance, &file.subscription)
}

fn size_of(file: &DeadLetters) -> u64 {
    fs::metadata(&file.path).unwrap().len()
}

fn ids(letters: &[DeadLetter]) -> Vec<u64> {
    letters.iter().map(|letter| letter.id).collect()
}

/// Letters of which more than half, and more than is left in a file, have been dropped.
fn rewritten(purpose: &str) -> (Directory, DeadLetters, Vec<DeadLetter>) {
    let (directory, file, _) = written(purpose);
    file.append(&letter(4, &vec![1; 70_000])).unwrap();
    file.append(&letter(5, &MAGIC)).unwrap();
    let (mut letters, _) = all(&file);
    file.drop(&[letters[1].id, letters[4].id]).unwrap();
    letters.remove(4);
    letters.remove(1);
    assert_eq!(all(&file), (letters.clone(), 0));
    assert!(size_of(&file) < 1500, "{}", size_of(&file));
    (directory, file, letters)
}

#[test]
fn letters_that_were_dropped_give_their_space_back_and_ids_stay() {
    let directory = Directory::new("space");
    let mut file = directory.file();
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let (mut expected, mut junk, mut highest) = (Vec::<DeadLetter>::new(), 0, None);
    let mut rewritings = 0;
    for sequence in 0..1500 {
        let size = usize::try_from(random(6) * random(2000)).unwrap();
        file.append(&letter(sequence, &vec![b'R'; size])).unwrap();
        let (found, passed_over) = all(&file);
        let (new, others) = found.split_last().unwrap();
        assert_eq!((others, passed_over), (&expected[..], junk));
        assert!(highest < Some(new.id), "{highest:?} {}", new.id);
        highest = Some(new.id);
        expected = found;
        if random(100) == 0 {
            // Somebody died with half a record written.
            let half = encode(&file, Kind::Letter, &letter(sequence, b"half"), random(2) * 1000);
            let half = &half[..half.len() - 1];
            OpenOptions::new().append(true).open(&file.path).unwrap().write_all(half).unwrap();
            junk += half.len() as u64;
        }
        let before = size_of(&file);
        let share = 1 + random(5);
        let dropped: Vec<_> = match random(40) {
            0 => ids(&expected),
            1..10 => ids(&expected).into_iter().filter(|_| random(share) == 0).collect(),
            _ => vec![],
        };
        assert_eq!(file.drop(&dropped).unwrap(), dropped);
        expected.retain(|letter| !dropped.contains(&letter.id));
        assert_eq!(all(&file), (expected.clone(), junk));
        rewritings += u32::from(size_of(&file) < before);
        let needed = expected.iter().map(|letter| 150 + letter.payload.len() as u64).sum::<u64>();
        let size = size_of(&file);
        assert!(size <= 150 + junk + (2 * (junk + needed)).max(needed + (64 << 10)), "{size}");
        if expected.is_empty() {
            assert_eq!(size, BEGINNING_SIZE as u64 + junk);
        }
        if random(10) == 0 {
            file = another(&file);
        }
    }
    assert!(rewritings > 30, "{rewritings}");
}

#[test]
fn a_bit_that_flips_in_a_rewritten_file_costs_one_letter_at_most_and_no_id() {
    let (_directory, file, letters) = rewritten("bits-rewritten");
    file.append(&letter(6, b"behind the others")).unwrap();
    let (before, letters) = (letters, all(&file).0);
    assert_eq!(letters[..letters.len() - 1], before);
    let bytes = fs::read(&file.path).unwrap();
    for (place, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] = byte ^ 1 << bit;
            let (found, passed_over) = all_of(&file, &damaged);
            assert!(passed_over > 0);
            assert!(found.iter().all(|letter| letters.contains(letter)), "bit {bit} of {place}");
            let missing = usize::from(place >= BEGINNING_SIZE);
            assert_eq!(found.len(), letters.len() - missing, "bit {bit} of {place}");
        }
        // Some, and all that say whether there is a shift.
        let is_flag = (HEADER_SIZE - 4..HEADER_SIZE).contains(&place);
        for bit in (0..8).filter(|&bit| is_flag || bit == 7 && place % 16 == 0) {
            let mut damaged = bytes.clone();
            damaged[place] = byte ^ 1 << bit;
            fs::write(&file.path, damaged).unwrap();
            // The id of what is appended now is nobody's.
            let after = another(&file);
            after.append(&letter(7, b"new")).unwrap();
            let (found, _) = all(&after);
            let (new, others) = found.split_last().unwrap();
            assert!(others.iter().all(|other| other.id < new.id), "bit {bit} of {place}");
            assert_eq!(new.sequence, 7);
        }
    }
}

#[test]
fn who_reads_a_file_that_is_replaced_goes_on_with_what_it_was() {
    let (_directory, file, letters) = written("replaced");
    let mut reading = file.iter();
    assert_eq!(reading.next().unwrap().unwrap(), letters[0]);
    file.drop(&ids(&letters)).unwrap();
    assert_eq!(size_of(&file), BEGINNING_SIZE as u64);
    assert!(reading.map(Result::unwrap).eq(letters[1..].iter().cloned()));
    assert_eq!(all(&file), (vec![], 0));
    assert_eq!(file.drop(&ids(&letters)).unwrap(), []);
}

#[test]
fn of_threads_that_drop_by_one_handle_each_letter_is_dropped_by_one() {
    let (_directory, file, mut letters) = written("threads");
    let found = std::thread::scope(|scope| {
        let drop_until_none_is_left = || {
            let mut dropped = Vec::new();
            while let Some(found) = file.iter().next() {
                dropped.extend(file.drop(&[found.unwrap().id]).unwrap());
            }
            dropped
        };
        let threads = [(); 3].map(|()| scope.spawn(drop_until_none_is_left));
        for sequence in 4..20 {
            another(&file).append(&letter(sequence, b"meanwhile")).unwrap();
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    letters.extend(all(&file).0);
    let left = letters.split_off(4).len();
    assert_eq!(found.len() + left, 20);
    let mut once = found.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), found.len(), "two have dropped the same letter");
    assert!(ids(&letters).iter().all(|id| once.contains(id)));
}

#[test]
fn who_waits_for_a_file_that_is_replaced_appends_to_the_new_one() {
    let (_directory, file, letters) = written("waits");
    let opened = std::cell::Cell::new(0);
    let replace = |_: &Letters| {
        opened.set(opened.get() + 1);
        if opened.get() == 1 {
            another(&file).drop(&ids(&letters)).unwrap();
        }
        Ok(())
    };
    let (now, ()) = Letters::open_locked(
        &file.path,
        || file.open_to_append(),
        replace,
        Letters::lock_to_append,
    )
    .unwrap();
    assert_eq!(opened.get(), 2);
    assert_eq!(now.metadata().unwrap().len(), BEGINNING_SIZE as u64);
}

#[test]
fn an_heir_knows_the_letters_of_a_rewritten_file() {
    let (_directory, file, letters) = written("heir-rewritten");
    let heir = another(&file);
    assert!(heir.has_on_disk(1).unwrap());
    file.drop(&ids(&letters)).unwrap();
    assert!(!heir.has_on_disk(1).unwrap());
    for sequence in [9, 1] {
        file.append(&letter(sequence, &[0; 500])).unwrap();
        assert!(heir.has_on_disk(sequence).unwrap());
    }
}

#[test]
fn while_somebody_appends_a_file_is_not_replaced_and_letters_are_dropped_all_the_same() {
    let (_directory, file, letters) = written("busy");
    let appending = file.open_to_append().unwrap();
    appending.lock_to_append().unwrap();
    let before = size_of(&file);
    assert_eq!(file.drop(&ids(&letters)).unwrap(), ids(&letters));
    assert!(size_of(&file) > before);
    assert_eq!(all(&file), (vec![], 0));
    drop(appending);
    file.append(&letter(9, b"one more")).unwrap();
    let last = all(&file).0;
    file.drop(&[last[0].id]).unwrap();
    assert_eq!(size_of(&file), BEGINNING_SIZE as u64);
}

#[test]
fn what_somebody_left_beside_a_file_goes_and_other_files_stay() {
    let (_directory, file, letters) = written("beside");
    let beside = |name: &str| file.path.with_file_name(name);
    let random = "0123456789abcdef".repeat(2);
    let left = beside(&format!("workers.{random}.new"));
    let in_use = beside(&format!("workers.1{}.new", &random[1..]));
    let others = [format!("work.{random}.new"), "workers.new".into(), "workers.letters.new".into()];
    let others = others.map(|name| beside(&name));
    for path in [&left, &in_use].into_iter().chain(&others) {
        fs::write(path, b"half").unwrap();
    }
    let user = Letters::open(&in_use, OpenOptions::new().write(true)).unwrap();
    assert!(user.try_lock(Lock::Dropping).unwrap());
    file.drop(&ids(&letters)).unwrap();
    assert_eq!(size_of(&file), BEGINNING_SIZE as u64);
    assert!(!left.exists() && in_use.exists() && others.iter().all(|path| path.exists()));
    assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 5);
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_one_that_lies_elsewhere_stays_there() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (_directory, file, letters) = written("elsewhere");
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
    file.drop(&ids(&letters)).unwrap();
    let facts = fs::metadata(&file.path).unwrap();
    assert_eq!((facts.len(), facts.permissions().mode() & 0o777), (BEGINNING_SIZE as u64, 0o640));
    let elsewhere = file.path.with_file_name("elsewhere");
    fs::rename(&file.path, &elsewhere).unwrap();
    symlink(&elsewhere, &file.path).unwrap();
    file.append(&letter(9, b"one more")).unwrap();
    file.drop(&[all(&file).0[0].id]).unwrap();
    assert_eq!(all(&file), (vec![], 0));
    assert!(fs::symlink_metadata(&file.path).unwrap().is_symlink());
    assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn records_of_later_versions_are_kept_when_a_file_is_rewritten() {
    let (_directory, file, letters) = written("later");
    let mut later = encode(&file, Kind::Letter, &letter(9, b"what is this"), 0);
    later[16] = 9;
    let check = crc32c::crc32c(&later[16..]);
    later[12..16].copy_from_slice(&check.to_le_bytes());
    OpenOptions::new().append(true).open(&file.path).unwrap().write_all(&later).unwrap();
    file.drop(&ids(&letters)).unwrap();
    assert_eq!(all(&file), (vec![], 0));
    assert_eq!(size_of(&file), (BEGINNING_SIZE + 8 + later.len()) as u64);
}

#[test]
fn a_file_of_any_bytes_can_be_dropped_from_and_rewritten() {
    let (_directory, file, letters) = rewritten("any");
    let bytes = fs::read(&file.path).unwrap();
    let shifted = |shift: u64| encode(&file, Kind::Letter, &letter(1, b"shifted"), shift);
    let shifts = [1, u64::MAX, 1 << 63, u64::MAX >> 1, u64::MAX - 200];
    let made: Vec<_> = shifts.into_iter().flat_map(shifted).collect();
    for contents in [&made[..], &[&bytes[..], &made, &bytes].concat(), &bytes[3..], &[0; 500], b""]
    {
        let (found, _) = all_of(&file, contents);
        let some = another(&file);
        some.append(&letter(8, b"more")).unwrap();
        some.drop(&ids(&found)).unwrap();
        some.drop(&ids(&all(&some).0)).unwrap();
        let _ = all(&some);
    }
    drop(letters);
}

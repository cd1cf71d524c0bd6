//! Whose a history is where the file that says so is damaged or gone: each file of its journal says it
//! too.

use std::fs::{self, OpenOptions};
use std::path::Path;

use super::archive::Archive;
use super::directory::{
    IDENTITY, identity_text, journal_in, lock, owner, sync_directory, write_whole,
};
use super::log::header_of;
use crate::error::Error;

/// The queue that the files of a journal belong to, and the id of the history; nothing if there are none
/// that say it, an error if they do not all say the same.
pub(super) fn owner_by_log(
    directory: &Path,
    queue: &str,
) -> Result<Option<(String, [u8; 16])>, Error> {
    let log = journal_in(directory, queue, [0; 16], 1);
    let files = log.files()?;
    let mut found: Option<(Box<str>, [u8; 16])> = None;
    for file in &files {
        let Some(header) = header_of(&file.path) else { continue };
        match &found {
            Some((_, id)) if *id != header.id => return Err(log.foreign(&file.path, header.id)),
            _ => found = Some((header.queue, header.id)),
        }
    }
    Ok(found.map(|(queue, id)| (queue.into(), id)))
}

impl Archive {
    /// [Opens](Self::open) the journal of a history directory after having written anew whose that is,
    /// as the files of the journal say: where the file `identity` is damaged, or gone.
    ///
    /// # Errors
    /// As [`repair`](Self::repair); [`Error::LogDamaged`] if no file says whose it is, and
    /// [`Error::ForeignHistory`] if there are files of several histories.
    ///
    /// ```
    /// # use ringway::{Archive, Journal, Queue, QueueOptions};
    /// # let _ = Queue::force_remove("doc-archive-restore");
    /// # let directory = std::env::temp_dir().join("ringway-doc-archive-restore");
    /// # let _ = std::fs::remove_dir_all(&directory);
    /// # let options = QueueOptions::new().history(&directory).journal(Journal::Written);
    /// # let queue = Queue::create("doc-archive-restore", &options)?;
    /// queue.producer()?.send_durable(b"to be kept")?;
    /// Queue::remove("doc-archive-restore")?;
    /// std::fs::write(directory.join("identity"), "what is this?").unwrap();
    /// assert!(Archive::open(&directory).is_err());
    /// assert_eq!(Archive::restore(&directory)?.messages(0)?.count(), 1);
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok::<(), ringway::Error>(())
    /// ```
    pub fn restore(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = directory.as_ref();
        let is_to_restore = match owner(directory, "") {
            Err(Error::LogDamaged { .. }) => true,
            Err(Error::File { .. }) => !directory.join(IDENTITY).exists(),
            _ => false,
        };
        if is_to_restore {
            Self::write_identity(directory)?;
        }
        Self::open(directory)
    }

    fn write_identity(directory: &Path) -> Result<(), Error> {
        let path = directory.join(IDENTITY);
        let Some((queue, id)) = owner_by_log(directory, "")? else {
            let what = "it does not say whose the history is, and neither does a file of a journal; without it the directory is that of the next queue which is created with it";
            return Err(Error::LogDamaged { queue: "".into(), path, offset: 0, what: what.into() });
        };
        let archive =
            Self { directory: directory.to_path_buf(), log: journal_in(directory, &queue, id, 1) };
        let _lock = if path.exists() {
            let lock = lock(directory, &queue)?;
            Some(lock.ok_or(Error::JournalerAlive { queue: queue.as_str().into() })?)
        } else {
            None
        };
        archive.check_unused()?;
        let text = identity_text(&queue, &id);
        let written =
            write_whole(&path, text.as_bytes(), &mut OpenOptions::new(), |aside, path| {
                fs::File::open(aside)?.sync_all()?;
                fs::rename(aside, path)
            });
        let written = written.and_then(|()| sync_directory(directory));
        written.map_err(|error| Error::file(&queue, "make", &path, error))
    }
}

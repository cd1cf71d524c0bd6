//! The history directory: whose it is, and what lies where in it.
//!
//! ```text
//! identity         the queue it belongs to, and an id that no other directory has
//! log/             the journal
//! spill/           what some consumers have not read yet
//! dead-letters/    a file for each subscription
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::log::{Log, hex};
use crate::error::Error;
use crate::layout::HISTORY_PATH_SIZE;
use crate::ring::Check;
use crate::segment::Segment;
use crate::sys::process;

const IDENTITY: &str = "identity";
const FIRST_LINE: &str = "ringway history 1";
/// More than any identity has.
const IDENTITY_SIZE_MAX: u64 = 4096;

/// Makes a history directory the queue's, if it is nobody's yet. Returns its path from the root
/// on, which is what a segment can keep, and its id.
pub(crate) fn adopt(directory: &Path, queue: &str) -> Result<(PathBuf, [u8; 16]), Error> {
    let path = prepare(directory, queue)?;
    let failed = |doing, path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::File { queue: queue.into(), doing, path, source }
    };
    let identity = path.join(IDENTITY);
    match read_identity(&identity) {
        Ok(Some((owner, id))) if owner == queue => return Ok((path, id)),
        Ok(Some((owner, id))) => {
            return Err(Error::ForeignHistory {
                queue: queue.into(),
                path,
                theirs: format!("queue '{owner}', history {}", hex(&id)).into(),
                ours: format!("queue '{queue}'").into(),
            });
        }
        Ok(None) => {
            return Err(Error::LogDamaged {
                queue: queue.into(),
                path: identity,
                offset: 0,
                what: "it is not the identity of a history directory".into(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &identity)(error)),
    }
    let mut id = [0; 16];
    process::random(&mut id).map_err(failed("make", &identity))?;
    let text = format!("{FIRST_LINE}\nqueue {queue}\nid {}\n", hex(&id));
    write_whole(&identity, text.as_bytes()).map_err(failed("make", &identity))?;
    Ok((path, id))
}

fn prepare(directory: &Path, queue: &str) -> Result<PathBuf, Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let path = made.and_then(|()| directory.canonicalize());
    let path = path.and_then(|path| {
        let fits = path.as_os_str().as_bytes().len() < HISTORY_PATH_SIZE;
        if fits { Ok(path) } else { Err(io::ErrorKind::InvalidFilename.into()) }
    });
    path.map_err(|source| Error::File {
        queue: queue.into(),
        doing: "make the directory",
        path: directory.into(),
        source,
    })
}

/// The queue and the id that the file names; `None` if it is something else.
fn read_identity(path: &Path) -> io::Result<Option<(String, [u8; 16])>> {
    if fs::metadata(path)?.len() > IDENTITY_SIZE_MAX {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let parse = || {
        let mut lines = std::str::from_utf8(&bytes).ok()?.lines();
        let queue = lines.next().filter(|&line| line == FIRST_LINE).and_then(|_| lines.next());
        let queue = queue?.strip_prefix("queue ")?.to_owned();
        let digits = lines.next()?.strip_prefix("id ")?;
        let id = (digits.len() == 32 && digits.is_ascii()).then_some(digits)?;
        let mut bytes = [0; 16];
        for (byte, index) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&id[index..index + 2], 16).ok()?;
        }
        Some((queue, bytes))
    };
    Ok(parse())
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Where a queue's messages lie on disk; `None` if it has no history directory.
pub(super) fn log_of(segment: &Segment) -> Option<Log> {
    let keeping = &segment.identity().keeping;
    let journal = keeping.journal.is_some();
    Some(Log {
        directory: segment.history()?.join(if journal { "log" } else { "spill" }),
        queue: segment.name().into(),
        id: keeping.history_id,
        capacity: segment.geometry().capacity(),
        check: journal.then(|| Check::new(&keeping.history_id)),
    })
}

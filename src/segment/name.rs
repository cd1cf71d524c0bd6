//! What queues can be called, and where that leads.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Segment;
use crate::error::Error;
use crate::layout::SUBSCRIPTION_NAME_SIZE;

/// Where the system keeps POSIX shared memory.
pub(super) const DIRECTORY: &str = "/dev/shm";
/// What the names of our objects begin with.
pub(super) const PREFIX: &str = "ringway.";
const NAME_SIZE_MAX: usize = 200;

impl Segment {
    /// Whether something stands at the name.
    pub(crate) fn exists(name: &str) -> Result<bool, Error> {
        check_name(name)?;
        Ok(std::fs::symlink_metadata(path(name)).is_ok())
    }

    /// The names of all queues, in order. That a name is there says nothing of the object.
    pub(crate) fn list() -> Result<Vec<String>, Error> {
        // Of no queue in particular.
        let failed = |source| Error::file("", "list the queues in", DIRECTORY.as_ref(), source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(DIRECTORY).map_err(failed)? {
            let file_name = entry.map_err(failed)?.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Whether a queue's name leads to this object.
pub(super) fn leads_to(name: &str, inode: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path(name)).is_ok_and(|facts| (facts.dev(), facts.ino()) == inode)
}

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("{DIRECTORY}/{PREFIX}{name}"))
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let too_long = (NAME_SIZE_MAX, "it is longer than 200 bytes");
    match what_is_wrong_with(name, too_long) {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidName { name: name.into(), reason }),
    }
}

/// Refuses names that no subscription can have.
pub(crate) fn check_subscription_name(queue: &str, name: &str) -> Result<(), Error> {
    let too_long = (SUBSCRIPTION_NAME_SIZE, "it is longer than 64 bytes");
    match what_is_wrong_with(name, too_long) {
        None => Ok(()),
        Some(reason) => {
            let (queue, name) = (queue.into(), name.into());
            Err(Error::InvalidSubscription { queue, name, reason })
        }
    }
}

/// Why a queue or a subscription cannot have this name, which may have so many bytes.
pub(crate) fn what_is_wrong_with(
    name: &str,
    (size_max, too_long): (usize, &'static str),
) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > size_max {
        Some(too_long)
    } else if name.starts_with(['.', '-']) {
        Some("it begins with a dot or a dash")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Some("only letters, digits, dots, dashes and underscores of ASCII can stand in it")
    } else {
        None
    }
}

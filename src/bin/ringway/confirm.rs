//! Asking, before something goes that does not come back.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// Whether there is somebody to ask.
pub fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Whether the person at the terminal says yes. That there is none is an error: then it has to be
/// said beforehand.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    if !is_possible() {
        let what = "nobody can be asked, because the standard input is no terminal; --yes does it without asking";
        return Err(Failure::Usage(what.into()));
    }
    let _ = write!(anstream::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|source| {
        let name = "the standard input".into();
        Failure::Input { source, name }
    })?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

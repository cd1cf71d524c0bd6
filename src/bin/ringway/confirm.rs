//! Asking, before something goes that does not come back.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// Whether the person at the terminal says yes. That there is none is an error: then it has to be
/// said beforehand.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let what = "nobody can be asked, because the standard input is no terminal; --yes does it without asking";
        return Err(Failure::Usage(what.into()));
    }
    let _ = write!(anstream::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|source| {
        let name = "the standard input".into();
        Failure::Input { source, name }
    })?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

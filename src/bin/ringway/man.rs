//! `ringway man`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::roff::{Roff, roman};

use crate::args::{Arguments, Man};
use crate::failure::{Ending, Failure};

pub fn run(man: &Man) -> Result<Ending, Failure> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    // Its subcommands know their whole names then.
    command.build();
    if let Some(directory) = &man.dir {
        fs::create_dir_all(directory)
            .and_then(|()| write_all(&command, directory))
            .map_err(|source| Failure::File { source, path: directory.clone() })?;
        return Ok(Ending::Done);
    }
    let page = page(&command).map_err(Failure::Output)?;
    io::stdout().write_all(&page).map_err(Failure::Output)?;
    Ok(Ending::Done)
}

/// Writes the page of a command, and those of its subcommands.
fn write_all(command: &clap::Command, directory: &Path) -> io::Result<()> {
    let name = clap_mangen::Man::new(command.clone()).get_filename();
    fs::write(directory.join(name), page(command)?)?;
    command.get_subcommands().try_for_each(|command| write_all(command, directory))
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    // In the words of its help, which has values and what may be there several times.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim_start().to_owned();
    let man = clap_mangen::Man::new(command.clone().override_usage(usage))
        .source(concat!("ringway ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(help) = command.get_after_long_help().or(command.get_after_help()) {
        closing_sections(&help.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// What stands below the options of a help: sections for lists under a heading, whose lines stay as
/// they are, and one for the rest.
fn closing_sections(help: &str) -> Roff {
    let (lists, notes): (Vec<_>, Vec<_>) = help.split("\n\n").partition(|part| is_list(part));
    let mut page = Roff::new();
    if !notes.is_empty() {
        page.control("SH", ["NOTES"]);
    }
    for note in notes {
        page.control("PP", []);
        page.text([roman(note)]);
    }
    for list in lists {
        let (heading, lines) = list.split_once(":\n").unwrap_or_default();
        let heading = match heading {
            "Exit codes" => "EXIT STATUS".into(),
            heading => heading.to_uppercase(),
        };
        page.control("SH", [heading.as_str()]);
        page.control("nf", []);
        lines.lines().for_each(|line| {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        });
        page.control("fi", []);
    }
    page
}

/// Whether it is a heading, and lines that are set in.
fn is_list(part: &str) -> bool {
    part.split_once(":\n")
        .is_some_and(|(_, lines)| lines.lines().all(|line| line.starts_with("  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_lines_and_the_rest_is_filled() {
        let help = "Examples:\n  a b\n  'c'\n\nOne\ntwo.\n\nExit codes:\n  0  done\n     so";
        let expected = [
            ".SH NOTES",
            ".PP",
            "One",
            "two.",
            ".SH EXAMPLES",
            ".nf",
            "a b",
            "\\*(Aqc\\*(Aq",
            ".fi",
            ".SH \"EXIT STATUS\"",
            ".nf",
            "0  done",
            "   so",
            ".fi",
        ];
        let rendered = closing_sections(help).render();
        let lines: Vec<_> = rendered.lines().collect();
        assert!(lines.ends_with(&expected), "{rendered}");
    }
}

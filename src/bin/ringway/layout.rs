//! `ringway layout`.

use ringway::layout::{MAJOR, MINOR, commit_word_bits, fields, places};
use serde_json::{Value, json};

use crate::args::Layout;
use crate::failure::{Ending, Failure};
use crate::output;

pub fn run(layout: &Layout) -> Result<Ending, Failure> {
    if layout.json {
        output::json(&as_json())?;
    } else {
        output::print(as_text())?;
    }
    Ok(Ending::Done)
}

fn as_json() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "places": places().map(|(part, place)| json!({ "part": part, "place": place }))
            .collect::<Value>(),
        "fields": fields().map(|field| json!({
            "part": field.part,
            "offset": field.offset,
            "size": field.size,
            "name": field.name,
            "writer": field.writer,
            "meaning": field.meaning,
        })).collect::<Value>(),
        "commit_word": commit_word_bits().iter().map(|(name, first, count, meaning)| json!({
            "name": name,
            "first_bit": first,
            "bits": count,
            "meaning": meaning,
        })).collect::<Value>(),
    })
}

fn as_text() -> String {
    let places = places().map(|(part, place)| vec![part.into(), place]);
    let places = output::table(&["PART", "WHERE"], &[], places);
    let fields = fields().map(|field| {
        vec![
            field.part.into(),
            format!("{:#05x}", field.offset),
            field.size.to_string(),
            field.name.into(),
            field.writer.into(),
            field.meaning.into(),
        ]
    });
    let fields = output::table(
        &["PART", "OFFSET", "BYTES", "NAME", "WRITER", "MEANING"],
        &["OFFSET", "BYTES"],
        fields,
    );
    let bits = commit_word_bits().iter().map(|(name, first, count, meaning)| {
        vec![format!("{first}..{}", first + count), (*name).into(), (*meaning).into()]
    });
    let bits = output::table(&["BITS", "NAME", "MEANING"], &["BITS"], bits);
    format!(
        "Layout {MAJOR}.{MINOR}\n\n{places}\n\n{fields}\n\nThe commit word of a frame\n\n{bits}"
    )
}

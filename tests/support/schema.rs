//! Whether a JSON value is as a JSON Schema says: the part of the language that ours use.

use serde_json::{Map, Value};

/// Fails with all that is wrong, each with its place in the value.
#[track_caller]
pub(crate) fn assert_valid(schema: &Value, value: &Value) {
    let problems = problems(schema, schema, value, "");
    assert!(problems.is_empty(), "{}\nin {value}", problems.join("\n"));
}

/// What is wrong with the value.
pub(crate) fn problems(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let schema = schema.as_object().expect("a schema is an object");
    let mut problems = Vec::new();
    for (keyword, demand) in schema {
        let problem = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => continue,
            "$ref" => {
                problems.extend(self::problems(root, resolve(root, demand), value, place));
                continue;
            }
            "properties" => {
                problems.extend(in_properties(root, demand, value, place));
                continue;
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    let place = format!("{place}/{index}");
                    problems.extend(self::problems(root, demand, item, &place));
                }
                continue;
            }
            "anyOf" => {
                let ways = demand.as_array().expect("anyOf has a list").iter();
                let ways: Vec<_> =
                    ways.map(|way| self::problems(root, way, value, place)).collect();
                let fits = ways.iter().any(Vec::is_empty);
                (!fits).then(|| format!("nothing that it may be: {ways:?}"))
            }
            "type" => {
                let types = demand.as_array().map_or(std::slice::from_ref(demand), Vec::as_slice);
                let fits = types.iter().any(|name| is_of_type(value, name.as_str().unwrap()));
                (!fits).then(|| format!("no {demand}"))
            }
            "const" => (value != demand).then(|| format!("not {demand}")),
            "enum" => {
                let fits = demand.as_array().expect("enum has a list").contains(value);
                (!fits).then(|| format!("none of {demand}"))
            }
            "minimum" => outside(value, demand, |value, least| value < least),
            "maximum" => outside(value, demand, |value, most| value > most),
            "required" => {
                let names = demand.as_array().expect("required has a list").iter();
                let missing: Vec<_> = names
                    .filter(|name| value.is_object() && value.get(name.as_str().unwrap()).is_none())
                    .collect();
                (!missing.is_empty()).then(|| format!("without {missing:?}"))
            }
            "additionalProperties" => {
                assert_eq!(demand, false, "no other use of it is known here");
                let known = schema.get("properties").and_then(Value::as_object);
                let more = unknown(value, known);
                (!more.is_empty()).then(|| format!("with {more:?}, which nobody knows"))
            }
            other => panic!("the keyword {other} is not known here: teach it, or do without"),
        };
        problems.extend(problem.map(|problem| format!("{place}: {value} is {problem}")));
    }
    problems
}

fn in_properties(root: &Value, demand: &Value, value: &Value, place: &str) -> Vec<String> {
    let properties = demand.as_object().expect("properties have names").iter();
    let found = properties.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
    found
        .flat_map(|(name, schema, value)| problems(root, schema, value, &format!("{place}/{name}")))
        .collect()
}

fn resolve<'a>(root: &'a Value, reference: &Value) -> &'a Value {
    let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
    let found = pointer.and_then(|pointer| root.pointer(pointer));
    found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("there is no type {other}"),
    }
}

fn outside(value: &Value, demand: &Value, is: impl Fn(f64, f64) -> bool) -> Option<String> {
    let bound = demand.as_f64().expect("a bound is a number");
    let outside = value.as_f64().is_some_and(|value| is(value, bound));
    outside.then(|| format!("beyond {bound}"))
}

fn unknown<'a>(value: &'a Value, known: Option<&Map<String, Value>>) -> Vec<&'a String> {
    let names = value.as_object().into_iter().flat_map(Map::keys);
    names.filter(|name| known.is_none_or(|known| !known.contains_key(*name))).collect()
}

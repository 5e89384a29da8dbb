//! What `docker compose config` prints, as text.

use serde_json::Value;

use super::hash::{service_hash, string};
use super::number::float_json;
use super::types::Project;

/// `config --format json`: the canonical project, indented by two, `$` doubled.
pub fn json(project: &Project) -> String {
    let mut out = String::new();
    indented(&Value::Object(project.canonical.expose().clone()), 0, &mut out);
    out.replace('$', "$$")
}

/// `config`: the canonical project as YAML, `$` doubled.
pub fn yaml(project: &Project) -> String {
    let mut out = String::new();
    for (key, value) in project.canonical_yaml.expose() {
        entry(key, value, 0, &mut out);
    }
    out.replace('$', "$$")
}

/// `config --hash`: `NAME HASH` lines. `*` or nothing means every service; otherwise a
/// comma-separated list. `None` when a name isn't an enabled service.
pub fn hashes(project: &Project, services: &str) -> Option<String> {
    let names: Vec<&str> = match services {
        "" | "*" => project.services.keys().map(String::as_str).collect(),
        list => list.split(',').collect(),
    };
    let mut lines: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let service = project.services.get(name)?;
        lines.push(format!("{name} {}\n", service_hash(service.canonical.expose())));
    }
    lines.sort();
    Some(lines.concat())
}

fn lines<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.flat_map(|name| [name, "\n"]).collect()
}

/// `config --services`: enabled services, dependencies not sorted in.
pub fn services(project: &Project) -> String {
    lines(project.services.keys().map(String::as_str))
}

/// `config --volumes`: keys of the volumes.
pub fn volumes(project: &Project) -> String {
    lines(project.volumes.keys().map(String::as_str))
}

/// `config --networks`: keys of the networks.
pub fn networks(project: &Project) -> String {
    lines(project.networks.keys().map(String::as_str))
}

/// `config --images`: image of each enabled service; one that is only built is named after it.
pub fn images(project: &Project) -> String {
    let mut out = String::new();
    for image in project.services.values().filter_map(|service| service.image.as_ref()) {
        out.push_str(image);
        out.push('\n');
    }
    out
}

/// `config --profiles`: every profile of every service.
pub fn profiles(project: &Project) -> String {
    let services = project.services.values().chain(project.disabled_services.values());
    let names: std::collections::BTreeSet<&str> = services
        .filter_map(|service| service.canonical.expose().get("profiles")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    lines(names.into_iter())
}

fn spaces(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

fn indented(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ",\n" } else { "\n" });
                spaces(depth * 2 + 2, out);
                string(key, out);
                out.push_str(": ");
                indented(value, depth + 1, out);
            }
            out.push('\n');
            spaces(depth * 2, out);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, value) in items.iter().enumerate() {
                out.push_str(if index > 0 { ",\n" } else { "\n" });
                spaces(depth * 2 + 2, out);
                indented(value, depth + 1, out);
            }
            out.push('\n');
            spaces(depth * 2, out);
            out.push(']');
        }
        _ => super::hash::json(value, out),
    }
}

/// One `key: value` of a mapping.
fn entry(key: &str, value: &Value, depth: usize, out: &mut String) {
    spaces(depth, out);
    out.push_str(&scalar_text(key));
    out.push(':');
    below(value, depth, out);
}

/// A value behind its key or dash.
fn below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            for (key, value) in map {
                entry(key, value, depth + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                list_item(item, depth + 2, out);
            }
        }
        _ => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn list_item(item: &Value, depth: usize, out: &mut String) {
    spaces(depth, out);
    out.push('-');
    match item {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index == 0 {
                    out.push(' ');
                    out.push_str(&scalar_text(key));
                    out.push(':');
                    below(value, depth + 2, out);
                } else {
                    entry(key, value, depth + 2, out);
                }
            }
        }
        _ => below(item, depth, out),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => float_json(float),
            None => number.to_string(),
        },
        Value::String(text) => scalar_text(text),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
    }
}

/// A string: plain where nothing can take it for something else, otherwise in double quotes.
fn scalar_text(text: &str) -> String {
    let plain_char = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '_' | '-' | '.' | '/' | '=' | '$' | '+' | '@' | ' ' | '(' | ')')
    };
    let first_is_safe =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '$'));
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    if first_is_safe && !word && !text.ends_with(' ') && text.chars().all(plain_char) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if (c as u32) < 0x20 || ('\u{7f}'..='\u{9f}').contains(&c) => {
                quoted.push_str(&format!("\\x{:02x}", c as u32));
            }
            '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

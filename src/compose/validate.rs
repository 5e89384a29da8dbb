//! Checks a merged document against what Compose knows, and reports every mistake in one go.

use super::diagnostic::{Sources, Staged, did_you_mean};
use super::node::{Mapping, Node, Value};
use super::schema::{Accepts, BOOL, INT, NULL, NUM, Object, ROOT, TEXT};

/// Validates a document.
pub(super) fn document(root: &Mapping, sources: &mut Sources) -> Staged<()> {
    let mut path = String::new();
    keys(root, &ROOT, &mut path, sources);
    sources.check()
}

fn keys(map: &Mapping, object: &Object, path: &mut String, sources: &mut Sources) {
    for (key, value) in map {
        if object.extensions && key.starts_with("x-") {
            continue;
        }
        let Some(attribute) = object.attribute(key) else {
            let within =
                if path.is_empty() { "at the top level".into() } else { format!("in `{path}`") };
            let message = format!("unknown attribute `{key}` {within}");
            let known = object.attributes.iter().map(|a| a.name);
            match did_you_mean(key, known) {
                Some(help) => sources.report_help(value.key, message, help),
                None if object.extensions => sources.report_help(
                    value.key,
                    message,
                    "only names that begin with `x-` are free",
                ),
                None => sources.report(value.key, message),
            };
            continue;
        };
        below(key, path, |path| check(value, &attribute.accepts, path, sources));
    }
}

/// Runs a check with a key added to the path.
fn below(key: &str, path: &mut String, run: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(key);
    run(path);
    path.truncate(length);
}

fn check(node: &Node, accepts: &Accepts, path: &mut String, sources: &mut Sources) {
    match accepts {
        Accepts::Any(forms) => match forms.iter().find(|form| fits(node, form)) {
            Some(form) => check(node, form, path, sources),
            None => wrong(node, accepts, path, sources),
        },
        _ if !fits(node, accepts) => wrong(node, accepts, path, sources),
        Accepts::Scalar(_) => {}
        Accepts::Word(words) => {
            let Some(text) = node.as_str() else { return };
            if !words.contains(&text) {
                let message = format!("`{path}` must be one of {}", words.join(", "));
                match did_you_mean(text, words.iter().copied()) {
                    Some(help) => sources.report_help(node.place, message, help),
                    None => sources.report(node.place, message),
                };
            }
        }
        Accepts::Range(low, high) => {
            let Value::Int(number) = node.value else { return };
            if number < *low || number > *high {
                let message = match *high {
                    i64::MAX => format!("`{path}` must be at least {low}"),
                    _ => format!("`{path}` must be between {low} and {high}"),
                };
                sources.report(node.place, message);
            }
        }
        Accepts::Checked(check, wanted) => {
            if node.as_str().is_some_and(|text| !check(text)) {
                sources.report(node.place, format!("`{path}` must be {wanted}"));
            }
        }
        Accepts::Object(object) => {
            let Some(map) = node.as_map() else { return };
            for name in object.required {
                if !map.contains_key(*name) {
                    sources.report(node.place, format!("`{path}` lacks `{name}`"));
                }
            }
            keys(map, object, path, sources);
        }
        Accepts::Map(inner) => {
            for (key, value) in node.as_map().into_iter().flatten() {
                below(key, path, |path| check(value, inner, path, sources));
            }
        }
        Accepts::Named(inner) => {
            for (key, value) in node.as_map().into_iter().flatten() {
                let free = key.starts_with("x-") && path.is_empty();
                if !free && !is_name(key) {
                    let message = format!("`{key}` is no valid name in `{path}`");
                    let help = "names have letters, digits, `.`, `_` and `-`";
                    sources.report_help(value.key, message, help);
                }
                below(key, path, |path| check(value, inner, path, sources));
            }
        }
        Accepts::List(inner, unique) => {
            let items = node.as_list().unwrap_or_default();
            for (index, item) in items.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                check(item, inner, path, sources);
                path.truncate(length);
            }
            if *unique {
                repeats(items, path, sources);
            }
        }
    }
}

fn repeats(items: &[Node], path: &str, sources: &mut Sources) {
    let mut texts = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let repeated = match item.as_str() {
            Some(text) => !texts.insert(text),
            // Objects are few: comparing each with each is cheap.
            None => items[..index].iter().rev().take(256).any(|other| other == item),
        };
        if repeated {
            let message = format!("`{path}` holds the same item twice");
            sources.report_help(item.place, message, "remove one of the two");
        }
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn fits(node: &Node, accepts: &Accepts) -> bool {
    match (accepts, &node.value) {
        (Accepts::Word(_) | Accepts::Checked(..), Value::Text(_))
        | (Accepts::Range(..), Value::Int(_) | Value::Uint(_) | Value::Text(_))
        | (Accepts::Object(_) | Accepts::Map(_) | Accepts::Named(_), Value::Map(_))
        | (Accepts::List(..), Value::List(_)) => true,
        (Accepts::Range(..), Value::Float(number)) => number.fract() == 0.0,
        (Accepts::Any(forms), _) => forms.iter().any(|form| fits(node, form)),
        (Accepts::Scalar(mask), value) => match value {
            Value::Text(_) => mask & TEXT != 0,
            Value::Int(_) | Value::Uint(_) => mask & (INT | NUM) != 0,
            Value::Float(number) => {
                (mask & NUM != 0 && number.is_finite())
                    || (mask & INT != 0 && number.fract() == 0.0)
            }
            Value::Bool(_) => mask & BOOL != 0,
            Value::Null => mask & NULL != 0,
            Value::List(_) | Value::Map(_) => false,
        },
        _ => false,
    }
}

fn wrong(node: &Node, accepts: &Accepts, path: &str, sources: &mut Sources) {
    let mut wanted = Vec::new();
    describe(accepts, &mut wanted);
    wanted.dedup();
    let wanted = match wanted.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "something else".to_owned(),
    };
    let found = node.kind();
    // A missing value stands nowhere: its key shows the place.
    let place = if node.is_null() { node.key } else { node.place };
    let message = format!("`{path}` must be {wanted}, not {found}");
    let only_text = matches!(accepts, Accepts::Scalar(TEXT));
    let scalar =
        matches!(node.value, Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Bool(_));
    if only_text && scalar {
        sources.report_help(place, message, "put it in quotes");
    } else {
        sources.report(place, message);
    }
}

fn describe(accepts: &Accepts, into: &mut Vec<&'static str>) {
    match accepts {
        Accepts::Scalar(mask) => {
            for (bit, name) in [
                (TEXT, "a string"),
                (NUM, "a number"),
                (INT, "an integer"),
                (BOOL, "a boolean"),
                (NULL, "nothing"),
            ] {
                if mask & bit != 0 && !into.contains(&name) {
                    into.push(name);
                }
            }
        }
        Accepts::Word(_) | Accepts::Checked(..) => into.push("a string"),
        Accepts::Range(..) => into.push("an integer"),
        Accepts::Object(_) | Accepts::Map(_) | Accepts::Named(_) => into.push("a mapping"),
        Accepts::List(..) => into.push("a list"),
        Accepts::Any(forms) => forms.iter().for_each(|form| describe(form, into)),
    }
}

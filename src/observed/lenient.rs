//! Reading engine JSON that keeps to no schema: engines of different ages and makes write null
//! for empty, numbers as strings, and words that we don't know. Nothing here fails.

use std::collections::BTreeMap;

use serde_json::Value;

static NULL: Value = Value::Null;

/// The value below `path`, null where it ends.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| value.get(*key).unwrap_or(&NULL))
}

/// A scalar as text; empty for anything else.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// [`as_text`] of a field.
pub(crate) fn text(value: &Value, key: &str) -> String {
    as_text(at(value, &[key]))
}

/// A field's text unless it is empty.
pub(crate) fn non_empty(value: &Value, key: &str) -> Option<String> {
    Some(text(value, key)).filter(|text| !text.is_empty())
}

/// A whole number, also when it is written as a string.
pub(crate) fn int(value: &Value, key: &str) -> Option<i64> {
    match at(value, &[key]) {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A flag, also when it is written as a string.
pub(crate) fn flag(value: &Value, key: &str) -> bool {
    match at(value, &[key]) {
        Value::Bool(flag) => *flag,
        Value::String(text) => text.eq_ignore_ascii_case("true") || text == "1",
        _ => false,
    }
}

/// A list; empty for null and anything else.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    at(value, &[key]).as_array().map_or(&[], Vec::as_slice)
}

/// A list of scalars.
pub(crate) fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().map(as_text).filter(|text| !text.is_empty()).collect()
}

/// The entries of an object; none for null and anything else.
pub(crate) fn entries<'a>(
    value: &'a Value,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(value, &[key]).as_object().into_iter().flatten()
}

/// An object of scalars.
pub(crate) fn text_map(value: &Value, key: &str) -> BTreeMap<String, String> {
    entries(value, key).map(|(key, value)| (key.clone(), as_text(value))).collect()
}

/// The last segment of an address with or without a prefix length: `10.0.0.2/24` → `10.0.0.2`.
pub(crate) fn address(text: &str) -> String {
    text.split('/').next().unwrap_or_default().to_owned()
}

//! Reads a canonical map and notices what nobody read: an attribute is translated, knowingly
//! ignored, or an error, never lost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::error::TranslateError;
use super::scalar;

type Result<T> = std::result::Result<T, TranslateError>;

/// A canonical map with its path, and the keys that were read.
pub(super) struct Fields<'a> {
    at: String,
    map: &'a Map<String, Value>,
    read: BTreeSet<String>,
}

impl<'a> Fields<'a> {
    pub fn new(at: impl Into<String>, map: &'a Map<String, Value>) -> Self {
        Self { at: at.into(), map, read: BTreeSet::new() }
    }

    /// The path of a key.
    pub fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    /// Marks keys that have no effect on a body.
    pub fn ignore(&mut self, keys: &[&str]) {
        self.read.extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// The value, unless absent or null.
    pub fn value(&mut self, key: &str) -> Option<&'a Value> {
        self.read.insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// A string; empty when absent.
    pub fn string(&mut self, key: &str) -> Result<String> {
        match self.value(key) {
            None => Ok(String::new()),
            Some(value) => scalar::text(value).ok_or_else(|| self.wrong(key, "a string")),
        }
    }

    /// A boolean; false when absent.
    pub fn flag(&mut self, key: &str) -> Result<bool> {
        Ok(self.optional_flag(key)?.unwrap_or_default())
    }

    /// A boolean, when given.
    pub fn optional_flag(&mut self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A whole number, also as digits (byte sizes are canonical as strings); 0 when absent.
    pub fn integer(&mut self, key: &str) -> Result<i64> {
        match self.value(key) {
            None => Ok(0),
            Some(value) => scalar::integer(value).ok_or_else(|| self.wrong(key, "a whole number")),
        }
    }

    /// A number in single precision, as Compose keeps CPU shares; 0 when absent.
    pub fn float(&mut self, key: &str) -> Result<f32> {
        match self.value(key) {
            None => Ok(0.0),
            Some(value) => scalar::float(value).ok_or_else(|| self.wrong(key, "a number")),
        }
    }

    /// A duration in nanoseconds, when given.
    pub fn duration(&mut self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let nanoseconds = value.as_str().and_then(scalar::nanoseconds);
        nanoseconds.map(Some).ok_or_else(|| self.wrong(key, "a duration such as 1m30s"))
    }

    /// A list of strings, when given.
    pub fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(scalar::text).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    /// A map of strings, when given.
    pub fn string_map(&mut self, key: &str) -> Result<Option<BTreeMap<String, String>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let entry = |(k, v): (&String, &Value)| Some((k.clone(), scalar::text(v)?));
        let map = value.as_object().and_then(|map| map.iter().map(entry).collect());
        map.map(Some).ok_or_else(|| self.wrong(key, "a map of strings"))
    }

    /// A map, when given.
    pub fn map(&mut self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.wrong(key, "a map")),
        }
    }

    /// A map to read in turn, when given.
    pub fn object(&mut self, key: &str) -> Result<Option<Fields<'a>>> {
        let at = self.path(key);
        Ok(self.map(key)?.map(|map| Fields::new(at, map)))
    }

    /// A list of maps to read in turn; empty when absent.
    pub fn objects(&mut self, key: &str) -> Result<Vec<Fields<'a>>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let list = value.as_array().ok_or_else(|| self.wrong(key, "a list"))?;
        let item = |(index, item): (usize, &'a Value)| {
            let map = item.as_object().ok_or_else(|| self.wrong(key, "a list of maps"))?;
            Ok(Fields::new(format!("{}[{index}]", self.path(key)), map))
        };
        list.iter().enumerate().map(item).collect()
    }

    /// Fails on the first key that nobody read. Extensions (`x-…`) are free.
    pub fn finish(self) -> Result<()> {
        let left = |key: &&String| !key.starts_with("x-") && !self.read.contains(*key);
        match self.map.keys().find(left) {
            Some(key) if self.map.get(key).is_some_and(|value| !value.is_null()) => {
                Err(TranslateError::Unsupported { at: self.path(key) })
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, key: &str, expected: &str) -> TranslateError {
        TranslateError::invalid(self.path(key), format!("expected {expected}"))
    }
}

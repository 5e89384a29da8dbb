//! Resource documents in a text: where each begins, its YAML with places, its kind.
//!
//! Documents are separated before they are parsed, so a broken one hides no other.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::diagnostic::Position;

/// Largest file of resources, in bytes.
pub const MAX_RESOURCE_FILE: u64 = 1 << 20;
/// Most documents in one file.
const MAX_DOCUMENTS: usize = 1000;

/// A YAML value that knows where it is.
pub type Node = Spanned<Value>;

/// A YAML value, as far as its shape matters. Scalars keep their text where they have one.
#[derive(Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in order.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Value {
    /// What a person calls it.
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// The entry of a mapping.
    pub fn entry(&self, key: &str) -> Option<&(Spanned<String>, Node)> {
        match self {
            Self::Map(entries) => entries.iter().find(|(k, _)| k.value == key),
            _ => None,
        }
    }

    /// The text behind a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.1.value {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What is wrong with a document, and where in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Place in the file.
    pub at: Position,
    /// What is wrong.
    pub message: String,
}

/// One document of a file.
#[derive(Debug)]
pub struct Document<'a> {
    /// Its text, the marker included.
    pub text: &'a str,
    /// Lines of the file before it.
    pub before: u32,
    /// Its YAML.
    pub root: Result<Node, Mistake>,
}

impl<'a> Document<'a> {
    /// Decodes the document.
    ///
    /// # Errors
    /// [`Mistake`] at the first value that doesn't fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        serde_saphyr::from_str_with_options(self.text, options())
            .map_err(|e| mistake(&e, self.before))
    }

    /// Where a node is in the file.
    pub fn place<T>(&self, node: &Spanned<T>) -> Position {
        position(node.referenced, self.before)
    }

    /// The key at a path of keys, or the nearest one above that exists.
    pub fn key(&self, path: &[&str]) -> Position {
        let mut found = Position { line: self.before + 1, column: 1 };
        let Ok(mut node) = self.root.as_ref() else { return found };
        for step in path {
            let Some((key, value)) = node.value.entry(step) else { break };
            found = self.place(key);
            node = value;
        }
        found
    }

    /// A value at a path of keys.
    pub fn value(&self, path: &[&str]) -> Option<&Node> {
        let mut node = self.root.as_ref().ok()?;
        for step in path {
            node = &node.value.entry(step)?.1;
        }
        Some(node)
    }

    /// Text behind a top-level key. A document that can't be parsed is searched line by line.
    pub fn header(&self, key: &str) -> Option<&str> {
        match &self.root {
            Ok(root) => root.value.text(key),
            Err(_) => self.text.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.trim_start().strip_prefix(':')?.trim();
                let value = value.split(" #").next().unwrap_or(value).trim();
                Some(value.trim_matches(['"', '\'']))
            }),
        }
    }
}

/// Separates the documents of a text and parses each. Empty ones are left out.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    pieces(text)
        .into_iter()
        .filter(|(_, piece)| piece.lines().any(has_content))
        .take(MAX_DOCUMENTS)
        .map(|(before, text)| {
            let root = serde_saphyr::from_str_with_options(text, options())
                .map_err(|e| mistake(&e, before));
            Document { text, before, root }
        })
        .collect()
}

/// YAML forbids `---` at the start of a line inside any scalar, so that it always separates.
fn pieces(text: &str) -> Vec<(u32, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut before, mut offset) = (0, 0, 0);
    for (number, line) in (0u32..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|r| r.trim_start().len() < r.len() || r.is_empty());
        if marker && offset > start {
            pieces.push((before, &text[start..offset]));
            (start, before) = (offset, number);
        }
        offset += line.len();
    }
    pieces.push((before, &text[start..]));
    pieces
}

fn has_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with('%') && line != "..."
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! { max_depth: 64, max_nodes: 100_000 },
    }
}

fn position(location: serde_saphyr::Location, before: u32) -> Position {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    match number(location.line()) {
        0 => Position::default(),
        line => Position { line: line + before, column: number(location.column()) },
    }
}

fn mistake(error: &serde_saphyr::Error, before: u32) -> Mistake {
    let at = error.location().map(|l| position(l, before)).unwrap_or_default();
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error.without_snippet()
    {
        return Mistake { at, message: format!("duplicate key `{key}`: keep one") };
    }
    let text = error.without_snippet().to_string();
    // The place is shown apart.
    let text = text.split(" at line ").next().unwrap_or(&text);
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let message = text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
    Mistake { at, message }
}

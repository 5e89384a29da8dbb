//! The working tree: what the stages between parsing and the canonical project change.
//!
//! Every node keeps the place that it came from, so that a mistake found by a late stage still
//! points into the file. Keys are sorted, as Docker Compose prints them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::diagnostic::Place;
use super::number::float_text;

/// A mapping of the working tree.
pub(super) type Mapping = BTreeMap<Rc<str>, Node>;

/// A value with its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Where the value stands.
    pub(super) place: Place,
    /// Where its key stands, for a value of a mapping.
    pub(super) key: Place,
}

/// A value, typed as YAML types it.
#[derive(Debug, Clone, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    Float(f64),
    Text(Rc<str>),
    List(Vec<Node>),
    Map(Mapping),
}

impl Node {
    /// A value at the place of another: what a stage makes from it.
    pub(super) fn at(value: Value, place: Place) -> Self {
        Self { value, place, key: place }
    }

    /// Text at the place of another node.
    pub(super) fn text(text: impl Into<Rc<str>>, place: Place) -> Self {
        Self::at(Value::Text(text.into()), place)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_map(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Mapping> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn as_list_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The mutable value of a key, if this is a mapping that has it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key)
    }

    /// The text of a key's value.
    pub(super) fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// A scalar as text, the way that Go's `%v` prints it; `None` for collections.
    pub(super) fn scalar_text(&self) -> Option<Rc<str>> {
        Some(match &self.value {
            Value::Null => "<nil>".into(),
            Value::Bool(flag) => flag.to_string().into(),
            Value::Int(number) => number.to_string().into(),
            Value::Uint(number) => number.to_string().into(),
            Value::Float(number) => float_text(*number).into(),
            Value::Text(text) => text.clone(),
            Value::List(_) | Value::Map(_) => return None,
        })
    }

    /// What a person calls this kind of value.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Uint(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A mapping's entries under a key (`services`, `networks`…), in order.
    pub(super) fn section(&self, key: &str) -> impl Iterator<Item = (&Rc<str>, &Node)> {
        self.get(key).and_then(Node::as_map).into_iter().flatten()
    }
}

impl PartialEq for Node {
    /// Equal values, wherever they stand.
    fn eq(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Uint(a), Value::Uint(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            _ => false,
        }
    }
}

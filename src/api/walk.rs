//! Compares a document with its kind's schema: every unknown key, unknown word, missing key and
//! wrong shape at once, each with its place and the nearest valid name.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::diagnostic::{Position, did_you_mean};
use super::document::{Document, Node, Value};

/// Most findings in one document: more help nobody.
const MAX_FINDINGS: usize = 50;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Place in the file.
    pub at: Position,
    /// What is wrong.
    pub message: String,
    /// The mend.
    pub help: Option<String>,
}

/// What is wrong with the shape of a document.
pub fn walk(document: &Document<'_>, schema: &schemars::Schema) -> Vec<Finding> {
    let Ok(root) = &document.root else { return Vec::new() };
    let mut walker = Walker { document, root: schema.as_value(), found: Vec::new() };
    walker.node(root, root_of(schema), "the document");
    walker.found
}

fn root_of(schema: &schemars::Schema) -> &Json {
    schema.as_value()
}

/// What a place accepts, all alternatives together.
#[derive(Default)]
struct Accepted<'s> {
    properties: BTreeMap<&'s str, &'s Json>,
    required: Vec<&'s str>,
    /// Schema of the values behind free keys.
    free: Option<&'s Json>,
    items: Option<&'s Json>,
    words: Vec<&'s str>,
    types: Vec<&'s str>,
    /// Exactly one of the keys is to be given.
    tagged: bool,
}

struct Walker<'d, 's> {
    document: &'d Document<'d>,
    root: &'s Json,
    found: Vec<Finding>,
}

impl<'s> Walker<'_, 's> {
    fn node(&mut self, node: &Node, schema: &'s Json, name: &str) {
        let accepted = self.accepted(schema);
        match &node.value {
            Value::Map(entries) => {
                if !accepted.takes("object") {
                    return self.wrong_shape(node, &accepted, name);
                }
                for (key, value) in entries {
                    let known = accepted.properties.get(key.value.as_str()).copied();
                    match known.or(accepted.free) {
                        Some(schema) => self.node(value, schema, &key.value),
                        None => {
                            let message = format!("unknown key `{}` in {name}", key.value);
                            let known = accepted.properties.keys().copied();
                            let help = did_you_mean(&key.value, known);
                            self.find(self.document.place(key), message, help);
                        }
                    }
                }
                self.complete(node, entries.len(), &accepted, name);
            }
            Value::List(items) => {
                if !accepted.takes("array") {
                    return self.wrong_shape(node, &accepted, name);
                }
                let schema = accepted.items;
                for item in items {
                    if let Some(schema) = schema {
                        self.node(item, schema, name);
                    }
                }
            }
            Value::Text(text) => {
                if !accepted.words.is_empty() {
                    if !accepted.words.contains(&text.as_str()) {
                        let message = format!("unknown value `{}` of {name}", cut(text));
                        let help = did_you_mean(text, accepted.words.iter().copied());
                        self.find(self.document.place(node), message, help);
                    }
                } else if !accepted.takes("string") {
                    self.wrong_shape(node, &accepted, name);
                }
            }
            Value::Bool(_) if accepted.takes("boolean") => {}
            Value::Number(_) if accepted.takes("integer") || accepted.takes("number") => {}
            // The decoder says it better: a quantity without its unit.
            Value::Number(_) if accepted.takes("string") && accepted.words.is_empty() => {}
            Value::Null if accepted.takes("null") => {}
            _ => self.wrong_shape(node, &accepted, name),
        }
    }

    fn complete(&mut self, node: &Node, given: usize, accepted: &Accepted<'_>, name: &str) {
        let at = self.document.place(node);
        if accepted.tagged {
            if given != 1 {
                let names: Vec<&str> = accepted.properties.keys().copied().collect();
                let message = format!("{name} needs exactly one of {}", names.join(", "));
                self.find(at, message, None);
            }
            return;
        }
        for key in &accepted.required {
            if node.value.entry(key).is_none() {
                self.find(at, format!("{name} lacks `{key}`"), None);
            }
        }
    }

    fn wrong_shape(&mut self, node: &Node, accepted: &Accepted<'_>, name: &str) {
        let wanted: Vec<&str> = if accepted.words.is_empty() {
            accepted.types.iter().filter(|t| **t != "null").map(|t| noun(t)).collect()
        } else {
            vec!["one word"]
        };
        let message =
            format!("{name} must be {}, but it is {}", wanted.join(" or "), node.value.noun());
        let help = (!accepted.words.is_empty())
            .then(|| format!("known here: {}", accepted.words.join(", ")));
        self.find(self.document.place(node), message, help);
    }

    fn find(&mut self, at: Position, message: String, help: Option<String>) {
        if self.found.len() < MAX_FINDINGS {
            self.found.push(Finding { at, message, help });
        }
    }

    fn accepted(&self, schema: &'s Json) -> Accepted<'s> {
        let mut accepted = Accepted::default();
        self.collect(schema, &mut accepted, 0);
        accepted
    }

    fn collect(&self, schema: &'s Json, into: &mut Accepted<'s>, depth: u8) {
        if depth > 16 {
            return;
        }
        let text = |key: &str| schema.get(key).and_then(Json::as_str);
        if let Some(target) =
            text("$ref").and_then(|r| self.root.pointer(r.trim_start_matches('#')))
        {
            self.collect(target, into, depth + 1);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let alternatives = schema.get(key).and_then(Json::as_array);
            for alternative in alternatives.into_iter().flatten() {
                into.tagged |= key == "oneOf" && alternative.get("properties").is_some();
                self.collect(alternative, into, depth + 1);
            }
        }
        match schema.get("type") {
            Some(Json::String(name)) => into.types.push(name),
            Some(Json::Array(names)) => into.types.extend(names.iter().filter_map(Json::as_str)),
            _ => {}
        }
        into.words.extend(text("const"));
        let words = schema.get("enum").and_then(Json::as_array);
        into.words.extend(words.into_iter().flatten().filter_map(Json::as_str));
        let properties = schema.get("properties").and_then(Json::as_object);
        into.properties.extend(properties.into_iter().flatten().map(|(k, v)| (k.as_str(), v)));
        let required = schema.get("required").and_then(Json::as_array);
        into.required.extend(required.into_iter().flatten().filter_map(Json::as_str));
        into.free = into.free.or(schema.get("additionalProperties").filter(|s| s.is_object()));
        into.items = into.items.or(schema.get("items"));
    }
}

impl Accepted<'_> {
    fn takes(&self, name: &str) -> bool {
        self.types.contains(&name)
    }
}

fn noun(schema_type: &str) -> &str {
    match schema_type {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" | "number" => "a number",
        other => other,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

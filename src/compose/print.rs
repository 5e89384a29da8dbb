//! The working tree to the canonical tree: values typed and printed as the Go types of Docker
//! Compose do it.

use serde_json::{Map, Value as Json};

use super::cast::boolean;
use super::diagnostic::{Place, Sources};
use super::node::{Mapping, Node, Value};
use super::number::{bytes, duration, duration_text, narrow};
use super::schema::{Object, Prints};
use super::shellwords;

/// The two forms differ: JSON prints some empty values and no nested `x-` attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Yaml,
}

/// Prints objects, and notes what can't be.
pub(super) struct Printer<'s> {
    pub(super) sources: &'s mut Sources,
    pub(super) form: Form,
}

/// A value that can't be printed as its attribute wants.
type Unfit = (Place, String);

impl Printer<'_> {
    /// An object with the attributes that it has, in the order in which they print.
    pub(super) fn object(&mut self, map: &Mapping, object: &Object) -> Map<String, Json> {
        let mut printed = Map::new();
        for attribute in object.attributes {
            let node = map.get(attribute.name).filter(|node| !node.is_null());
            match self.value(node, attribute.prints) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    printed.insert(self.key(attribute.name, object), value);
                }
                Err((place, problem)) => {
                    self.sources.report(place, format!("`{}` {problem}", attribute.name));
                }
            }
        }
        if self.form == Form::Yaml && object.extensions {
            for (key, node) in map.iter().filter(|(key, _)| key.starts_with("x-")) {
                printed.insert(key.to_string(), any(node));
            }
        }
        printed
    }

    fn key(&self, name: &str, object: &Object) -> String {
        let mut key = name.to_owned();
        if object.capitals && self.form == Form::Json {
            key[..1].make_ascii_uppercase();
        }
        key
    }

    fn value(&mut self, node: Option<&Node>, prints: Prints) -> Result<Option<Json>, Unfit> {
        let Some(node) = node else { return Ok(self.absent(prints)) };
        Ok(match prints {
            Prints::Never => None,
            Prints::Text => Some(text(node)?).filter(|t| !t.is_empty()).map(Json::String),
            Prints::AlwaysText => Some(Json::String(text(node)?)),
            Prints::Flag => flag(node)?.then_some(Json::Bool(true)),
            Prints::MaybeFlag | Prints::AlwaysFlag => Some(Json::Bool(flag(node)?)),
            Prints::OptOut => (!flag(node)?).then_some(Json::Bool(false)),
            Prints::Integer => Some(integer(node)?).filter(|i| *i != 0).map(Json::from),
            Prints::MaybeInteger | Prints::AlwaysInteger => Some(Json::from(integer(node)?)),
            Prints::Float => Some(float(node)?).filter(|f| *f != 0.0).map(number),
            Prints::Bytes => {
                Some(size(node)?).filter(|size| *size != 0).map(|s| Json::String(s.to_string()))
            }
            Prints::AlwaysBytes => Some(Json::String(size(node)?.to_string())),
            Prints::Duration => {
                Some(time(node)?).filter(|t| *t != 0).map(|t| Json::String(duration_text(t)))
            }
            Prints::MaybeDuration => Some(Json::String(duration_text(time(node)?))),
            Prints::Texts => list(texts(node)?),
            Prints::Command => Some(Json::Array(strings(command(node)?))),
            Prints::Test => list(match &node.value {
                Value::Text(line) => vec!["CMD-SHELL".into(), line.to_string()],
                _ => texts(node)?,
            }),
            Prints::TextMap => some(
                pairs(node)?
                    .into_iter()
                    .map(|(k, v)| (k, Json::String(v.unwrap_or_default())))
                    .collect(),
            ),
            Prints::Environment => some(
                pairs(node)?
                    .into_iter()
                    .map(|(k, v)| (k, v.map_or(Json::Null, Json::String)))
                    .collect(),
            ),
            Prints::MultiOptions => some(multi(node)?),
            Prints::Hosts => list(hosts(node)?),
            Prints::Ssh => list(ssh(node)?),
            Prints::Ulimits => some(self.ulimits(node)?),
            Prints::Mode => Some(Json::String(format!("0{:o}", mode(node)?))),
            Prints::Count => Some(count(node)?).filter(|c| *c != 0).map(Json::from),
            Prints::Object(object) => {
                node.as_map().map(|map| Json::Object(self.object(map, object)))
            }
            Prints::Inline(object) => {
                let map = node.as_map().map(|map| self.object(map, object)).unwrap_or_default();
                (self.form == Form::Json || !map.is_empty()).then_some(Json::Object(map))
            }
            Prints::Objects(object) => {
                let items = node.as_list().unwrap_or_default().iter();
                let items = items.filter_map(Node::as_map);
                let items: Vec<Json> =
                    items.map(|map| Json::Object(self.object(map, object))).collect();
                (!items.is_empty()).then_some(Json::Array(items))
            }
            Prints::ObjectMap(object) => {
                let mut map = Map::new();
                for (key, node) in node.as_map().into_iter().flatten() {
                    let value = node.as_map().map(|map| Json::Object(self.object(map, object)));
                    map.insert(key.to_string(), value.unwrap_or(Json::Null));
                }
                some(map)
            }
        })
    }

    /// What an attribute prints that isn't there.
    fn absent(&mut self, prints: Prints) -> Option<Json> {
        let json = self.form == Form::Json;
        match prints {
            Prints::Command => json.then_some(Json::Null),
            Prints::Inline(object) => {
                let empty = self.object(&Mapping::new(), object);
                json.then_some(Json::Object(empty))
            }
            Prints::AlwaysText => Some(Json::String(String::new())),
            Prints::AlwaysFlag => Some(Json::Bool(false)),
            Prints::AlwaysInteger => Some(Json::from(0)),
            Prints::AlwaysBytes => Some(Json::String("0".into())),
            _ => None,
        }
    }

    fn ulimits(&mut self, node: &Node) -> Result<Map<String, Json>, Unfit> {
        let mut limits = Map::new();
        for (name, limit) in node.as_map().into_iter().flatten() {
            let value = match limit.as_map() {
                None => match integer(limit)? {
                    0 => self.pair(0, 0),
                    single => Json::from(single),
                },
                Some(map) => {
                    let part = |key| map.get(key).map_or(Ok(0), integer);
                    self.pair(part("soft")?, part("hard")?)
                }
            };
            limits.insert(name.to_string(), value);
        }
        Ok(limits)
    }

    fn pair(&self, soft: i64, hard: i64) -> Json {
        let mut map = Map::new();
        for (name, value) in [("soft", soft), ("hard", hard)] {
            if value != 0 || self.form == Form::Yaml {
                map.insert(name.into(), Json::from(value));
            }
        }
        Json::Object(map)
    }
}

fn some(map: Map<String, Json>) -> Option<Json> {
    (!map.is_empty()).then_some(Json::Object(map))
}

fn strings(texts: Vec<String>) -> Vec<Json> {
    texts.into_iter().map(Json::String).collect()
}

fn list(texts: Vec<String>) -> Option<Json> {
    (!texts.is_empty()).then(|| Json::Array(strings(texts)))
}

/// A float as a JSON number: a whole one without a point, as Go prints it.
pub(super) fn number(float: f64) -> Json {
    #[allow(clippy::cast_possible_truncation)]
    if float.fract() == 0.0 && float.abs() < 1e15 {
        return Json::from(float as i64);
    }
    serde_json::Number::from_f64(float).map_or(Json::Null, Json::Number)
}

/// A value as it is (`x-` attributes).
pub(super) fn any(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(int) => Json::from(*int),
        Value::Uint(int) => Json::from(*int),
        Value::Float(float) => number(*float),
        Value::Text(text) => Json::String(text.to_string()),
        Value::List(list) => Json::Array(list.iter().map(any).collect()),
        Value::Map(map) => {
            Json::Object(map.iter().map(|(key, node)| (key.to_string(), any(node))).collect())
        }
    }
}

fn unfit(node: &Node, problem: &str) -> Unfit {
    (node.place, problem.to_owned())
}

fn text(node: &Node) -> Result<String, Unfit> {
    let text = node.scalar_text().ok_or_else(|| unfit(node, "must be a string"))?;
    Ok(text.to_string())
}

fn flag(node: &Node) -> Result<bool, Unfit> {
    let flag = match &node.value {
        Value::Bool(flag) => Some(*flag),
        Value::Text(text) => boolean(text),
        _ => None,
    };
    flag.ok_or_else(|| unfit(node, "must be a boolean"))
}

fn integer(node: &Node) -> Result<i64, Unfit> {
    let int = match &node.value {
        Value::Int(int) => Some(*int),
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(float) if float.abs() < 9e15 => Some(*float as i64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    int.ok_or_else(|| unfit(node, "must be an integer"))
}

fn float(node: &Node) -> Result<f64, Unfit> {
    #[allow(clippy::cast_precision_loss)]
    let float = match &node.value {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        Value::Text(text) => text.parse().ok().filter(|f: &f64| f.is_finite()),
        _ => None,
    };
    float.map(narrow).ok_or_else(|| unfit(node, "must be a number"))
}

fn size(node: &Node) -> Result<i64, Unfit> {
    match &node.value {
        Value::Text(text) => {
            bytes(text).ok_or_else(|| unfit(node, "must be a size like `512m` or `2g`"))
        }
        _ => integer(node),
    }
}

fn time(node: &Node) -> Result<i64, Unfit> {
    let text = node.scalar_text().unwrap_or_default();
    duration(&text).ok_or_else(|| unfit(node, "must be a duration like `30s` or `1m30s`"))
}

fn texts(node: &Node) -> Result<Vec<String>, Unfit> {
    match &node.value {
        Value::List(list) => list.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}

fn command(node: &Node) -> Result<Vec<String>, Unfit> {
    match &node.value {
        Value::Text(line) => shellwords::split(line)
            .ok_or_else(|| unfit(node, "has an open quote or a bare parenthesis: write a list")),
        _ => texts(node),
    }
}

/// `key=value` pairs of a mapping or a list, sorted by key.
pub(super) type Pairs = std::collections::BTreeMap<String, Option<String>>;

/// The pairs of a mapping or of a list.
pub(super) fn pairs(node: &Node) -> Result<Pairs, Unfit> {
    let mut pairs = Pairs::new();
    match &node.value {
        Value::Map(map) => {
            for (key, value) in map {
                let value = if value.is_null() { None } else { Some(text(value)?) };
                pairs.insert(key.to_string(), value);
            }
        }
        Value::List(list) => {
            for item in list {
                let item_text = text(item)?;
                let (key, value) = match item_text.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (item_text.as_str(), None),
                };
                if key.ends_with(char::is_whitespace) {
                    return Err(unfit(item, "holds a name that ends with a space"));
                }
                pairs.insert(key.to_owned(), value);
            }
        }
        _ => return Err(unfit(node, "must be a mapping or a list")),
    }
    Ok(pairs)
}

fn multi(node: &Node) -> Result<Map<String, Json>, Unfit> {
    let mut options = Map::new();
    for (key, value) in node.as_map().into_iter().flatten() {
        options.insert(key.to_string(), Json::Array(strings(texts(value)?)));
    }
    Ok(options)
}

fn hosts(node: &Node) -> Result<Vec<String>, Unfit> {
    let mut hosts = Vec::new();
    let mut add = |host: &str, address: &str, node: &Node| {
        if host.is_empty() || host.contains([':', '=']) {
            return Err(unfit(node, "holds an invalid host name"));
        }
        let inner = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        let address = inner.filter(|inner| !inner.is_empty()).unwrap_or(address);
        hosts.push(format!("{host}={address}"));
        Ok(())
    };
    match &node.value {
        Value::Map(map) => {
            for (host, value) in map {
                match &value.value {
                    Value::Null => add(host, "", value)?,
                    _ => texts(value)?.iter().try_for_each(|a| add(host, a, value))?,
                }
            }
        }
        _ => {
            for item in node.as_list().unwrap_or_default() {
                let entry = text(item)?;
                let (host, addresses) = entry
                    .split_once('=')
                    .or_else(|| entry.split_once(':'))
                    .ok_or_else(|| unfit(item, "must have the form `host=address`"))?;
                addresses.split(',').try_for_each(|a| add(host, a, item))?;
            }
        }
    }
    hosts.sort();
    Ok(hosts)
}

fn ssh(node: &Node) -> Result<Vec<String>, Unfit> {
    let mut keys = Vec::new();
    for (id, path) in node.as_map().into_iter().flatten() {
        let path = if path.is_null() { String::new() } else { text(path)? };
        keys.push(if path.is_empty() { id.to_string() } else { format!("{id}: {path}") });
    }
    Ok(keys)
}

fn mode(node: &Node) -> Result<i64, Unfit> {
    match &node.value {
        Value::Text(text) => i64::from_str_radix(text, 8)
            .map_err(|_| unfit(node, "must be an octal file mode like `0440`")),
        _ => integer(node),
    }
}

fn count(node: &Node) -> Result<i64, Unfit> {
    match node.as_str() {
        Some(text) if text.eq_ignore_ascii_case("all") => Ok(-1),
        _ => integer(node).map_err(|_| unfit(node, "must be `all` or a number")),
    }
}

//! Variables in scalars: `$VAR ${VAR} ${VAR:-d} ${VAR-d} ${VAR:?e} ${VAR?e} ${VAR:+a} ${VAR+a} $$`,
//! with nested defaults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cast;
use super::diagnostic::{Sources, Staged};
use super::node::{Node, Value};

/// Variables by name. They remember which ones were asked for, those that aren't there included;
/// clones remember together.
#[derive(Clone, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    asked: Rc<RefCell<BTreeSet<String>>>,
}

impl Variables {
    pub(super) fn new(values: BTreeMap<String, String>) -> Self {
        Self { values, asked: Rc::default() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&String> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(name) {
            asked.insert(name.to_owned());
        }
        self.values.get(name)
    }

    pub(super) fn insert(&mut self, name: String, value: String) {
        self.values.insert(name, value);
    }

    /// Adds a variable unless it is there.
    pub(super) fn default_to(&mut self, name: String, value: String) {
        self.values.entry(name).or_insert(value);
    }

    /// The names that were asked for.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// Names and values of one file.
pub(super) type Assignments = BTreeMap<String, String>;

/// Longest text that a substitution may make.
const MAX_TEXT: usize = 4 << 20;
/// Deepest nesting of defaults.
const MAX_NESTING: usize = 64;

/// What is wrong with a template. Never holds a variable's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// `${` isn't closed, or holds what it can't.
    Invalid,
    /// `:?` or `?`: the variable's name and the author's message.
    Required(String, String),
    /// Too deep or too long.
    TooLarge,
}

/// Looks a variable up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables of a text.
pub(super) fn substitute(
    template: &str,
    lookup: Lookup<'_>,
    missing: &mut Vec<String>,
) -> Result<String, TemplateError> {
    Substitution { lookup, missing }.run(template, 0)
}

struct Substitution<'a, 'm> {
    lookup: Lookup<'a>,
    missing: &'m mut Vec<String>,
}

impl Substitution<'_, '_> {
    fn run(&mut self, template: &str, depth: usize) -> Result<String, TemplateError> {
        if depth > MAX_NESTING {
            return Err(TemplateError::TooLarge);
        }
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix('{') {
                let end = closing_brace(tail).ok_or(TemplateError::Invalid)?;
                out.push_str(&self.braced(&tail[..end], depth)?);
                rest = &tail[end + 1..];
            } else {
                let end = name_end(rest);
                match end {
                    // A dollar sign that starts no variable is one.
                    0 => out.push('$'),
                    _ => out.push_str(&self.value(&rest[..end])),
                }
                rest = &rest[end..];
            }
            if out.len() > MAX_TEXT {
                return Err(TemplateError::TooLarge);
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value of a variable; a missing one is empty, and noted.
    fn value(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.missing.push(name.to_owned());
            String::new()
        })
    }

    fn braced(&mut self, body: &str, depth: usize) -> Result<String, TemplateError> {
        let (name, tail) = body.split_at(name_end(body));
        if name.is_empty() {
            return Err(TemplateError::Invalid);
        }
        if tail.is_empty() {
            return Ok(self.value(name));
        }
        let (if_empty, tail) = match tail.strip_prefix(':') {
            Some(tail) => (true, tail),
            None => (false, tail),
        };
        let mut chars = tail.chars();
        let operator = chars.next().ok_or(TemplateError::Invalid)?;
        let argument = chars.as_str();
        let value = (self.lookup)(name);
        let set = value.as_ref().is_some_and(|v| !if_empty || !v.is_empty());
        match operator {
            '-' if set => Ok(value.unwrap_or_default()),
            '-' => self.run(argument, depth + 1),
            '+' if set => self.run(argument, depth + 1),
            '+' => Ok(value.unwrap_or_default()),
            '?' if set => Ok(value.unwrap_or_default()),
            '?' => {
                let reason = self.run(argument, depth + 1)?;
                // The author's text may itself name variables: their values stay out.
                let reason = if argument.contains('$') { argument.to_owned() } else { reason };
                Err(TemplateError::Required(name.to_owned(), reason))
            }
            _ => Err(TemplateError::Invalid),
        }
    }
}

/// Length of the variable name that a text begins with.
fn name_end(text: &str) -> usize {
    let ok = |(index, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(|pair| ok(*pair)).count()
}

/// Index of the brace that closes a `${` whose inside begins at 0.
///
/// As in Docker Compose: on the same line, an inner brace hides the character behind it, and if
/// the braces don't balance then, the last one closes.
fn closing_brace(text: &str) -> Option<usize> {
    let line = text.split('\n').next().unwrap_or_default();
    let mut open = 1;
    let mut bytes = line.bytes().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'{' => {
                open += 1;
                bytes.next();
            }
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    line.rfind('}')
}

/// Interpolates a document in place, and casts where an attribute wants a number or a boolean.
pub(super) fn document(
    root: &mut Node,
    variables: &Variables,
    sources: &mut Sources,
) -> Staged<()> {
    let lookup = |name: &str| variables.get(name).cloned();
    let mut path = Vec::new();
    walk(root, &mut path, &lookup, sources);
    sources.check()
}

fn walk(node: &mut Node, path: &mut Vec<Rc<str>>, lookup: Lookup<'_>, sources: &mut Sources) {
    match &mut node.value {
        Value::Text(text) => {
            if text.contains('$') {
                let mut missing = Vec::new();
                match substitute(text, lookup, &mut missing) {
                    Ok(replaced) => *text = replaced.into(),
                    Err(error) => {
                        report(node, &error, path, sources);
                        node.value = Value::Null;
                        return;
                    }
                }
                for name in missing {
                    let warning = format!("the variable `{name}` is not set: it becomes empty");
                    if !sources.warnings.contains(&warning) {
                        sources.warnings.push(warning);
                    }
                }
            }
            cast::apply(node, path, sources);
        }
        Value::List(list) => {
            path.push("[]".into());
            for item in list {
                walk(item, path, lookup, sources);
            }
            path.pop();
        }
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                path.push(key.clone());
                walk(value, path, lookup, sources);
                path.pop();
            }
        }
        _ => {}
    }
}

fn report(node: &Node, error: &TemplateError, path: &[Rc<str>], sources: &mut Sources) {
    let place = node.place;
    let at = path.join(".");
    match error {
        TemplateError::Invalid => {
            let message = format!("`{at}` holds a `${{` that is no variable");
            sources.report_help(
                place,
                message,
                "write `$$` for a dollar sign, `${NAME}` for a variable",
            );
        }
        TemplateError::Required(name, reason) => {
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            let message = format!("required variable `{name}` is not set{reason}");
            let help = format!("set `{name}` in .env, in an --env-file or in the shell");
            sources.report_help(place, message, help);
        }
        TemplateError::TooLarge => {
            sources.report(place, format!("`{at}` grows too large or nests too deep"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(template: &str) -> Result<String, TemplateError> {
        let lookup = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(template, &lookup, &mut Vec::new())
    }

    #[test]
    fn every_form_is_replaced() {
        for (template, expected) in [
            ("$SET", "value"),
            ("${SET}", "value"),
            ("a$SET.b", "avalue.b"),
            ("$$SET", "$SET"),
            ("$$$SET", "$value"),
            ("${UNSET:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${UNSET-d}", "d"),
            ("${SET:+a}", "a"),
            ("${EMPTY:+a}", ""),
            ("${EMPTY+a}", "a"),
            ("${UNSET+a}", ""),
            ("${SET:?e}", "value"),
            ("${EMPTY?e}", ""),
            ("${UNSET:-${SET}}", "value"),
            ("${UNSET:-${ALSO:-x$SET}}y", "xvaluey"),
            ("${UNSET:-a:-b}", "a:-b"),
            ("${UNSET:-$$x}", "$x"),
            ("$UNSET", ""),
            ("$(date) $1 $", "$(date) $1 $"),
        ] {
            assert_eq!(with(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(with("${SET"), Err(TemplateError::Invalid));
        assert_eq!(with("${}"), Err(TemplateError::Invalid));
        assert_eq!(with("${SET!x}"), Err(TemplateError::Invalid));
        let required = TemplateError::Required("UNSET".into(), "say it".into());
        assert_eq!(with("${UNSET:?say it}"), Err(required));
        let nested = "${A:-".repeat(100) + &"}".repeat(100);
        assert_eq!(with(&nested), Err(TemplateError::TooLarge));
    }
}

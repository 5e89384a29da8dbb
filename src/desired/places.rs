//! Where in the files something is written that a finding speaks of.

use std::path::PathBuf;

use super::assemble::Written;
use super::files::read_bounded;
use crate::api::diagnostic::Position;
use crate::api::document::{Value, documents};

/// An entry of `recoveryOrder`, or the list where it isn't in it.
pub(super) fn in_order(written: Written<'_>, service: &str) -> Position {
    let list = ["spec", "recoveryOrder"];
    let items = match written.document.value(&list).map(|node| &node.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let is = |value: &Value| matches!(value, Value::Text(text) if text == service);
    match items.iter().find(|item| is(&item.value)) {
        Some(item) => written.document.place(item),
        None => written.document.key(&list),
    }
}

/// `FILE:LINE` of a service's `depends_on` that names another one, in the last of the Compose files
/// that has it. What comes from elsewhere (`links`, `extends`, an include) has none.
pub(super) fn dependency(files: &[PathBuf], service: &str, on: &str) -> Option<String> {
    files.iter().rev().find_map(|file| {
        let text = read_bounded(file)?;
        documents(&text).into_iter().find_map(|document| {
            let place = match &document.value(&["services", service, "depends_on"])?.value {
                Value::Map(entries) => {
                    let (key, _) = entries.iter().find(|(key, _)| key.value == on)?;
                    document.place(key)
                }
                Value::List(items) => {
                    let is = |value: &Value| matches!(value, Value::Text(text) if text == on);
                    document.place(items.iter().find(|item| is(&item.value))?)
                }
                _ => return None,
            };
            Some(format!("{}:{}", file.display(), place.line))
        })
    })
}

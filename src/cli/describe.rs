//! `describe KIND/NAME`: everything about one object, and what happened to it.

use serde_json::Value;

use super::args::{DescribeArgs, Kind};
use super::error::{CliError, Exit, printable};
use super::events;
use super::output::print;
use super::resolved::Resolved;
use super::status::Source;
use super::table::{now, rows};
use crate::api::diagnostic::did_you_mean;

/// Runs the verb.
///
/// # Errors
/// An object that isn't there, or nobody to ask.
pub async fn run(options: &Resolved, args: &DescribeArgs) -> Result<Exit, CliError> {
    let source = Source::choose(options).await?;
    let status = source.read_for(options, args.object.kind).await?;
    let project = options.load.project_name.as_deref();
    let (kind, name) = (args.object.kind, args.object.name.as_str());
    let found = rows(kind, &status, project, Some(name), now());
    if found.is_empty() {
        let all = rows(kind, &status, project, None, now());
        let mend = did_you_mean(name, all.iter().map(|row| row.name.as_str()));
        let mend = mend.map_or_else(String::new, |mend| format!("; {mend}"));
        return Err(CliError::Usage(format!("no {} `{name}`{mend}", kind.noun())));
    }
    let mut out = String::new();
    for (index, row) in found.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        fields(&row.value, 0, &mut out);
        if kind == Kind::Stacks
            && let Some(plan) = status.plans.iter().find(|plan| plan.stack == row.name)
        {
            out.push_str("Plan:\n");
            indented(if plan.steps.is_empty() { "nothing to do" } else { &plan.text }, &mut out);
            for entry in &plan.report {
                indented(
                    &format!("{}: {} ({})", entry.object, entry.reason, entry.message),
                    &mut out,
                );
            }
        }
        let of = row.value.get("project").and_then(Value::as_str).unwrap_or_default();
        let object = match kind {
            Kind::Stacks => None,
            Kind::Services => row.cells.first().map(|slot| format!("service {slot}")),
            Kind::Networks => Some(format!("network {}", row.name)),
            Kind::Volumes => Some(format!("volume {}", row.name)),
            Kind::Leases => Some("lease".to_owned()),
            Kind::Incidents => row.cells.get(1).map(|slot| format!("service {slot}")),
        };
        let mut recent = events::recent(options, of, object.as_deref()).await?;
        if kind == Kind::Incidents {
            let story = format!("incident {}:", row.name);
            recent.retain(|event| event.message.starts_with(&story));
        }
        out.push_str("Events:\n");
        if recent.is_empty() {
            indented("none", &mut out);
        }
        for event in &recent {
            indented(&events::line(event), &mut out);
        }
    }
    print(&printable(&out))?;
    Ok(Exit::Well)
}

fn indented(text: &str, out: &mut String) {
    for line in text.lines() {
        out.push_str("  ");
        out.push_str(line);
        out.push('\n');
    }
}

/// `containerId` becomes `Container Id:`; lists of objects become blocks.
fn fields(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    let Some(map) = value.as_object() else { return };
    for (key, value) in map {
        let label = title(key);
        match value {
            Value::Array(items) => {
                out.push_str(&format!("{pad}{label}:\n"));
                for item in items {
                    let mut block = String::new();
                    fields(item, 0, &mut block);
                    for (index, line) in block.lines().enumerate() {
                        let lead = if index == 0 { "- " } else { "  " };
                        out.push_str(&format!("{pad}  {lead}{line}\n"));
                    }
                }
            }
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => out.push_str(&format!("{pad}{label}: {text}\n")),
            Value::Number(millis)
                if key.ends_with("At")
                    || matches!(key.as_str(), "since" | "heldSince" | "acknowledgedUntil") =>
            {
                let at = crate::clock::Timestamp(millis.as_i64().unwrap_or_default());
                out.push_str(&format!("{pad}{label}: {at}\n"));
            }
            other => out.push_str(&format!("{pad}{label}: {other}\n")),
        }
    }
}

fn title(key: &str) -> String {
    let mut title = String::new();
    for (index, c) in key.chars().enumerate() {
        if index == 0 {
            title.push(c.to_ascii_uppercase());
            continue;
        }
        if c.is_ascii_uppercase() {
            title.push(' ');
        }
        title.push(c);
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_read_as_words_and_nothing_empty_is_shown() {
        let mut out = String::new();
        let value = json!({
            "containerName": "p-db-1", "message": "", "startedAt": 0,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced"}],
        });
        fields(&value, 0, &mut out);
        assert_eq!(
            out,
            "Container Name: p-db-1\nStarted At: 1970-01-01T00:00:00.000Z\nConditions:\n  - Type: Ready\n    Status: True\n  - Type: Synced\n"
        );
    }
}

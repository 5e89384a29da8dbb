//! `get`: objects of a kind as a table, JSON or YAML, once or as they change.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{GetArgs, GetOutput};
use super::error::{CliError, Exit};
use super::output::print;
use super::resolved::Resolved;
use super::status::Source;
use super::table::{Row, now, rows, table};
use crate::api::diagnostic::did_you_mean;

/// Runs the verb.
///
/// # Errors
/// An object that isn't there, or nobody to ask.
pub async fn run(options: &Resolved, args: &GetArgs) -> Result<Exit, CliError> {
    let source = Source::choose(options).await?;
    let project = options.load.project_name.as_deref();
    let mut status = source.read_for(options, args.kind).await?;
    let all = rows(args.kind, &status, project, None, now());
    let mut found = rows(args.kind, &status, project, args.name.as_deref(), now());
    if let (Some(name), true) = (&args.name, found.is_empty()) {
        let kind = args.kind.noun();
        let mend = did_you_mean(name, all.iter().map(|row| row.name.as_str()));
        let mend = mend.map_or_else(String::new, |mend| format!("; {mend}"));
        return Err(CliError::Usage(format!("no {kind} `{name}`{mend}")));
    }
    print(&text(args, &found, true)?)?;
    if !args.watch {
        return Ok(Exit::Well);
    }
    let mut shown: BTreeMap<String, Row> = BTreeMap::new();
    loop {
        shown.extend(found.into_iter().map(|row| (row.key.clone(), row)));
        status = source.next(options, args.kind, &status).await?;
        let (_, narrow) = super::table::columns(args.kind);
        let shows = |row: &Row| match args.output {
            // An age alone is no change.
            GetOutput::Table => {
                row.cells[..narrow].iter().filter(|c| !is_age(c)).cloned().collect()
            }
            _ => vec![row.value.to_string()],
        };
        let fresh = rows(args.kind, &status, project, args.name.as_deref(), now());
        shown.retain(|key, _| fresh.iter().any(|row| row.key == *key));
        found = fresh
            .into_iter()
            .filter(|row| shown.get(&row.key).is_none_or(|old| shows(old) != shows(row)))
            .collect();
        if !found.is_empty() {
            print(&text(args, &found, false)?)?;
        }
    }
}

fn is_age(cell: &str) -> bool {
    cell.len() > 1
        && cell.ends_with(['s', 'm', 'h', 'd'])
        && cell[..cell.len() - 1].bytes().all(|b| b.is_ascii_digit())
}

fn text(args: &GetArgs, rows: &[Row], head: bool) -> Result<String, CliError> {
    let value = || -> Value {
        match (&args.name, rows) {
            (Some(_), [row]) => row.value.clone(),
            _ => json!({"items": rows.iter().map(|row| &row.value).collect::<Vec<_>>()}),
        }
    };
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("can't print: {error}"));
    match args.output {
        GetOutput::Table if rows.is_empty() => Ok(format!("no {}s\n", args.kind.noun())),
        GetOutput::Table => Ok(table(args.kind, rows, false, head)),
        GetOutput::Wide => Ok(table(args.kind, rows, true, head)),
        GetOutput::Json => {
            let mut text = serde_json::to_string_pretty(&value()).map_err(|e| failed(&e))?;
            text.push('\n');
            Ok(text)
        }
        GetOutput::Yaml => serde_saphyr::to_string(&value()).map_err(|e| failed(&e)),
    }
}

//! Rows of `get`: which columns a kind has, and what is in them.

use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::Value;

use super::args::Kind;
use super::error::printable;
use crate::api::status::Status;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::observed::Health;

/// One object: as people see it, and as machines do.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `project/name`, unique within a kind.
    pub key: String,
    /// Its name, as `get KIND NAME` takes it.
    pub name: String,
    /// Cells, as many as the kind has columns; the last ones are for `wide`.
    pub cells: Vec<String>,
    /// Everything.
    pub value: Value,
}

/// Column heads of a kind, and how many of them are shown without `wide`.
pub const fn columns(kind: Kind) -> (&'static [&'static str], usize) {
    match kind {
        Kind::Stacks => {
            (&["NAME", "STATUS", "READY", "SYNCED", "GENERATION", "MESSAGE", "PROJECT", "HASH"], 6)
        }
        Kind::Services => (
            &[
                "NAME",
                "STATUS",
                "HEALTH",
                "SYNCED",
                "RESTARTS",
                "AGE",
                "CONTAINER",
                "IMAGE",
                "PROJECT",
                "MESSAGE",
            ],
            6,
        ),
        Kind::Networks => (
            &["NAME", "SYNCED", "MEMBERS", "DRIVER", "KEY", "EXTERNAL", "ID", "PROJECT", "MESSAGE"],
            4,
        ),
        Kind::Volumes => {
            (&["NAME", "EXISTS", "DRIVER", "KEY", "EXTERNAL", "PROJECT", "MESSAGE"], 3)
        }
        Kind::Incidents => (
            &[
                "ID", "SERVICE", "STATE", "ATTEMPTS", "AGE", "SCENARIO", "PROJECT", "ROOT",
                "CAUSE", "TOLD", "END",
            ],
            6,
        ),
        Kind::Leases => {
            (&["PROJECT", "EPOCH", "OURS", "HOST", "USER", "PID", "AGE", "VERSION", "CONTROL"], 7)
        }
    }
}

/// Ages are of the moment in which they are shown: a daemon publishes only what changed.
pub fn now() -> Timestamp {
    SystemClock::new().now().wall
}

/// The objects of a kind; only those of `project` and `name` when given.
pub fn rows(
    kind: Kind,
    status: &Status,
    project: Option<&str>,
    name: Option<&str>,
    now: Timestamp,
) -> Vec<Row> {
    let mut rows: Vec<(String, Row)> = Vec::new();
    match kind {
        Kind::Stacks => rows.extend(status.stacks.iter().map(|s| {
            let ready = format!("{}/{}", s.ready, s.desired);
            let cells = vec![
                s.name.clone(),
                s.status.clone(),
                ready,
                yes(s.synced),
                s.generation.to_string(),
                // The whole of it is in `describe`.
                s.message.lines().next().unwrap_or_default().to_owned(),
                s.project.clone(),
                short(&s.hash),
            ];
            row(&s.project, s.name.clone(), cells, s)
        })),
        Kind::Services => rows.extend(status.services.iter().map(|s| {
            let cells = vec![
                format!("{}/{}", s.service, s.slot),
                s.status.to_string(),
                health(s.health).into(),
                yes(s.synced),
                s.restarts.to_string(),
                s.started_at.map_or_else(|| "-".into(), |at| age(at, now)),
                s.container_name.clone(),
                s.image.clone(),
                s.project.clone(),
                s.message.clone(),
            ];
            row(&s.project, s.service.clone(), cells, s)
        })),
        Kind::Networks => rows.extend(status.networks.iter().map(|n| {
            let cells = vec![
                n.name.clone(),
                yes(n.synced),
                n.members.to_string(),
                n.driver.clone(),
                n.key.clone(),
                yes(n.external),
                short(&n.id),
                n.project.clone(),
                n.message.clone(),
            ];
            row(&n.project, n.name.clone(), cells, n)
        })),
        Kind::Volumes => rows.extend(status.volumes.iter().map(|v| {
            let cells = vec![
                v.name.clone(),
                yes(v.exists),
                v.driver.clone(),
                v.key.clone(),
                yes(v.external),
                v.project.clone(),
                v.message.clone(),
            ];
            row(&v.project, v.name.clone(), cells, v)
        })),
        Kind::Incidents => rows.extend(status.incidents.iter().map(|i| {
            let cells = vec![
                i.id.clone(),
                format!("{}/{}", i.service, i.slot),
                i.state.clone(),
                format!("{} of {}", i.spent, i.budget),
                age(i.opened_at, now),
                i.scenario.clone(),
                i.project.clone(),
                i.root.clone(),
                i.cause.clone(),
                yes(i.escalated_at.is_some()),
                i.end.clone(),
            ];
            row(&i.project, i.id.clone(), cells, i)
        })),
        Kind::Leases => rows.extend(status.leases.iter().map(|l| {
            let cells = vec![
                l.project.clone(),
                l.epoch.to_string(),
                yes(l.ours),
                l.host.clone(),
                l.user.clone(),
                l.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                l.since.map_or_else(|| "-".into(), |at| age(at, now)),
                l.version.clone(),
                l.control.clone(),
            ];
            row(&l.project, l.project.clone(), cells, l)
        })),
    }
    rows.retain(|(of, row)| {
        let matches =
            |wanted: &str| row.name == wanted || row.cells.first().is_some_and(|c| c == wanted);
        project.is_none_or(|p| p == of) && name.is_none_or(matches)
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(project: &str, name: String, cells: Vec<String>, value: &impl Serialize) -> (String, Row) {
    let key = format!("{project}/{}", cells.first().map_or("", String::as_str));
    let value = serde_json::to_value(value).unwrap_or_default();
    (project.to_owned(), Row { key, name, cells, value })
}

/// A table with aligned columns and no lines, as `kubectl get` prints it.
pub fn table(kind: Kind, rows: &[Row], wide: bool, head: bool) -> String {
    let (heads, narrow) = columns(kind);
    let shown = if wide { heads.len() } else { narrow };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if head {
        table.set_header(heads.iter().take(shown).copied());
    }
    for row in rows {
        table.add_row(row.cells.iter().take(shown).map(|cell| match cell.as_str() {
            "" => "-".to_owned(),
            text => printable(text).replace('\n', " "),
        }));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::None => "-",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// `5s`, `12m`, `3h`, `9d`.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ServiceStatusView;

    const NOW: Timestamp = Timestamp(61_000);

    fn status() -> Status {
        let service = |project: &str, name: &str| ServiceStatusView {
            project: project.into(),
            service: name.into(),
            slot: 1,
            image: "i\x1b[2J".into(),
            started_at: Some(Timestamp(1_000)),
            ..ServiceStatusView::default()
        };
        Status {
            services: vec![service("p", "db"), service("q", "db"), service("q", "web")],
            ..Status::default()
        }
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_kind_has_columns() {
        for row in rows(Kind::Services, &status(), None, None, NOW) {
            assert_eq!(row.cells.len(), columns(Kind::Services).0.len());
        }
    }

    #[test]
    fn rows_are_picked_by_project_and_by_name_with_or_without_slot() {
        let keys = |project, name| -> Vec<String> {
            rows(Kind::Services, &status(), project, name, NOW).into_iter().map(|r| r.key).collect()
        };
        assert_eq!(keys(None, Some("db")), ["p/db/1", "q/db/1"]);
        assert_eq!(keys(Some("q"), Some("db/1")), ["q/db/1"]);
        assert!(keys(Some("p"), Some("web")).is_empty());
    }

    #[test]
    fn a_table_is_plain_and_harmless() {
        let all = rows(Kind::Services, &status(), Some("p"), None, NOW);
        let text = table(Kind::Services, &all, true, true);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], columns(Kind::Services).0);
        assert_eq!(
            lines[1],
            ["db/1", "unknown", "-", "no", "0", "60s", "-", "i\\u{1b}[2J", "p", "-"]
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn ages_have_one_unit() {
        let of = |s: i64| age(Timestamp(0), Timestamp(s * 1000));
        assert_eq!([of(119), of(121), of(7200), of(172_800)], ["119s", "2m", "2h", "2d"]);
    }
}

//! Text that stands where an attribute wants a number or a boolean becomes one, as after
//! interpolation everything is text.

use std::rc::Rc;

use super::diagnostic::Sources;
use super::node::{Node, Value};
use super::number::narrow;

#[derive(Clone, Copy)]
enum Cast {
    Int,
    Float,
    Float32,
    Bool,
}

fn wanted(path: &[Rc<str>]) -> Option<Cast> {
    // Cheap first: all such attributes are below a service or a top-level resource.
    if !(3..=6).contains(&path.len()) {
        return None;
    }
    let mut keys = [""; 6];
    for (key, part) in keys.iter_mut().zip(path) {
        *key = part;
    }
    let cast = match &keys[..path.len()] {
        [
            "services",
            _,
            "cpu_count" | "cpu_period" | "cpu_quota" | "cpu_rt_period" | "cpu_rt_runtime"
            | "cpu_shares" | "oom_score_adj" | "pids_limit" | "scale",
        ]
        | ["services", _, "deploy", "replicas"]
        | ["services", _, "deploy", "update_config" | "rollback_config", "parallelism"]
        | ["services", _, "deploy", "restart_policy", "max_attempts"]
        | ["services", _, "deploy", "placement", "max_replicas_per_node"]
        | ["services", _, "healthcheck", "retries"]
        | ["services", _, "ports", "[]", "target"]
        | ["services", _, "ulimits", _]
        | ["services", _, "ulimits", _, "hard" | "soft"] => Cast::Int,
        ["services", _, "cpu_percent"]
        | ["services", _, "deploy", "update_config" | "rollback_config", "max_failure_ratio"] => {
            Cast::Float
        }
        ["services", _, "cpus"] => Cast::Float32,
        [
            "services",
            _,
            "init" | "oom_kill_disable" | "privileged" | "read_only" | "stdin_open" | "tty",
        ]
        | ["services", _, "depends_on", _, "required" | "restart"]
        | ["services", _, "healthcheck", "disable"]
        | ["services", _, "volumes", "[]", "read_only"]
        | ["services", _, "volumes", "[]", "volume", "nocopy"]
        | ["networks", _, "external" | "internal" | "attachable" | "enable_ipv4" | "enable_ipv6"]
        | ["volumes" | "secrets" | "configs", _, "external"] => Cast::Bool,
        _ => return None,
    };
    Some(cast)
}

/// Casts a text node whose path wants another type.
pub(super) fn apply(node: &mut Node, path: &[Rc<str>], sources: &mut Sources) {
    let (Some(cast), Value::Text(text)) = (wanted(path), &node.value) else { return };
    let (value, wanted) = match cast {
        Cast::Int => (text.parse().ok().map(Value::Int), "an integer"),
        Cast::Float => (text.parse().ok().map(Value::Float), "a number"),
        Cast::Float32 => (text.parse().ok().map(|f| Value::Float(narrow(f))), "a number"),
        Cast::Bool => (boolean(text).map(Value::Bool), "a boolean"),
    };
    match value {
        Some(value) => node.value = value,
        None => {
            // The text may come from a variable, so it isn't shown.
            let message = format!("`{}` must be {wanted}", path.join("."));
            sources.report(node.place, message);
        }
    }
}

/// The words that YAML 1.1 took for booleans.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

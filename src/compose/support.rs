//! What loads and prints but homeostat can't act on yet: refused rather than ignored.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::diagnostic::Sources;
use super::node::Node;

/// Attributes of a service that nothing behind the loader handles.
const UNSUPPORTED: [&str; 6] =
    ["pre_start", "provider", "models", "use_api_socket", "credential_spec", "volume_driver"];

/// Reports every attribute that isn't supported end to end.
pub(super) fn check(services: &BTreeMap<Rc<str>, &Node>, sources: &mut Sources) {
    for (name, service) in services {
        for attribute in UNSUPPORTED {
            if let Some(node) = service.get(attribute) {
                let message = format!("`{attribute}` of service `{name}` is not supported yet");
                sources.report(node.key, message);
            }
        }
        for mount in service.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            if matches!(mount.get_str("type"), Some("cluster" | "npipe")) {
                let message =
                    format!("this type of mount of service `{name}` is not supported yet");
                sources.report(mount.place, message);
            }
        }
    }
}

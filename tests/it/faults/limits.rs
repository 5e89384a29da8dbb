//! Row 21: a container that the engine can't end.

use std::time::Duration;

use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::scene::up_with;
use crate::support::{Setup, docker};

fn compose(colour: &str) -> String {
    format!(
        r#"
x-s: &s {{image: "homeostat-test/stand-ins:1", command: ["sleep"], environment: {{COLOUR: {colour}}}, stop_grace_period: 0s}}
services:
  stuck: {{<<: *s}}
  other: {{<<: *s}}
"#
    )
}

#[test]
fn row_21_a_container_that_cannot_be_stopped_holds_up_nobody_else() {
    let proxy = EngineProxy::before_engine().expect("a proxy");
    let setup = Setup { compose: compose("red"), host: proxy.host(), ..Setup::default() };
    let mut stack = up_with("r21", setup);
    let stuck = stack.inspect("stuck", "{{.Id}}");
    let stop = Rule::new(Action::Hang).on("POST /containers/{id}/stop").containing(&stuck);
    proxy.inject(stop);
    stack.edit(&compose("green"));
    // The other one is through long before the deadline of the stop that hangs.
    stack.until(Duration::from_secs(12), "the other one is replaced", |view| {
        let new = |c: &homeostat::observed::Container| {
            c.name.ends_with("-other-1") && c.is_live() && !c.name.contains('_')
        };
        let old = view.observed.containers.values().filter(|c| new(c)).count() == 1;
        old && view.report.slots.iter().any(|(slot, report)| {
            slot.service == "other" && report.status == homeostat::plan::SlotStatus::Ready
        }) && view.busy == 1
    });
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &stuck]), "true");
    // After its deadline it is said, and tried again later.
    stack.until(Duration::from_secs(25), "the deadline is said", |view| {
        view.report.slots.iter().any(|(slot, report)| {
            // The replacement that was begun counts too.
            slot.service == "stuck"
                && report.message.starts_with("backoff(2 attempts, the last one failed: Timeout")
        })
    });
    proxy.heal();
    stack.settle(Duration::from_secs(25));
    assert_eq!(stack.ids().len(), 2, "something was left over");
    assert!(stack.inspect("stuck", "{{.Config.Env}}").contains("COLOUR=green"));
    assert!(stack.inspect("other", "{{.Config.Env}}").contains("COLOUR=green"));
}

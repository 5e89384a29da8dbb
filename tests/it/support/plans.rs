//! Which plans the loop carried out, as people read them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use homeostat::engine::ContainerId;
use homeostat::execute::{Recorder, StepResult};
use homeostat::plan::{Plan, Step};
use homeostat::sensitive::Sensitive;
use serde_json::{Map, Value};

/// What containers were made of, by ID.
type Bodies = BTreeMap<ContainerId, Sensitive<Map<String, Value>>>;

/// Keeps the text of every plan of which a step began, and what updates must know.
#[derive(Default)]
pub struct Plans(Mutex<Vec<(usize, String)>>, Mutex<Bodies>);

impl Plans {
    /// The plans since the last call, in the order in which they began.
    pub fn take(&self) -> Vec<String> {
        let mut plans = self.0.lock().expect("no holder panics");
        std::mem::take(&mut *plans).into_iter().map(|(_, text)| text).collect()
    }
}

impl Recorder for Plans {
    fn begin<'a>(&'a self, plan: &'a Plan, _: &'a Step) -> BoxFuture<'a, Option<i64>> {
        // A later plan may lie where an earlier one lay, but never while that one still runs.
        let key = (std::ptr::from_ref(plan).addr(), plan.to_string());
        let mut plans = self.0.lock().expect("no holder panics");
        if !plans.contains(&key) {
            plans.push(key);
        }
        async { None }.boxed()
    }

    fn keep_body<'a>(
        &'a self,
        id: &'a ContainerId,
        body: Sensitive<Map<String, Value>>,
    ) -> BoxFuture<'a, bool> {
        self.1.lock().expect("no holder panics").insert(id.clone(), body);
        async { true }.boxed()
    }

    fn kept_body<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Option<Sensitive<Map<String, Value>>>> {
        let body = self.1.lock().expect("no holder panics").get(id).cloned();
        async { body }.boxed()
    }

    fn release_body(&self, id: &ContainerId) {
        self.1.lock().expect("no holder panics").remove(id);
    }

    fn end<'a>(&'a self, _: Option<i64>, _: &'a Step, _: &'a StepResult) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }
}

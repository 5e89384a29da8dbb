//! Which plans the loop carried out, as people read them.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use homeostat::execute::{Recorder, StepResult};
use homeostat::plan::{Plan, Step};

/// Keeps the text of every plan of which a step began.
#[derive(Default)]
pub struct Plans(Mutex<Vec<(usize, String)>>);

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

    fn end<'a>(&'a self, _: Option<i64>, _: &'a Step, _: &'a StepResult) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }
}

//! What a test of one fault does with a stack: bring it up, break it, see how it was mended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Setup, Stack, docker, docker_try};

/// Longest time that anything may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(25);
/// Nothing may happen for so long after a mend.
const QUIET: Duration = Duration::from_millis(700);

/// A stack of one Compose file, up and idle.
pub fn up(name: &str, compose: &str) -> Stack {
    up_with(name, Setup { compose: compose.to_owned(), ..Setup::default() })
}

/// The same, with more to say.
pub fn up_with(name: &str, setup: Setup) -> Stack {
    let mut stack = Stack::start(name, setup);
    stack.settle(SOON);
    stack.history();
    stack.plans.take();
    stack
}

/// A container that belongs to nobody's project; removed at the end of the test.
pub struct Stranger(pub String);

impl Stranger {
    /// `docker run -d --name NAME ARGS…`.
    pub fn run(name: String, args: &[&str]) -> Self {
        let mut all = vec!["run", "-d", "--name", &name];
        all.extend(args);
        docker(&all);
        Self(name)
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}", &self.0]) == "true"
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = docker_try(&["rm", "-f", "-v", &self.0]);
    }
}

impl Stack {
    /// Lets somebody do something while the loop looks away, and shows it all of that at once.
    pub fn while_away<T>(&mut self, act: impl FnOnce(&Self) -> T) -> T {
        self.while_idle(|stack| {
            let result = act(stack);
            // The events of what was done come before the snapshot that the loop will plan on.
            std::thread::sleep(Duration::from_millis(150));
            stack.refresh();
            result
        })
    }

    /// The same, but the loop knows only what events tell it.
    pub fn while_idle<T>(&mut self, act: impl FnOnce(&Self) -> T) -> T {
        let goal = self.goal.send_replace(None);
        let result = act(self);
        self.goal.send_replace(goal);
        result
    }

    /// Reads everything anew.
    pub fn refresh(&self) {
        let observer = self.observer.clone();
        let runtime = self.runtime.as_ref().expect("until dropped");
        let everything = homeostat::controller::snapshot::Dirty::everything();
        runtime.block_on(observer.refresh(everything));
    }

    /// Waits until these steps have been done, whatever else is still to be done.
    pub fn did(&mut self, expected: &[&str]) {
        let steps = self.at_least(expected.len());
        assert_eq!(steps, expected, "plans:\n{}", self.plans.take().join("\n"));
    }

    /// Waits until this step has failed, and with it all that the same plan had built on it.
    pub fn fails(&mut self, step: &str) {
        let steps = self.at_least(2);
        assert_eq!(steps[0], format!("{step}: failed"));
        let skipped = |s: &String| s.ends_with(": skipped");
        assert!(steps[1..].iter().all(skipped), "{steps:#?}");
    }

    /// Waits until exactly these steps have been done, in this order, and sees that nothing else
    /// follows. In a step the project is `P`, and a container's or network's short ID is `ID`.
    pub fn mended(&mut self, expected: &[&str]) {
        let steps = self.steps(expected.len());
        assert_eq!(steps, expected, "plans:\n{}", self.plans.take().join("\n"));
    }

    /// The same, in any order that has the first of each pair before its second.
    pub fn mended_in_any_order(&mut self, expected: &[&str], pairs: &[(&str, &str)]) {
        let steps = self.steps(expected.len());
        let sorted = |steps: &[String]| {
            let mut steps = steps.to_vec();
            steps.sort();
            steps
        };
        let wanted: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(sorted(&steps), sorted(&wanted), "plans:\n{}", self.plans.take().join("\n"));
        let at = |step: &str| steps.iter().position(|s| s == step).expect("a step of the list");
        for (first, second) in pairs {
            assert!(at(first) < at(second), "{second} came before {first}: {steps:#?}");
        }
    }

    /// The steps of a mend: `count` of them and whatever follows until the stack is idle.
    fn steps(&mut self, count: usize) -> Vec<String> {
        let mut steps = self.at_least(count);
        self.settle(SOON);
        std::thread::sleep(QUIET);
        self.settle(SOON);
        steps.extend(self.normal_history());
        steps
    }

    fn at_least(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + SOON;
        let mut steps = self.normal_history();
        while steps.len() < count {
            let view = self.tap.views.borrow().clone();
            assert!(
                Instant::now() < deadline,
                "only {steps:#?}\nplan:\n{}report:\n{}slots: {:#?}",
                view.plan,
                view.report,
                view.report.slots
            );
            std::thread::sleep(Duration::from_millis(10));
            steps.extend(self.normal_history());
        }
        steps
    }

    /// Nothing is done for a while.
    pub fn stays_idle(&mut self) {
        std::thread::sleep(QUIET);
        assert_eq!(self.normal_history(), [""; 0], "plans:\n{}", self.plans.take().join("\n"));
    }

    /// The steps since the last look, with `P` for the project and `ID` for short IDs; `: done`
    /// is left out.
    pub fn normal_history(&mut self) -> Vec<String> {
        let history = self.history();
        history
            .iter()
            .map(|line| self.normal(line.strip_suffix(": done").unwrap_or(line)))
            .collect()
    }

    /// Plans that were carried out since the last call, in the same terms.
    pub fn normal_plans(&self) -> Vec<String> {
        self.plans.take().iter().map(|plan| self.normal(plan)).collect()
    }

    fn normal(&self, text: &str) -> String {
        let text = text.replace(&self.project, "P");
        let id = |word: &str| {
            word.get(..12).is_some_and(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
                && word.as_bytes().get(12).is_none_or(|b| !b.is_ascii_alphanumeric())
        };
        let words = text.split(' ');
        let words = words.map(|w| if id(w) { format!("ID{}", &w[12..]) } else { w.to_owned() });
        words.collect::<Vec<_>>().join(" ")
    }

    /// `docker inspect -f FORMAT` of every container of the project, by container name without
    /// the project's.
    pub fn facts(&self, format: &str) -> BTreeMap<String, String> {
        let ids = self.ids();
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let format = format!("{{{{.Name}}}} {format}");
        let mut args = vec!["inspect", "-f", &format];
        args.extend(ids.iter().map(String::as_str));
        let prefix = format!("/{}-", self.project);
        docker(&args)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, fact)| {
                let name = name.strip_prefix(&prefix).unwrap_or(name);
                (name.to_owned(), fact.to_owned())
            })
            .collect()
    }

    /// ID and start of every container: equal before and after where nothing was recreated or
    /// restarted.
    pub fn runs(&self) -> BTreeMap<String, String> {
        self.facts("{{.Id}} {{.State.StartedAt}}")
    }

    /// ID of every container.
    pub fn identities(&self) -> BTreeMap<String, String> {
        self.facts("{{.Id}}")
    }

    /// A network's real name.
    pub fn network(&self, key: &str) -> String {
        format!("{}_{key}", self.project)
    }

    /// ID of the network of that key.
    pub fn network_id(&self, key: &str) -> String {
        docker(&["network", "inspect", "-f", "{{.Id}}", &self.network(key)])
    }

    /// `docker exec` of the stand-in in a service's container.
    pub fn stand_in(&self, service: &str, args: &[&str]) {
        let container = self.container(service);
        let mut all = vec!["exec", &container, "/stand-ins"];
        all.extend(args);
        docker(&all);
    }

    /// Ends the process of a service's stand-in from within, as a crash does.
    pub fn crash(&self, service: &str, code: u8) {
        // The connection may end before the answer.
        let body = format!("{{\"code\":{code}}}");
        let args = ["exec", &self.container(service), "/stand-ins", "admin", "exit", &body];
        let _ = docker_try(&args);
    }

    /// Whether `from` reaches the health page of a stand-in by this name.
    pub fn reaches(&self, from: &str, name: &str) -> bool {
        let url = format!("http://{name}:8000/health");
        let args = ["exec", &self.container(from), "/stand-ins", "healthcheck", &url];
        docker_try(&args).is_ok()
    }

    /// What the report says of a resource, in the same terms as steps.
    pub fn standing(&mut self, resource: &str) -> Vec<String> {
        let view = self.tap.views.borrow().clone();
        view.report
            .entries
            .iter()
            .map(|e| (self.normal(&e.resource.to_string()), self.normal(&e.standing.to_string())))
            .filter(|(of, _)| of == resource)
            .map(|(_, standing)| standing)
            .collect()
    }

    /// Waits until the report says this of a resource.
    pub fn says(&mut self, resource: &str, standing: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let said = self.standing(resource);
            if said.iter().any(|s| s == standing) {
                return;
            }
            let report = self.tap.views.borrow().report.to_string();
            assert!(
                Instant::now() < deadline,
                "{resource} isn't {standing}, but {said:?}\n{report}{:#?}",
                self.normal_history()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A /24 that no network of the engine has: `10.S.N` for some S. `n` keeps tests apart.
pub fn free_subnet(n: u8) -> String {
    let ids = docker(&["network", "ls", "-q"]);
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    let mut args = vec!["network", "inspect", "-f", format];
    args.extend(ids.lines());
    let taken = docker_try(&args).unwrap_or_default();
    (210..=250)
        .map(|second| format!("10.{second}.{n}"))
        .find(|prefix| !taken.contains(&format!("{prefix}.")) && !taken.contains("10.0.0.0/8"))
        .expect("a free subnet")
}

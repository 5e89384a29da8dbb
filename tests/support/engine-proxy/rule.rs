//! Which request suffers what.

use std::time::Duration;

/// Where a rule looks in the normalised path.
#[derive(Debug, Clone)]
enum PathMatch {
    Any,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
}

/// Which of its matches a rule acts on.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// The next so many, then never again.
    Next(u32),
    /// All but the next so many.
    After(u32),
}

/// What happens to a matching request, or to a matching line of the event stream.
#[derive(Debug, Clone)]
pub enum Action {
    /// Waits before the request goes to the engine.
    Delay(Duration),
    /// Waits after the engine's answer began, before the client sees it.
    DelayReply(Duration),
    /// Closes the connection; the engine never hears of the request.
    CutBefore,
    /// Closes the connection once the engine has answered: it happened, the client can't know.
    CutAfter,
    /// Passes so many bytes of the answer's body, then closes the connection.
    Truncate(usize),
    /// Sends the request twice, one after the other; the client gets the *second* answer.
    SendTwice,
    /// Answers in the engine's place with `{"message": …}`.
    Answer(u16, String),
    /// Answers bytes that aren't HTTP, in the engine's place.
    Garbage,
    /// Answers 200 with this body as `application/json`, in the engine's place.
    Body(Vec<u8>),
    /// The engine seems to speak this API version: it answers for it in `Api-Version`, and takes
    /// requests of any version.
    Speak(String),
    /// Never answers; the engine never hears of the request.
    Hang,
    /// Lets the engine act and never answers.
    HangAfter,
    /// Event stream: sends the line twice.
    DuplicateLine,
    /// Event stream: sends the line after the one that follows it.
    SwapLine,
    /// Event stream: swallows the line.
    DropLine,
    /// Event stream: sends these bytes and a newline before the line.
    InjectLine(Vec<u8>),
    /// Event stream: sends a line of so many bytes before the line.
    HugeLine(usize),
}

impl Action {
    /// Whether it acts on lines of the event stream rather than on requests.
    pub const fn on_lines(&self) -> bool {
        matches!(
            self,
            Self::DuplicateLine
                | Self::SwapLine
                | Self::DropLine
                | Self::InjectLine(_)
                | Self::HugeLine(_)
        )
    }

    /// Its name without its payload, for the records.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

/// A fault with the requests that it strikes. Without further words: all requests, always.
#[derive(Debug, Clone)]
pub struct Rule {
    method: Option<String>,
    path: PathMatch,
    containing: Option<String>,
    sparing: Option<String>,
    when: When,
    action: Action,
    seen: u32,
}

impl Rule {
    /// Strikes every request (or every event line) until narrowed.
    pub const fn new(action: Action) -> Self {
        Self {
            method: None,
            path: PathMatch::Any,
            containing: None,
            sparing: None,
            when: When::Always,
            action,
            seen: 0,
        }
    }

    /// Only this endpoint, as records name it: `POST /containers/{id}/start`.
    pub fn on(mut self, endpoint: &str) -> Self {
        let (method, path) = endpoint.split_once(' ').unwrap_or(("GET", endpoint));
        self.method = Some(method.to_owned());
        self.path = PathMatch::Exact(path.to_owned());
        self
    }

    /// Only this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that begin so.
    pub fn prefix(mut self, text: &str) -> Self {
        self.path = PathMatch::Prefix(text.to_owned());
        self
    }

    /// Only paths that end so.
    pub fn suffix(mut self, text: &str) -> Self {
        self.path = PathMatch::Suffix(text.to_owned());
        self
    }

    /// Only paths with this in them.
    pub fn contains(mut self, text: &str) -> Self {
        self.path = PathMatch::Contains(text.to_owned());
        self
    }

    /// Only requests with this in their target (IDs and query kept) or body; only event lines
    /// with this in them.
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.to_owned());
        self
    }

    /// No requests with this in their target or body.
    pub fn sparing(mut self, text: &str) -> Self {
        self.sparing = Some(text.to_owned());
        self
    }

    /// Only the next `n` matches.
    pub const fn next(mut self, n: u32) -> Self {
        self.when = When::Next(n);
        self
    }

    /// All matches but the next `n`.
    pub const fn after(mut self, n: u32) -> Self {
        self.when = When::After(n);
        self
    }

    fn due(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        match self.when {
            When::Always => true,
            When::Next(n) => self.seen <= n,
            When::After(n) => self.seen > n,
        }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|m| m == method)
            && match &self.path {
                PathMatch::Any => true,
                PathMatch::Exact(p) => path == p,
                PathMatch::Prefix(p) => path.starts_with(p.as_str()),
                PathMatch::Suffix(p) => path.ends_with(p.as_str()),
                PathMatch::Contains(p) => path.contains(p.as_str()),
            }
    }

    /// The action, when it is due for this request. Counts the match.
    pub(super) fn strike_request(
        &mut self,
        method: &str,
        path: &str,
        target: &str,
        body: &[u8],
    ) -> Option<Action> {
        let has = |text: &str| target.contains(text) || find(body, text.as_bytes());
        let hit = !self.action.on_lines()
            && self.matches(method, path)
            && self.containing.as_deref().is_none_or(has)
            && !self.sparing.as_deref().is_some_and(has);
        (hit && self.due()).then(|| self.action.clone())
    }

    /// The action, when it is due for this line of the event stream. Counts the match.
    pub(super) fn strike_line(&mut self, line: &[u8]) -> Option<Action> {
        let hit = self.action.on_lines()
            && self.containing.as_deref().is_none_or(|t| find(line, t.as_bytes()));
        (hit && self.due()).then(|| self.action.clone())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(rule: &mut Rule, n: usize) -> Vec<bool> {
        (0..n).map(|_| rule.strike_request("GET", "/_ping", "/_ping", b"").is_some()).collect()
    }

    #[test]
    fn a_rule_strikes_as_often_as_it_says() {
        assert_eq!(hits(&mut Rule::new(Action::Hang), 3), [true; 3]);
        assert_eq!(hits(&mut Rule::new(Action::Hang).next(2), 3), [true, true, false]);
        assert_eq!(hits(&mut Rule::new(Action::Hang).after(1), 3), [false, true, true]);
    }

    #[test]
    fn a_rule_strikes_only_where_it_matches() {
        let strike = |rule: Rule| {
            let path = "/containers/{id}/start";
            rule.clone().strike_request("POST", path, "/containers/abc/start", b"{}").is_some()
        };
        assert!(strike(Rule::new(Action::Hang).on("POST /containers/{id}/start")));
        assert!(!strike(Rule::new(Action::Hang).on("POST /containers/{id}/stop")));
        assert!(strike(Rule::new(Action::Hang).suffix("/start").containing("abc")));
        assert!(!strike(Rule::new(Action::Hang).suffix("/start").containing("xyz")));
        assert!(!strike(Rule::new(Action::Hang).sparing("abc")));
        assert!(strike(Rule::new(Action::Hang).sparing("xyz")));
        assert!(!strike(Rule::new(Action::Hang).method("GET").prefix("/containers")));
        assert!(strike(Rule::new(Action::Hang).contains("{id}")));
        assert!(!strike(Rule::new(Action::DropLine)));
    }
}

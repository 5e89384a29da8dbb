//! Faults on the lines of the event stream.

use super::rule::{Action, Rule};

/// Cuts a byte stream into lines and applies line rules to each.
#[derive(Debug, Default)]
pub struct LineFaults {
    partial: Vec<u8>,
    /// A line that waits for its successor.
    held: Option<Vec<u8>>,
}

impl LineFaults {
    /// Takes bytes from the engine; gives what the client gets and the names of the faults.
    pub fn pass(&mut self, bytes: &[u8], rules: &mut [Rule]) -> (Vec<u8>, Vec<String>) {
        let mut out = Vec::new();
        let mut faults = Vec::new();
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.line(line, rules, &mut out, &mut faults);
        }
        (out, faults)
    }

    fn line(
        &mut self,
        line: Vec<u8>,
        rules: &mut [Rule],
        out: &mut Vec<u8>,
        faults: &mut Vec<String>,
    ) {
        let mut copies = 1;
        let mut hold = false;
        for action in rules.iter_mut().filter_map(|r| r.strike_line(&line)) {
            faults.push(action.name());
            match action {
                Action::DuplicateLine => copies += 1,
                Action::DropLine => copies = 0,
                Action::SwapLine => hold = true,
                Action::InjectLine(text) => {
                    out.extend_from_slice(&text);
                    out.push(b'\n');
                }
                Action::HugeLine(len) => {
                    out.resize(out.len() + len, b'x');
                    out.push(b'\n');
                }
                _ => {}
            }
        }
        // A line whose predecessor is held goes first, so a rule that always swaps swaps pairs.
        let first = self.held.take();
        if hold && first.is_none() && copies > 0 {
            self.held = Some(line.repeat(copies));
            return;
        }
        out.extend_from_slice(&line.repeat(copies));
        out.extend_from_slice(&first.unwrap_or_default());
    }

    /// What is left at the stream's end.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut rest = self.held.take().unwrap_or_default();
        rest.append(&mut self.partial);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(action: Action, text: &str) -> String {
        let mut faults = LineFaults::default();
        let mut rules = [Rule::new(action)];
        let (mut out, _) = faults.pass(text.as_bytes(), &mut rules);
        out.extend(faults.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_are_duplicated_swapped_dropped_and_preceded() {
        assert_eq!(pass(Action::DuplicateLine, "a\nb\n"), "a\na\nb\nb\n");
        assert_eq!(pass(Action::SwapLine, "a\nb\nc\nd\n"), "b\na\nd\nc\n");
        assert_eq!(pass(Action::DropLine, "a\nb\n"), "");
        assert_eq!(pass(Action::InjectLine(b"?".to_vec()), "a\n"), "?\na\n");
        assert_eq!(pass(Action::HugeLine(3), "a\n"), "xxx\na\n");
    }

    #[test]
    fn a_line_in_two_pieces_is_one_line() {
        let mut faults = LineFaults::default();
        let mut rules = [Rule::new(Action::DuplicateLine).next(1)];
        assert_eq!(faults.pass(b"ab", &mut rules).0, b"");
        assert_eq!(faults.pass(b"c\nd", &mut rules).0, b"abc\nabc\n");
        assert_eq!(faults.finish(), b"d");
    }
}

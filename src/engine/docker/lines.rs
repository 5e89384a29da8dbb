//! Splits a byte stream into lines of bounded length.

/// Longest line that is kept, in bytes.
pub(super) const LINE_LIMIT: usize = 1024 * 1024;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than the limit, and thrown away.
    TooLong {
        /// Its length without its end.
        bytes: usize,
    },
}

/// Collects pieces into lines. Empty lines are left out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// Bytes of the present line that were thrown away, once it is too long.
    dropped: usize,
}

impl Lines {
    /// Takes a piece and gives the lines that it completes.
    pub fn push(&mut self, mut piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.extend(&piece[..end]);
            lines.extend(self.finish());
            piece = &piece[end + 1..];
        }
        self.extend(piece);
        lines
    }

    /// The line that the stream ended in, when there is one.
    pub fn finish(&mut self) -> Option<Line> {
        let dropped = std::mem::take(&mut self.dropped);
        let mut line = std::mem::take(&mut self.partial);
        if dropped > 0 {
            return Some(Line::TooLong { bytes: dropped });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (!line.is_empty()).then_some(Line::Whole(line))
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.dropped > 0 || self.partial.len() + piece.len() > LINE_LIMIT {
            self.dropped += self.partial.len() + piece.len();
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\r\n\ntwo\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut got: Vec<Line> = text.chunks(size).flat_map(|c| lines.push(c)).collect();
            got.extend(lines.finish());
            let wanted = ["one", "two", "three"].map(|l| Line::Whole(l.into()));
            assert_eq!(got, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn a_long_line_is_dropped_and_the_next_is_kept() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for _ in 0..3 {
            got.extend(lines.push(&vec![b'x'; LINE_LIMIT / 2]));
            assert!(lines.partial.capacity() <= 2 * LINE_LIMIT);
        }
        got.extend(lines.push(b"\nnext\n"));
        let bytes = LINE_LIMIT / 2 * 3;
        assert_eq!(got, [Line::TooLong { bytes }, Line::Whole(b"next".to_vec())]);
    }
}

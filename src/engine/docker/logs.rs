//! A container's log: frames of two streams, or raw bytes when it has a terminal.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream::BoxStream;

use super::encode::{encode, query};
use super::transport::{Call, SharedTransport};
use crate::engine::{ContainerId, Fault, LogChunk, LogOptions};

const NAME: &str = "GET /containers/{id}/logs";

/// Takes frames apart: a header of the stream's number, three zeros and the length as a 32-bit
/// big-endian number, then the bytes. A frame is handed over as it comes, so that its length
/// never becomes memory.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    stderr: bool,
    /// Nothing of the present frame was handed over yet.
    begins: bool,
    left: usize,
}

impl Frames {
    pub(super) fn push(&mut self, mut piece: Bytes, out: &mut Vec<LogChunk>) -> Result<(), String> {
        while piece.has_remaining() {
            if self.left == 0 {
                let take = (8 - self.header.len()).min(piece.len());
                self.header.extend_from_slice(&piece.split_to(take));
                let [stream, 0, 0, 0, a, b, c, d] = self.header[..] else {
                    if self.header.len() < 8 {
                        return Ok(());
                    }
                    return Err("a log frame starts with an unknown header".into());
                };
                if stream > 2 {
                    return Err(format!("a log frame names stream {stream}"));
                }
                self.stderr = stream == 2;
                self.begins = true;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.header.clear();
            } else {
                let bytes = piece.split_to(self.left.min(piece.len()));
                self.left -= bytes.len();
                let begins = std::mem::take(&mut self.begins);
                out.push(LogChunk { stderr: self.stderr, begins, bytes: bytes.into() });
            }
        }
        Ok(())
    }

    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.header.is_empty()
    }
}

/// The bytes of a terminal, a chunk a line: nothing else tells where a message begins.
fn lines(piece: &[u8], at_start: &mut bool) -> Vec<LogChunk> {
    let pieces = piece.split_inclusive(|byte| *byte == b'\n');
    let chunk = |line: &[u8]| {
        let begins = std::mem::replace(at_start, line.ends_with(b"\n"));
        LogChunk { stderr: false, begins, bytes: line.to_vec() }
    };
    pieces.map(chunk).collect()
}

/// `since` as the engine takes it: Unix seconds with an optional fraction.
fn since(text: &str) -> Result<String, Fault> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unix = match text.split_once('.') {
        Some((seconds, fraction)) => digits(seconds) && digits(fraction),
        None => digits(text),
    };
    if unix {
        return Ok(text.to_owned());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| Fault::Rejected {
        call: NAME.into(),
        status: 400,
        message: format!("`{text}` is neither Unix seconds nor a time as RFC 3339 writes it"),
    })?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond().max(0)))
}

fn path(version: &str, id: &ContainerId, options: &LogOptions) -> Result<String, Fault> {
    let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let flag = |on: bool| if on { "1" } else { "0" };
    let since = options.since.as_deref().map(since).transpose()?;
    let mut pairs = vec![
        ("stdout", "1"),
        ("stderr", "1"),
        ("follow", flag(options.follow)),
        ("timestamps", flag(options.timestamps)),
        ("tail", &tail),
    ];
    if let Some(since) = &since {
        pairs.push(("since", since));
    }
    Ok(format!("{version}/containers/{}/logs?{}", encode(&id.0), query(&pairs)))
}

/// Opens a log. `tty` is the container's `Config.Tty`: engines before API 1.42 don't say in the
/// answer which of the two forms it has.
pub(super) async fn open(
    transport: &SharedTransport,
    version: &str,
    id: &ContainerId,
    options: &LogOptions,
    tty: bool,
) -> Result<BoxStream<'static, Result<LogChunk, Fault>>, Fault> {
    let call = Call::get(NAME, path(version, id, options)?, Duration::from_secs(30), 0);
    let (mut frames, mut at_start) = ((!tty).then(Frames::default), true);
    let chunks = transport.stream(&call).await?.items(move |piece| match (&mut frames, piece) {
        (None, Some(piece)) => Ok(lines(&piece, &mut at_start)),
        (Some(frames), Some(piece)) => {
            let mut chunks = Vec::new();
            let taken = frames.push(piece, &mut chunks);
            taken.map(|()| chunks).map_err(|reason| Fault::Garbage { call: NAME.into(), reason })
        }
        (Some(frames), None) if !frames.is_between_frames() => {
            let reason = "the log ends inside a frame".into();
            Err(Fault::Interrupted { call: NAME.into(), reason })
        }
        (_, None) => Ok(vec![]),
    });
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn frames_come_apart_however_they_are_cut() {
        let wire = [frame(1, "out\n"), frame(2, ""), frame(2, "err\n")].concat();
        for size in 1..=wire.len() {
            let mut frames = Frames::default();
            let mut chunks = Vec::new();
            for piece in wire.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece), &mut chunks).expect("frames");
            }
            let of = |stderr: bool| -> Vec<u8> {
                chunks.iter().filter(|c| c.stderr == stderr).flat_map(|c| c.bytes.clone()).collect()
            };
            assert_eq!((of(false), of(true)), (b"out\n".to_vec(), b"err\n".to_vec()));
            assert!(frames.is_between_frames());
        }
    }

    #[test]
    fn raw_bytes_are_not_taken_for_frames() {
        let mut frames = Frames::default();
        let raw = Bytes::from_static(b"hello from a terminal");
        assert!(frames.push(raw, &mut Vec::new()).is_err());
    }

    #[test]
    fn since_takes_seconds_and_times() {
        assert_eq!(since("1700000000.5").as_deref(), Ok("1700000000.5"));
        assert_eq!(since("2023-11-14T22:13:20.25Z").as_deref(), Ok("1700000000.250000000"));
        assert_eq!(since("5m").expect_err("relative").reason(), "Rejected");
    }
}

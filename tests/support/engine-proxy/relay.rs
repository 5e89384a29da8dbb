//! One client connection: request after request, each over a new connection to the engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::http::{self, Body, Framing, Head};
use super::lines::LineFaults;
use super::record::Record;
use super::rule::Action;
use super::{Shared, lock};

/// Longest request body that is held and recorded; longer ones pass unseen.
const BODY_LIMIT: u64 = 4 * 1024 * 1024;

struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// What becomes of the client's connection.
enum Next {
    KeepOpen,
    Close,
}

/// Serves a client until it leaves, a fault cuts it, or all are cut.
pub(super) async fn connection(client: UnixStream, shared: Arc<Shared>) {
    let (reader, writer) = client.into_split();
    let mut client = Client { reader: BufReader::new(reader), writer };
    let mut cut = shared.cut_all.subscribe();
    tokio::select! {
        _ = cut.changed() => {}
        _ = async { while let Ok(Next::KeepOpen) = exchange(&mut client, &shared).await {} } => {}
    }
}

/// A record that is completed when the exchange ends, however it ends.
struct Entry<'a> {
    shared: &'a Shared,
    number: usize,
}

impl<'a> Entry<'a> {
    fn new(shared: &'a Shared, mut record: Record) -> Self {
        use homeostat::clock::Clock;
        record.at = shared.clock.now().mono.0;
        let mut records = lock(&shared.records);
        record.number = records.len();
        let number = record.number;
        records.push(record);
        Self { shared, number }
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = lock(&self.shared.records).get_mut(self.number) {
            change(record);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        use homeostat::clock::Clock;
        let now = self.shared.clock.now().mono.0;
        self.update(|r| r.took = Some(now.saturating_sub(r.at)));
    }
}

/// Counts an open event stream.
struct OpenStream<'a>(&'a watch::Sender<usize>);

impl<'a> OpenStream<'a> {
    fn new(counter: &'a watch::Sender<usize>) -> Self {
        counter.send_modify(|n| *n += 1);
        Self(counter)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

/// What the rules make of one request.
#[derive(Default)]
struct Faults {
    before: Duration,
    reply: Duration,
    twice: bool,
    truncate: Option<usize>,
    speak: Option<String>,
    /// The first that answers or cuts.
    decisive: Option<Action>,
}

impl Faults {
    fn find(shared: &Shared, record: &Record, body: &[u8]) -> (Self, Vec<String>) {
        let (mut faults, mut names) = (Self::default(), Vec::new());
        for rule in lock(&shared.rules).iter_mut() {
            let struck = rule.strike_request(&record.method, &record.path, &record.target, body);
            let Some(action) = struck else { continue };
            names.push(action.name());
            match action {
                Action::Delay(d) => faults.before += d,
                Action::DelayReply(d) => faults.reply += d,
                Action::SendTwice => faults.twice = true,
                Action::Truncate(n) => faults.truncate = Some(n),
                Action::Speak(version) => faults.speak = Some(version),
                other => faults.decisive = faults.decisive.or(Some(other)),
            }
        }
        (faults, names)
    }
}

async fn exchange(client: &mut Client, shared: &Shared) -> io::Result<Next> {
    let Some(mut head) = Head::read(&mut client.reader).await? else { return Ok(Next::Close) };
    if head.header("expect").is_some() {
        head.remove("expect");
        client.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let framing = head.request_framing()?;
    let mut body = Body::new(framing);
    let short = matches!(framing, Framing::Length(n) if n <= BODY_LIMIT);
    let held = if short {
        body.read_all(&mut client.reader, BODY_LIMIT as usize).await?
    } else {
        Vec::new()
    };
    let (method, target) = head.request()?;
    let mut record = Record::new(method, target);
    record.request = serde_json::from_slice(&held).ok();
    let (faults, names) = Faults::find(shared, &record, &held);
    record.faults = names;
    let entry = Entry::new(shared, record.clone());

    unless_gone(client, tokio::time::sleep(faults.before)).await?;
    match &faults.decisive {
        Some(Action::CutBefore) => return Ok(Next::Close),
        Some(Action::Hang) => unless_gone(client, std::future::pending()).await?,
        Some(Action::Answer(status, message)) => {
            let body = serde_json::json!({ "message": message }).to_string();
            return answer(client, &entry, *status, body.as_bytes(), &faults, framing, short).await;
        }
        Some(Action::Body(bytes)) => {
            return answer(client, &entry, 200, bytes, &faults, framing, short).await;
        }
        Some(Action::Garbage) => {
            client.writer.write_all(b"\x00\xff\x13garbage\r\n\r\n{]").await?;
            return Ok(Next::Close);
        }
        _ => {}
    }

    if let (Some(_), Some(version)) = (&faults.speak, &record.version) {
        head.first = head.first.replacen(&format!("/v{version}/"), "/", 1);
    }
    let small = short || framing == Framing::Empty;
    if faults.twice && small {
        let (mut reader, mut writer) = open(shared).await?;
        writer.write_all(&head.encode()).await?;
        writer.write_all(&held).await?;
        let first = response_head(&mut reader).await?;
        let framing = first.response_framing(&record.method)?;
        Body::new(framing).read_all(&mut reader, BODY_LIMIT as usize).await?;
    }
    let (mut reader, mut writer) = open(shared).await?;
    writer.write_all(&head.encode()).await?;
    writer.write_all(&held).await?;
    if !short {
        while let Some(piece) = body.next(&mut client.reader).await? {
            writer.write_all(&http::encode(framing, &piece)).await?;
        }
        writer.write_all(http::end(framing)).await?;
    }
    let mut response = unless_gone(client, response_head(&mut reader)).await??;
    if let Some(version) = faults.speak {
        response.remove("api-version");
        response.headers.push(("Api-Version".into(), version));
    }
    entry.update(|r| r.engine_status = Some(response.status()));
    match &faults.decisive {
        Some(Action::CutAfter) => return Ok(Next::Close),
        Some(Action::HangAfter) => unless_gone(client, std::future::pending()).await?,
        _ => {}
    }
    unless_gone(client, tokio::time::sleep(faults.reply)).await?;

    let framing = response.response_framing(&record.method)?;
    client.writer.write_all(&response.encode()).await?;
    entry.update(|r| r.status = Some(response.status()));
    let hijacked = response.status() == 101
        || (framing == Framing::UntilClose
            && record.method == "POST"
            && (record.path.ends_with("/attach") || record.path.starts_with("/exec/")));
    if hijacked {
        return hijack(client, reader, writer).await;
    }
    let line_faults = (record.path == "/events").then(LineFaults::default);
    relay_body(client, shared, &entry, reader, framing, line_faults, faults.truncate).await
}

async fn open(shared: &Shared) -> io::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
    let (reader, writer) = UnixStream::connect(&shared.engine).await?.into_split();
    Ok((BufReader::new(reader), writer))
}

async fn response_head(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Head> {
    loop {
        let head = Head::read(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.status() != 100 {
            return Ok(head);
        }
    }
}

/// Waits for `what`, or fails when the client leaves: the engine then sees it leave too.
async fn unless_gone<T>(client: &mut Client, what: impl Future<Output = T>) -> io::Result<T> {
    let gone = async {
        match client.reader.fill_buf().await {
            Ok([]) | Err(_) => {}
            // The next request is here already: it waits, and the client is there.
            Ok(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        out = what => Ok(out),
        () = gone => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Answers in the engine's place.
async fn answer(
    client: &mut Client,
    entry: &Entry<'_>,
    status: u16,
    body: &[u8],
    faults: &Faults,
    framing: Framing,
    read: bool,
) -> io::Result<Next> {
    tokio::time::sleep(faults.reply).await;
    let head = format!(
        "HTTP/1.1 {status} Injected\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.writer.write_all(head.as_bytes()).await?;
    entry.update(|r| r.status = Some(status));
    let shown = faults.truncate.unwrap_or(body.len()).min(body.len());
    client.writer.write_all(&body[..shown]).await?;
    // A request body that nobody read would be taken for the next request.
    let keep = shown == body.len() && (read || framing == Framing::Empty);
    Ok(if keep { Next::KeepOpen } else { Next::Close })
}

/// Passes bytes both ways until both sides have ended.
async fn hijack(
    client: &mut Client,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
) -> io::Result<Next> {
    let up = async {
        let copied = tokio::io::copy_buf(&mut client.reader, &mut writer).await;
        writer.shutdown().await.and(copied)
    };
    let down = async {
        let copied = tokio::io::copy_buf(&mut reader, &mut client.writer).await;
        client.writer.shutdown().await.and(copied)
    };
    // The engine's end ends it; the client may close its half (standard input) before.
    tokio::pin!(up, down);
    tokio::select! {
        _ = &mut down => {}
        _ = &mut up => { down.await?; }
    }
    Ok(Next::Close)
}

/// Passes a response's body, with what the rules do to it, until its end or until the client
/// leaves.
async fn relay_body(
    client: &mut Client,
    shared: &Shared,
    entry: &Entry<'_>,
    mut engine: BufReader<OwnedReadHalf>,
    framing: Framing,
    mut lines: Option<LineFaults>,
    truncate: Option<usize>,
) -> io::Result<Next> {
    let _open = lines.is_some().then(|| OpenStream::new(&shared.streams));
    let mut cut = shared.cut_streams.subscribe();
    let age = lines.as_ref().and(*lock(&shared.stream_age));
    let old = async {
        match age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(old);
    let mut body = Body::new(framing);
    let mut left = truncate;
    let mut watching = true;
    loop {
        let piece = {
            let next = body.next(&mut engine);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    piece = &mut next => break piece?,
                    _ = cut.changed(), if lines.is_some() => return Ok(Next::Close),
                    () = &mut old => return Ok(Next::Close),
                    ahead = client.reader.fill_buf(), if watching => match ahead {
                        Ok([]) | Err(_) => return Ok(Next::Close),
                        // The next request is here already; it waits.
                        Ok(_) => watching = false,
                    },
                }
            }
        };
        let ended = piece.is_none();
        let mut out = match (&mut lines, piece) {
            (Some(lines), Some(piece)) => {
                let (out, names) = lines.pass(&piece, &mut lock(&shared.rules));
                entry.update(|r| r.faults.extend(names));
                out
            }
            (Some(lines), None) => lines.finish(),
            (None, piece) => piece.unwrap_or_default(),
        };
        let cut_here = left.is_some_and(|l| out.len() >= l);
        if let Some(left) = &mut left {
            out.truncate(*left);
            *left -= out.len();
        }
        if !out.is_empty() {
            client.writer.write_all(&http::encode(framing, &out)).await?;
        }
        if cut_here {
            return Ok(Next::Close);
        }
        if ended {
            client.writer.write_all(http::end(framing)).await?;
            let keep = framing != Framing::UntilClose;
            return Ok(if keep { Next::KeepOpen } else { Next::Close });
        }
    }
}

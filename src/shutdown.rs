//! Ending on request: the first signal asks, the second one insists.

use std::io;

use futures_util::{Stream, StreamExt, stream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels the returned token at the first SIGTERM or SIGINT; a second one ends the process at
/// once with exit code 128 + signal, as a shell reports it. What was half done is in the journal.
///
/// # Errors
/// The signal handlers can't be installed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn on_signals() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let term = numbered(SignalKind::terminate())?;
    let int = numbered(SignalKind::interrupt())?;
    let watched = token.clone();
    tokio::spawn(async move {
        let number = second_of(stream::select(term, int), &watched).await;
        std::process::exit(128 + number);
    });
    Ok(token)
}

fn numbered(kind: SignalKind) -> io::Result<impl Stream<Item = i32> + Unpin> {
    let next = |mut signal: Signal| async move { signal.recv().await.map(|()| signal) };
    let number = kind.as_raw_value();
    Ok(Box::pin(stream::unfold(signal(kind)?, move |signal| {
        let next = next(signal);
        async move { next.await.map(|signal| (number, signal)) }
    })))
}

/// Cancels `token` at the first signal and returns the second one. When the signals end there is
/// none, and it waits for ever.
async fn second_of(mut signals: impl Stream<Item = i32> + Unpin, token: &CancellationToken) -> i32 {
    if let Some(first) = signals.next().await {
        tracing::info!(signal = first, "stopping; a second signal stops at once");
        token.cancel();
        if let Some(second) = signals.next().await {
            return second;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_insists() {
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        let signals = Box::pin(stream::unfold(receiver, |mut r| async move {
            r.recv().await.map(|number| (number, r))
        }));
        let token = CancellationToken::new();
        let watched = token.clone();
        let task = tokio::spawn(async move { second_of(signals, &watched).await });
        tokio::task::yield_now().await;
        assert!(!token.is_cancelled());
        sender.send(15).await.expect("sends");
        token.cancelled().await;
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        sender.send(2).await.expect("sends");
        assert_eq!(task.await.expect("ends"), 2);
    }

    #[tokio::test]
    async fn a_real_sigterm_cancels_the_token() {
        let token = on_signals().expect("installs");
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("signals");
        tokio::time::timeout(std::time::Duration::from_secs(5), token.cancelled())
            .await
            .expect("cancelled");
    }
}

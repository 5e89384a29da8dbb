//! A service of no particular kind.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::http::{Flavour, Request, Response};
use crate::server::{Answer, Service};

/// Answers `/health`, `/slow?ms=N` and `/endless`; the roles without a port use its admin side only.
pub struct Generic;

impl Service for Generic {
    fn flavour(&self) -> Flavour {
        Flavour::Go
    }

    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move {
            let text = |body: &str| Response::new(200, "text/plain; charset=utf-8", body);
            match request.path.as_str() {
                "/" | "/health" => text("ok\n"),
                "/slow" => {
                    let ms = request.parameter("ms").and_then(|ms| ms.parse().ok());
                    tokio::time::sleep(Duration::from_millis(ms.unwrap_or(5_000))).await;
                    text("ok\n")
                }
                "/endless" => {
                    let (sender, receiver) = mpsc::channel(1);
                    tokio::spawn(async move {
                        while sender.send(vec![b'x'; 16 * 1024]).await.is_ok() {}
                    });
                    Response::stream("text/plain; charset=utf-8", receiver)
                }
                _ => Response::new(404, "text/plain; charset=utf-8", "not found\n"),
            }
        })
    }
}

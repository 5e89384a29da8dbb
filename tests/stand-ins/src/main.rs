//! Stand-ins for Ollama, ComfyUI and the bot, faithful to recorded answers, with injectable faults.
//!
//! The first argument is the role; see the README beside this crate.

#![forbid(unsafe_code)]

mod bot;
mod client;
mod clock;
mod comfyui;
mod environment;
mod faults;
mod generic;
mod http;
mod ollama;
#[cfg(test)]
mod recorded;
mod server;
#[cfg(test)]
mod server_tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::faults::Faults;
use crate::server::{Admin, Service, serve};

const USAGE: &str = "usage: stand-ins ollama | comfyui [--cpu] [--listen [IP]] [--port N] | bot
                 | listen PORT | sleep [SECONDS] | job MILLISECONDS [CODE]
                 | print LINE… | exit CODE | healthcheck URL… | admin VERB [JSON]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let faults = Arc::new(Faults::default());
    // Before anything else: as PID 1 the process would ignore a signal that it has no handler for.
    let ended = {
        let faults = faults.clone();
        tokio::spawn(async move { terminated(&faults).await })
    };
    let role = role(&arguments, &faults);
    let outcome = tokio::select! {
        outcome = role => outcome,
        _ = ended => Ok(0),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::from(1)
        },
        ExitCode::from,
    )
}

/// Resolves at SIGTERM or SIGINT, unless a test lets SIGTERM be ignored.
async fn terminated(faults: &Faults) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => {
                if !faults.ignores_sigterm() {
                    return Ok(());
                }
            }
            _ = int.recv() => return Ok(()),
        }
    }
}

/// Plays the role; its exit code, or a message that ends it with 1.
async fn role(arguments: &[String], faults: &Arc<Faults>) -> Result<u8, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ollama"] => {
            let service = Arc::new(ollama::Ollama::from_environment()?);
            let address = listen_address("OLLAMA_HOST", "0.0.0.0:11434");
            println!("Listening on {address} (version 0.5.4-ipexllm-20250407)");
            stand(&address, service, faults).await
        }
        ["comfyui", ..] => {
            let (service, address) = comfyui::ComfyUi::start(&arguments[1..])?;
            stand(&address, service, faults).await
        }
        ["bot"] => stand("0.0.0.0:3000", bot::Bot::start()?, faults).await,
        ["listen", port] => {
            let port: u16 = parsed(port)?;
            stand(&format!("0.0.0.0:{port}"), Arc::new(generic::Generic), faults).await
        }
        ["sleep"] => wait_with_admin(Duration::MAX, 0, faults).await,
        ["sleep", seconds] => {
            wait_with_admin(Duration::from_secs(parsed(seconds)?), 0, faults).await
        }
        ["job", millis] => wait_with_admin(Duration::from_millis(parsed(millis)?), 0, faults).await,
        ["job", millis, code] => {
            let code = parsed(code)?;
            wait_with_admin(Duration::from_millis(parsed(millis)?), code, faults).await
        }
        ["print", lines @ ..] => {
            lines.iter().for_each(|line| println!("{line}"));
            Ok(0)
        }
        ["exit", code] => parsed(code),
        ["healthcheck", first, rest @ ..] => {
            for address in std::iter::once(first).chain(rest) {
                client::check(address, Duration::from_secs(2)).await?;
            }
            Ok(0)
        }
        ["admin", verb] => admin(verb, "").await,
        ["admin", verb, body] => admin(verb, body).await,
        _ => Err(USAGE.to_owned()),
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no number in range\n{USAGE}"))
}

/// A host with a port, `default`'s where only a host is given.
fn listen_address(variable: &str, default: &str) -> String {
    let Ok(given) = std::env::var(variable) else { return default.to_owned() };
    let given = given.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let port = default.rsplit_once(':').map_or("", |(_, port)| port);
    if given.contains(':') { given } else { format!("{given}:{port}") }
}

fn admin_address() -> String {
    std::env::var("STAND_IN_ADMIN").unwrap_or_else(|_| "0.0.0.0:9999".to_owned())
}

/// Serves a role and its admin endpoint.
async fn stand(
    address: &str,
    service: Arc<dyn Service>,
    faults: &Arc<Faults>,
) -> Result<u8, String> {
    offer_admin(service.clone(), faults);
    let error = serve(address, service, faults.clone()).await;
    Err(format!("cannot listen on {address}: {error}"))
}

async fn wait_with_admin(time: Duration, code: u8, faults: &Arc<Faults>) -> Result<u8, String> {
    offer_admin(Arc::new(generic::Generic), faults);
    tokio::time::sleep(time).await;
    Ok(code)
}

fn offer_admin(service: Arc<dyn Service>, faults: &Arc<Faults>) {
    let address = admin_address();
    if address == "off" {
        return;
    }
    let admin = Arc::new(Admin { service, faults: faults.clone() });
    tokio::spawn(async move {
        // Faults are for the service: its admin endpoint has none of its own.
        let error = serve(&address, admin, Arc::new(Faults::default())).await;
        // Two stand-ins in one network namespace: the second does without.
        eprintln!("no admin endpoint on {address}: {error}");
    });
}

/// `docker exec CONTAINER /stand-ins admin VERB JSON`, where the admin port can't be reached.
async fn admin(verb: &str, body: &str) -> Result<u8, String> {
    let address = admin_address().replace("0.0.0.0", "127.0.0.1");
    let url = format!("http://{address}/{}", if verb == "show" { "" } else { verb });
    let method = if verb == "show" { "GET" } else { "POST" };
    let (status, answer) = client::request(method, &client::split(&url)?, body).await?;
    print!("{answer}");
    Ok(u8::from(status >= 300))
}

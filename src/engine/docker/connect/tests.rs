use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::engine::docker::Docker;
use crate::engine::docker::transport::{Call, Transport};
use crate::engine::{Engine, Tier};

const CA: &[u8] = include_bytes!("../../../../tests/fixtures/docker/tls/ca.pem");
const CERT: &[u8] = include_bytes!("../../../../tests/fixtures/docker/tls/cert.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/docker/tls/key.pem");
const SERVER: &[u8] = include_bytes!("../../../../tests/fixtures/docker/tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("../../../../tests/fixtures/docker/tls/server-key.pem");

fn endpoint(address: Address) -> Endpoint {
    Endpoint { address, source: "test".into(), docker_config: None }
}

/// An engine behind TLS that wants a client certificate; answers `/_ping` once.
async fn tls_engine() -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA).expect("ca")).expect("a root");
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    )
    .build()
    .expect("a verifier");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(SERVER).expect("a certificate")],
            PrivateKeyDer::from_pem_slice(SERVER_KEY).expect("a key"),
        )
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Length: 2\r\n\r\nOK";
            let _ = stream.write_all(answer).await;
            let _ = stream.flush().await;
        }
    });
    port
}

async fn ping_over_tls(tls: Tls) -> Result<(), Fault> {
    let port = tls_engine().await;
    let address = Address::Tcp { host: "localhost".into(), port, tls: Some(tls) };
    Docker::new(endpoint(address), Tier::Observe)?.ping().await
}

fn identity() -> Option<(Vec<u8>, Vec<u8>)> {
    Some((CERT.into(), KEY.into()))
}

#[tokio::test]
async fn tls_is_verified_both_ways() {
    let good = Tls { ca: Some(CA.into()), identity: identity(), skip_verify: false };
    ping_over_tls(good).await.expect("a ping");

    let stranger = Tls { ca: Some(SERVER.into()), identity: identity(), skip_verify: false };
    let fault = ping_over_tls(stranger).await.expect_err("another authority");
    assert_eq!(fault.reason(), "EngineUnreachable", "{fault}");

    let nobody = Tls { ca: Some(CA.into()), identity: None, skip_verify: false };
    ping_over_tls(nobody).await.expect_err("no client certificate");
}

#[tokio::test]
async fn a_server_is_not_verified_only_on_explicit_wish() {
    let skip = Tls { ca: None, identity: identity(), skip_verify: true };
    ping_over_tls(skip).await.expect("a ping");
    let none = Tls { ca: None, identity: identity(), skip_verify: false };
    let fault = ping_over_tls(none).await.expect_err("no authority");
    assert_eq!(fault.reason(), "BadEndpoint", "{fault}");
}

#[test]
fn a_socket_that_is_not_ours_is_told_apart() {
    let dialler = Dialler::new(endpoint(Address::Unix("/x.sock".into()))).expect("a dialler");
    let fault = |kind: io::ErrorKind| dialler.not_opened(&io::Error::from(kind)).reason();
    assert_eq!(fault(io::ErrorKind::PermissionDenied), "SocketPermission");
    assert_eq!(fault(io::ErrorKind::NotFound), "EngineUnreachable");
    assert_eq!(fault(io::ErrorKind::ConnectionRefused), "EngineUnreachable");
}

#[test]
fn ssh_gets_an_argument_array_that_ends_its_options_before_the_host() {
    let arguments = ssh_arguments(Some("me"), "box", Some(2222), Some("/run/d.sock")).join(" ");
    let wanted = "-l me -p 2222 -- box docker --host unix:///run/d.sock system dial-stdio";
    assert!(arguments.ends_with(wanted), "{arguments}");
    assert!(arguments.contains("-o BatchMode=yes"), "{arguments}");
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("ssh");
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

fn dialler_with(program: PathBuf) -> Dialler {
    let address = Address::Ssh { user: None, host: "box".into(), port: None, socket: None };
    let mut dialler = Dialler::new(endpoint(address)).expect("a dialler");
    dialler.ssh = program;
    dialler
}

async fn call_through(program: PathBuf) -> Result<(), Fault> {
    let transport = Transport::with(dialler_with(program));
    let name = "POST /containers/{id}/start";
    let mut call = Call::get(name, "/containers/c/start".into(), Duration::from_secs(5), 1024);
    call.method = hyper::Method::POST;
    transport.call(&call).await.map(drop)
}

#[tokio::test]
async fn a_call_goes_through_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = r#"#!/bin/sh
while :; do
  while IFS= read -r line || exit; do [ "$line" = "$(printf '\r')" ] && break; done
  printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK'
done
"#;
    call_through(script(folder.path(), engine)).await.expect("an answer");
}

#[tokio::test]
async fn an_ssh_that_gets_nowhere_is_unreachable_in_its_own_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = script(folder.path(), "#!/bin/sh\necho 'Permission denied' >&2\nexit 255\n");
    let fault = call_through(program).await.expect_err("refused");
    assert!(!fault.outcome_unknown(), "{fault}");
    assert!(fault.to_string().contains("Permission denied"), "{fault}");
}

#[tokio::test]
async fn the_childs_streams_are_the_connection_and_its_words_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = script(folder.path(), "#!/bin/sh\necho 'no such host' >&2\nexec cat\n");
    let mut dialled = dialler_with(program).dial().await.expect("a child");
    dialled.stream.write_all(b"hello").await.expect("written");
    let mut echo = [0; 5];
    dialled.stream.read_exact(&mut echo).await.expect("read");
    assert_eq!(&echo, b"hello");
    dialled.stream.shutdown().await.expect("closed");
    let words = dialled.ssh.expect("ssh");
    while words.lock().expect("words").len() < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(words.lock().expect("words").as_slice(), b"no such host\n");
}

#[tokio::test]
async fn a_missing_ssh_is_named() {
    let fault = dialler_with("/nonexistent/ssh".into()).dial().await;
    let fault = fault.err().expect("a fault").to_string();
    assert!(fault.contains("can't start ssh"), "{fault}");
}

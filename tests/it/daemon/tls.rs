//! An engine behind TLS, as `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` describe it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::harness::{Home, ran};
use crate::support::{IMAGE, docker};

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/docker/tls").join(name)
}

/// A relay that speaks TLS, demands a client's certificate, and passes bytes to the engine.
struct Relay {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Relay {
    fn start() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(pem("ca.pem")).expect("an authority"))
            .expect("adds");
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("a verifier");
        let chain = CertificateDer::pem_file_iter(pem("server.pem")).expect("reads");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(pem("server-key.pem")).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let engine = docker(&["context", "inspect", "-f", "{{.Endpoints.docker.Host}}"]);
        let engine = engine.strip_prefix("unix://").expect("a socket").to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("listens");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, engine) = (acceptor.clone(), engine.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                    let Ok(mut unix) = UnixStream::connect(engine).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut unix).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }
}

#[test]
fn the_engine_over_tls() {
    let mut home = Home::new();
    let project = home.project("tls");
    home.write(
        "compose.yaml",
        &format!("name: {project}\nservices:\n  a:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n"),
    );
    let relay = Relay::start();
    let host = format!("tcp://127.0.0.1:{}", relay.address.port());
    let certificates = pem("ca.pem").parent().expect("a folder").to_owned();
    let set = |command: &mut std::process::Command, folder: &Path| {
        command
            .env("DOCKER_HOST", &host)
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", folder);
    };
    let plan = |folder: &Path| {
        let mut command = home.command();
        set(&mut command, folder);
        ran(command.args(["plan", "--detailed-exitcode"]))
    };
    let told = plan(&certificates);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.stdout.contains("service a"), "{told:?}");
    let daemon = home.daemon_with(&[], |command| set(command, &certificates));
    daemon.until_ready("stacks", 1);
    assert_eq!(daemon.api("/api/v1/status")["engine"]["endpoint"], host);
    drop(daemon);
    assert_eq!(plan(&certificates).code, Some(0));

    // An authority that didn't sign the engine's certificate: here, one that is only a client.
    let wrong = home.stacks().join("wrong");
    std::fs::create_dir(&wrong).expect("a folder");
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(pem(name), wrong.join(name)).expect("copies");
    }
    std::fs::copy(pem("cert.pem"), wrong.join("ca.pem")).expect("copies");
    let told = plan(&wrong);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(
        told.stderr.contains("certificate") && told.stderr.contains("check ca.pem"),
        "{told:?}"
    );

    // No authority at all: the file that is missing is named.
    std::fs::remove_file(wrong.join("ca.pem")).expect("removes");
    let told = plan(&wrong);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("ca.pem"), "{told:?}");
    // Without a client's certificate the engine refuses.
    std::fs::copy(pem("ca.pem"), wrong.join("ca.pem")).expect("copies");
    for name in ["cert.pem", "key.pem"] {
        std::fs::remove_file(wrong.join(name)).expect("removes");
    }
    let told = plan(&wrong);
    assert_eq!(told.code, Some(1), "{told:?}");
}

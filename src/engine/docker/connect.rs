//! Opens a byte stream to the engine: socket file, TCP, TLS, or a child process over ssh.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::endpoint::{Address, Endpoint, Tls};
use crate::engine::Fault;

/// Bytes of ssh's own words that we keep.
const SSH_WORDS: usize = 4096;

/// A byte stream to the engine.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What ssh printed on standard error.
pub(super) type SshWords = Arc<Mutex<Vec<u8>>>;

/// A fresh connection.
pub(super) struct Dialled {
    pub stream: Box<dyn Stream>,
    /// Present for ssh, where a dial never fails by itself: the first answer tells.
    pub ssh: Option<SshWords>,
}

/// Opens connections to one endpoint.
pub(super) struct Dialler {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    /// The program that speaks ssh.
    ssh: PathBuf,
}

impl Dialler {
    /// Reads the TLS material.
    pub fn new(endpoint: Endpoint) -> Result<Self, Fault> {
        let tls = match &endpoint.address {
            Address::Tcp { tls: Some(tls), .. } => {
                Some(Arc::new(tls_config(tls).map_err(|reason| Fault::BadEndpoint {
                    endpoint: endpoint.to_string(),
                    reason,
                })?))
            }
            _ => None,
        };
        Ok(Self { endpoint, tls, ssh: PathBuf::from("ssh") })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How long opening may take.
    pub fn patience(&self) -> Duration {
        match self.endpoint.address {
            Address::Ssh { .. } => Duration::from_secs(20),
            Address::Unix(_) | Address::Tcp { .. } => Duration::from_secs(5),
        }
    }

    /// The `Host` header.
    pub fn authority(&self) -> String {
        match &self.endpoint.address {
            Address::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
            Address::Unix(_) | Address::Ssh { .. } => "docker".into(),
        }
    }

    /// Opens one connection within [`Self::patience`].
    pub async fn dial(&self) -> Result<Dialled, Fault> {
        match tokio::time::timeout(self.patience(), self.open()).await {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(e)) => Err(self.not_opened(&e)),
            Err(_) => Err(self.unreachable(format!("no connection within {:?}", self.patience()))),
        }
    }

    fn not_opened(&self, error: &io::Error) -> Fault {
        let socket = matches!(self.endpoint.address, Address::Unix(_));
        if socket && error.kind() == io::ErrorKind::PermissionDenied {
            Fault::SocketPermission { endpoint: self.endpoint.to_string() }
        } else {
            self.unreachable(error.to_string())
        }
    }

    pub fn unreachable(&self, reason: String) -> Fault {
        Fault::Unreachable { endpoint: self.endpoint.to_string(), reason }
    }

    async fn open(&self) -> io::Result<Dialled> {
        let stream: Box<dyn Stream> = match &self.endpoint.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp { host, port, .. } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                keep_alive(&tcp)?;
                match &self.tls {
                    None => Box::new(tcp),
                    Some(config) => {
                        let name = ServerName::try_from(host.clone())
                            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
                        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                        Box::new(connector.connect(name, tcp).await.map_err(untrusted)?)
                    }
                }
            }
            Address::Ssh { user, host, port, socket } => {
                let arguments = ssh_arguments(user.as_deref(), host, *port, socket.as_deref());
                return ssh(&self.ssh, &arguments);
            }
        };
        Ok(Dialled { stream, ssh: None })
    }
}

/// What a failed handshake needs: the certificates are the user's to mend.
fn untrusted(error: io::Error) -> io::Error {
    let mend = "check ca.pem, cert.pem and key.pem in the folder of DOCKER_CERT_PATH";
    io::Error::new(error.kind(), format!("TLS: {error}: {mend}"))
}

/// Lets the system notice a peer that vanished: after 30 s of silence, within 30 s more.
fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(tcp, 3)?;
    Ok(())
}

/// Client TLS with the `ring` provider, named here so that no process-wide default is needed.
pub(super) fn tls_config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        let pem = tls
            .ca
            .as_deref()
            .ok_or("TLS needs the authority's certificate: add ca.pem beside cert.pem")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| format!("ca.pem: {e}"))?;
            roots.add(certificate).map_err(|e| format!("ca.pem: {e}"))?;
        }
        if roots.is_empty() {
            return Err("ca.pem holds no certificate".into());
        }
        builder.with_root_certificates(roots)
    };
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
                .collect::<Result<_, _>>()
                .map_err(|e| format!("cert.pem: {e}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("key.pem: {e}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| format!("cert.pem, key.pem: {e}"))
        }
    }
}

/// Accepts every server certificate, because the context says `SkipTLSVerify` or the environment
/// says `DOCKER_TLS` without `DOCKER_TLS_VERIFY`. Signatures are still checked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The arguments of `ssh`. A daemon has nobody to ask, so ssh may not ask either.
pub(super) fn ssh_arguments(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    socket: Option<&str>,
) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=30", "-T"]
            .map(String::from)
            .into();
    if let Some(user) = user {
        arguments.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".into(), port.to_string()]);
    }
    arguments.extend(["--".into(), host.into(), "docker".into()]);
    if let Some(socket) = socket {
        arguments.extend(["--host".into(), format!("unix://{socket}")]);
    }
    arguments.extend(["system".into(), "dial-stdio".into()]);
    arguments
}

fn ssh(program: &Path, arguments: &[String]) -> io::Result<Dialled> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("can't start ssh: {e}")))?;
    let (Some(stdin), Some(stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("ssh has no pipes"));
    };
    let words = SshWords::default();
    let kept = Arc::clone(&words);
    tokio::spawn(async move {
        let mut chunk = [0_u8; 512];
        while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
            if let Ok(mut kept) = kept.lock() {
                let room = SSH_WORDS.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&chunk[..room]);
            }
        }
    });
    Ok(Dialled { stream: Box::new(Piped { stdin, stdout, _child: child }), ssh: Some(words) })
}

/// A child process's standard streams as one connection. Dropping it ends the child.
struct Piped {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;

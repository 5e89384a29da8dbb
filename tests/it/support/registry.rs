//! A registry of a test's own, in the network namespace of its engine: it serves one image of one
//! layer under every name, and counts who asks. By the distribution specification, as far as a pull
//! needs it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::engine::OwnEngine;
use super::{IMAGE, docker};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Answers until the test's process ends.
pub struct Registry {
    /// How often the manifest of each name was asked for.
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// What it serves, by digest; the manifest's too.
struct Content {
    manifest: String,
    blobs: BTreeMap<String, (&'static str, Vec<u8>)>,
}

impl Registry {
    /// Listens on 127.0.0.1:5000 of the engine, with an image that runs the stand-ins and brings
    /// `bytes` along.
    pub fn start(engine: &OwnEngine, bytes: usize) -> Self {
        let content = Arc::new(content(bytes));
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = asked.clone();
        let listener = engine.within(|| TcpListener::bind("127.0.0.1:5000").expect("a port"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, counts) = (content.clone(), counts.clone());
                // The engine leaves when its disk is full.
                std::thread::spawn(move || serve(stream, &content, &counts).is_err());
            }
        });
        Self { asked }
    }

    /// How often the image of this name was asked for.
    pub fn pulls(&self, name: &str) -> u32 {
        self.asked.lock().expect("no panic").get(name).copied().unwrap_or_default()
    }
}

fn serve(
    stream: TcpStream,
    content: &Content,
    asked: &Mutex<BTreeMap<String, u32>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let parts: Vec<&str> = path.trim_start_matches("/v2/").split('/').collect();
        let nothing = ("application/json", Vec::new());
        let (status, digest, (kind, body)) = match parts[..] {
            [""] => ("200 OK", "", &nothing),
            [name, "manifests", _] => {
                if let Ok(mut asked) = asked.lock() {
                    *asked.entry(name.to_owned()).or_default() += 1;
                }
                ("200 OK", &*content.manifest, &content.blobs[&content.manifest])
            }
            [_, "blobs", digest] if content.blobs.contains_key(digest) => {
                ("200 OK", digest, &content.blobs[digest])
            }
            _ => ("404 Not Found", "", &nothing),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
    }
}

fn content(bytes: usize) -> Content {
    let layer = layer(bytes);
    let layer_digest = digest(&layer);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/stand-ins"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": config.len(), "digest": digest(&config)},
        "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": layer_digest}],
    });
    let manifest = manifest.to_string().into_bytes();
    let name = digest(&manifest);
    let blobs = [
        (layer_digest, (LAYER, layer)),
        (digest(&config), (CONFIG, config)),
        (name.clone(), (MANIFEST, manifest)),
    ];
    Content { manifest: name, blobs: blobs.into() }
}

/// A tar of `bytes` of nothing and of the stand-ins.
fn layer(bytes: usize) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0u8; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "ballast");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut layer = header.to_vec();
    layer.resize(BLOCK + bytes.next_multiple_of(BLOCK), 0);
    let made = docker(&["create", IMAGE]);
    let copied = std::process::Command::new("docker")
        .args(["cp", &format!("{made}:/stand-ins"), "-"])
        .output()
        .expect("the docker CLI runs");
    docker(&["rm", &made]);
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    layer.extend(copied.stdout);
    layer
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

use std::fs;

use sha2::{Digest, Sha256};

use super::*;

struct World {
    folder: tempfile::TempDir,
    around: Surroundings,
}

impl World {
    fn new(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_path_buf();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let around = Surroundings { env, home: Some(root.join("home")), root, uid: 1000 };
        Self { folder, around }
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn context(&self, name: &str, endpoint: &str) -> &Self {
        self.write(
            &format!("home/.docker/contexts/meta/{}/meta.json", digest(name)),
            &format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{endpoint}}}}}"#),
        )
    }

    fn resolve(&self, flag: Option<&str>) -> Result<(String, String), Fault> {
        Endpoint::resolve(flag, &self.around).map(|e| (e.to_string(), e.source))
    }

    fn shown(&self, flag: Option<&str>) -> String {
        self.resolve(flag).expect("an endpoint").0
    }
}

fn digest(name: &str) -> String {
    Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect()
}

fn plain(host: &str) -> Result<String, Fault> {
    let address = parse(host, || Ok(None))?;
    Ok(Endpoint { address, source: String::new(), docker_config: None }.to_string())
}

#[test]
fn the_flag_beats_the_variable_beats_the_context_beats_the_socket() {
    let mut world = World::new(&[("DOCKER_HOST", "unix:///env.sock"), ("DOCKER_CONTEXT", "other")]);
    world
        .write("var/run/docker.sock", "")
        .write("home/.docker/config.json", r#"{"currentContext":"mine"}"#)
        .context("mine", r#"{"Host":"unix:///mine.sock"}"#)
        .context("other", r#"{"Host":"unix:///other.sock"}"#);
    let at = |world: &World, flag| world.resolve(flag).expect("an endpoint");
    assert_eq!(at(&world, Some("unix:///flag.sock")), ("unix:///flag.sock".into(), "-H".into()));
    assert_eq!(at(&world, None), ("unix:///env.sock".into(), "DOCKER_HOST".into()));
    world.around.env.remove("DOCKER_HOST");
    assert_eq!(at(&world, None), ("unix:///other.sock".into(), "context other".into()));
    world.around.env.remove("DOCKER_CONTEXT");
    assert_eq!(at(&world, None), ("unix:///mine.sock".into(), "context mine".into()));
    world.around.env.insert("DOCKER_CONTEXT".into(), "default".into());
    let (shown, source) = at(&world, None);
    assert!(shown.ends_with("/var/run/docker.sock"), "{shown}");
    assert_eq!(source, "default socket");
}

#[test]
fn default_sockets_are_tried_in_order() {
    let mut world = World::new(&[]);
    let runtime = world.folder.path().join("run/user/1000");
    let fault = world.resolve(None).expect_err("no socket");
    assert_eq!(fault.reason(), "EngineUnreachable");
    world.around.env.insert("XDG_RUNTIME_DIR".into(), runtime.display().to_string());
    for socket in [
        "run/podman/podman.sock",
        "run/user/1000/podman/podman.sock",
        "var/run/docker.sock",
        "run/user/1000/docker.sock",
    ] {
        world.write(socket, "");
        let shown = world.shown(None);
        assert!(shown.ends_with(socket), "{shown} for {socket}");
    }
}

#[test]
fn a_context_that_is_not_there_is_an_error() {
    let world = World::new(&[("DOCKER_CONTEXT", "gone")]);
    world.write("var/run/docker.sock", "");
    let fault = world.resolve(None).expect_err("no context");
    assert!(fault.to_string().contains("docker context ls"), "{fault}");
    let world = World::new(&[]);
    world.write("home/.docker/config.json", "{");
    let fault = world.resolve(None).expect_err("bad JSON").to_string();
    assert!(fault.contains("config.json isn't valid JSON"), "{fault}");
}

#[test]
fn a_contexts_tls_material_goes_with_it() {
    let world = World::new(&[("DOCKER_CONTEXT", "far")]);
    world.context("far", r#"{"Host":"tcp://far.example","SkipTLSVerify":false}"#);
    let tls = |world: &World| {
        let endpoint = Endpoint::resolve(None, &world.around).expect("an endpoint");
        let Address::Tcp { port, tls, .. } = endpoint.address else { panic!("{endpoint}") };
        (port, tls)
    };
    assert_eq!(tls(&world), (2375, None));
    let folder = format!("home/.docker/contexts/tls/{}/docker", digest("far"));
    for file in ["ca", "cert", "key"] {
        world.write(&format!("{folder}/{file}.pem"), file);
    }
    let wanted = Tls {
        ca: Some(b"ca".to_vec()),
        identity: Some((b"cert".to_vec(), b"key".to_vec())),
        skip_verify: false,
    };
    assert_eq!(tls(&world), (2376, Some(wanted)));
    world.context("far", r#"{"Host":"tcp://far.example:1","SkipTLSVerify":true}"#);
    assert!(tls(&world).1.expect("TLS").skip_verify);
    fs::remove_file(world.folder.path().join(format!("{folder}/key.pem"))).expect("removed");
    let fault = world.resolve(None).expect_err("half an identity").to_string();
    assert!(fault.contains("key.pem is missing"), "{fault}");
}

#[test]
fn tls_from_the_environment_is_for_tcp_only_and_complete() {
    let mut world = World::new(&[("DOCKER_TLS_VERIFY", "1")]);
    world
        .around
        .env
        .insert("DOCKER_CERT_PATH".into(), world.folder.path().join("certs").display().to_string());
    assert_eq!(world.shown(Some("unix:///x.sock")), "unix:///x.sock");
    let fault = world.resolve(Some("tcp://far")).expect_err("no material").to_string();
    assert!(fault.contains("ca.pem is missing"), "{fault}");
    world.write("certs/ca.pem", "ca");
    assert_eq!(world.shown(Some("tcp://far")), "tcp://far:2376");
    world.around.env.remove("DOCKER_TLS_VERIFY");
    assert_eq!(world.shown(Some("tcp://far")), "tcp://far:2375");
    world.around.env.insert("DOCKER_TLS".into(), "1".into());
    let endpoint = Endpoint::resolve(Some("tcp://far"), &world.around).expect("an endpoint");
    let Address::Tcp { tls: Some(tls), .. } = endpoint.address else { panic!("{endpoint}") };
    assert!(tls.skip_verify, "DOCKER_TLS alone doesn't verify");
}

#[test]
fn hosts_are_read_as_docker_reads_them() {
    for (host, wanted) in [
        ("/run/d.sock", "unix:///run/d.sock"),
        ("box:1234", "tcp://box:1234"),
        ("tcp://[::1]", "tcp://[::1]:2375"),
        ("tcp://[::1]:9/", "tcp://[::1]:9"),
        ("ssh://me@box:22/run/d.sock", "ssh://me@box:22/run/d.sock"),
        ("ssh://box", "ssh://box"),
    ] {
        assert_eq!(plain(host).as_deref(), Ok(wanted));
    }
}

#[test]
fn unusable_hosts_say_why() {
    for (host, reason) in [
        ("npipe:////./pipe/docker_engine", "Windows"),
        ("unix://relative.sock", "absolute"),
        ("https://box", "tcp://HOST:PORT"),
        ("tcp://me@box", "without a user"),
        ("tcp://box:99999", "bad host or port"),
        ("tcp://", "bad host or port"),
        ("ssh://-oX", "dash"),
        ("ssh://-l@box", "dash"),
        ("ssh://me:secret@box", "use a key"),
        ("tcp://me:secret@box:2375", "without a user"),
        ("me:secret@box", "without a user"),
        ("gopher://me:p:secret@box", "gopher://me:…@box"),
        ("ssh://box/run/$(x)", "letters"),
        ("gopher://box", "unknown scheme"),
    ] {
        let fault = plain(host).expect_err(host);
        assert_eq!(fault.reason(), "BadEndpoint");
        assert!(fault.to_string().contains(reason), "{fault}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
}

#[test]
fn only_this_hosts_addresses_are_local() {
    let local = |host: &str| {
        let address = parse(host, || Ok(None)).expect("an address");
        Endpoint { address, source: String::new(), docker_config: None }.is_local()
    };
    assert!(local("/x.sock") && local("tcp://127.0.0.1") && local("tcp://[::1]"));
    assert!(!local("tcp://10.0.0.1") && !local("ssh://localhost"));
}

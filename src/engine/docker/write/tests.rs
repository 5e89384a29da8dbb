use super::*;
use crate::sensitive::Sensitive;

fn id() -> ContainerId {
    ContainerId("abc".into())
}

fn sent(write: &Write) -> String {
    let call = request("/v1.41", write, DEFAULT_GRACE, &Deadlines::default());
    let body = call.body.map_or_else(String::new, |b| String::from_utf8_lossy(&b).into_owned());
    format!("{} {} {body} within {:?}", call.method, call.path, call.deadline)
}

#[test]
fn every_write_is_the_request_that_the_engine_documents() {
    let map = |value: Value| value.as_object().cloned().unwrap_or_default();
    let body = Sensitive::new(map(json!({"Image": "x"})));
    let network = String::from("n");
    let grace = Some(Duration::from_millis(2500));
    let endpoint = map(json!({"Aliases": ["a"]}));
    let writes = [
        Write::CreateContainer {
            name: "p-s-1".into(),
            platform: Some("linux/arm64".into()),
            body: body.clone(),
        },
        Write::StartContainer { id: id() },
        Write::StopContainer { id: id(), grace },
        Write::StopContainer { id: id(), grace: None },
        Write::RestartContainer { id: id(), grace },
        Write::UnpauseContainer { id: id() },
        Write::RenameContainer { id: id(), name: "new".into() },
        Write::RemoveContainer { id: id(), force: true },
        Write::CreateNetwork { body: body.clone() },
        Write::RemoveNetwork { id: "n/..".into() },
        Write::ConnectNetwork { network: network.clone(), container: id(), endpoint },
        Write::DisconnectNetwork { network, container: id(), force: true },
        Write::CreateVolume { body },
    ];
    let lines: Vec<String> = writes.iter().map(sent).collect();
    let wanted = [
        r#"POST /v1.41/containers/create?name=p-s-1&platform=linux%2Farm64 {"Image":"x"} within 120s"#,
        "POST /v1.41/containers/abc/start  within 60s",
        "POST /v1.41/containers/abc/stop?t=3  within 17.5s",
        "POST /v1.41/containers/abc/stop  within 25s",
        "POST /v1.41/containers/abc/restart?t=3  within 32.5s",
        "POST /v1.41/containers/abc/unpause  within 30s",
        "POST /v1.41/containers/abc/rename?name=new  within 30s",
        "DELETE /v1.41/containers/abc?force=true&v=false  within 120s",
        r#"POST /v1.41/networks/create {"Image":"x"} within 60s"#,
        "DELETE /v1.41/networks/n%2F..  within 60s",
        r#"POST /v1.41/networks/n/connect {"Container":"abc","EndpointConfig":{"Aliases":["a"]}} within 60s"#,
        r#"POST /v1.41/networks/n/disconnect {"Container":"abc","Force":true} within 60s"#,
        r#"POST /v1.41/volumes/create {"Image":"x"} within 60s"#,
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn a_disconnect_or_unpause_of_what_is_so_already_is_done() {
    let server =
        |message: &str| Fault::Server { call: String::new(), status: 500, message: message.into() };
    let disconnect =
        Write::DisconnectNetwork { network: "n".into(), container: id(), force: false };
    let unpause = Write::UnpauseContainer { id: id() };
    let off = server("container abc is not connected to network n");
    let running = server("Container abc is not paused");
    assert!(is_done(&disconnect, &off) && is_done(&unpause, &running));
    assert!(!is_done(&unpause, &off) && !is_done(&disconnect, &running));
}

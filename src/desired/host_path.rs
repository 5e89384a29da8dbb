//! Moves a project to the path at which the engine's host sees it.
//!
//! The engine resolves bind sources on its own host. When homeostat runs in a container that sees
//! the project elsewhere, the project that it plans with must name the host's paths: then labels
//! and hashes are those that Docker Compose would have made there.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::compose::types::{MountKind, Project, Service};

/// Replaces the project folder by `to` in every path that the engine gets to see.
pub fn rebase(project: &mut Project, to: &Path) {
    let from = project.working_dir.clone();
    let moved = |path: &Path| moved(path, &from, to);
    for service in project.services.values_mut().chain(project.disabled_services.values_mut()) {
        mounts(service, &moved);
        service_tree(service.canonical.expose_mut(), &moved);
    }
    let objects = project.secrets.values_mut().chain(project.configs.values_mut());
    for object in objects {
        if let Some(path) = object.file.as_deref().and_then(moved) {
            object.file = Some(path);
        }
        text(object.canonical.expose_mut(), "file", &moved);
    }
    for volume in project.volumes.values_mut() {
        if let Some(device) = volume.driver_opts.get_mut("device") {
            replace(device, &moved);
        }
        if let Some(options) = object(volume.canonical.expose_mut(), "driver_opts") {
            text(options, "device", &moved);
        }
    }
    project_tree(project.canonical.expose_mut(), &moved);
    for file in &mut project.config_files {
        if let Some(path) = moved(file) {
            *file = path;
        }
    }
    project.working_dir = to.to_owned();
}

fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}

type Move<'a> = &'a dyn Fn(&Path) -> Option<PathBuf>;

fn replace(text: &mut String, moved: Move<'_>) {
    if let Some(path) = moved(Path::new(text.as_str())) {
        *text = path.display().to_string();
    }
}

fn text(map: &mut Map<String, Value>, key: &str, moved: Move<'_>) {
    if let Some(Value::String(text)) = map.get_mut(key) {
        replace(text, moved);
    }
}

fn object<'m>(map: &'m mut Map<String, Value>, key: &str) -> Option<&'m mut Map<String, Value>> {
    map.get_mut(key)?.as_object_mut()
}

fn mounts(service: &mut Service, moved: Move<'_>) {
    for mount in service.mounts.iter_mut().filter(|m| m.kind == MountKind::Bind) {
        if let Some(source) = &mut mount.source {
            replace(source, moved);
        }
        text(mount.canonical.expose_mut(), "source", moved);
    }
}

fn service_tree(service: &mut Map<String, Value>, moved: Move<'_>) {
    let volumes = service.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten().filter_map(Value::as_object_mut) {
        if volume.get("type").and_then(Value::as_str) == Some("bind") {
            text(volume, "source", moved);
        }
    }
    if let Some(build) = object(service, "build") {
        text(build, "context", moved);
    }
}

fn project_tree(project: &mut Map<String, Value>, moved: Move<'_>) {
    let each = |map: &mut Map<String, Value>, key, act: &dyn Fn(&mut Map<String, Value>)| {
        let members = map.get_mut(key).and_then(Value::as_object_mut);
        members.into_iter().flatten().filter_map(|(_, v)| v.as_object_mut()).for_each(act);
    };
    each(project, "services", &|service| service_tree(service, moved));
    for key in ["secrets", "configs"] {
        each(project, key, &|object| text(object, "file", moved));
    }
    each(project, "volumes", &|volume| {
        if let Some(options) = object(volume, "driver_opts") {
            text(options, "device", moved);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::types::Mount;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn only_paths_in_the_project_folder_move_and_all_views_of_them_agree() {
        let bind = |source: &str| json!({"type": "bind", "source": source, "target": "/x"});
        let volume = json!({"type": "volume", "source": "/stack/data", "target": "/y"});
        let sources = ["/stack/conf", "/stack", "/stacks/other", "/etc/hosts"];
        let list: Vec<Value> = sources.iter().map(|s| bind(s)).chain([volume]).collect();
        let tree = json!({"volumes": list, "build": {"context": "/stack/app"}});
        let mounts = list
            .iter()
            .map(|v| Mount {
                kind: if v["type"] == "bind" { MountKind::Bind } else { MountKind::Volume },
                source: v["source"].as_str().map(ToOwned::to_owned),
                target: "/x".into(),
                read_only: false,
                canonical: map(v.clone()).into(),
            })
            .collect();
        let service = Service {
            name: "web".into(),
            mounts,
            canonical: map(tree.clone()).into(),
            ..Service::default()
        };
        let mut project = Project {
            working_dir: "/stack".into(),
            config_files: vec!["/stack/compose.yaml".into(), "/shared/base.yaml".into()],
            services: [("web".to_owned(), service)].into(),
            canonical: map(json!({"services": {"web": tree}})).into(),
            ..Project::default()
        };
        rebase(&mut project, Path::new("/srv/bot"));

        let wanted = ["/srv/bot/conf", "/srv/bot", "/stacks/other", "/etc/hosts", "/stack/data"];
        let web = &project.services["web"];
        let typed: Vec<_> = web.mounts.iter().filter_map(|m| m.source.as_deref()).collect();
        assert_eq!(typed, wanted);
        let by_mount: Vec<_> =
            web.mounts.iter().map(|m| m.canonical.expose()["source"].as_str()).collect();
        assert_eq!(by_mount, wanted.map(Some));
        let tree = &project.canonical.expose()["services"]["web"];
        assert_eq!(Value::Object(web.canonical.expose().clone()), *tree);
        assert_eq!(tree["build"]["context"], "/srv/bot/app");
        assert_eq!(tree["volumes"][0]["source"], "/srv/bot/conf");
        assert_eq!(project.working_dir, Path::new("/srv/bot"));
        assert_eq!(project.config_files[0], Path::new("/srv/bot/compose.yaml"));
        assert_eq!(project.config_files[1], Path::new("/shared/base.yaml"));
    }
}

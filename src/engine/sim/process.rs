//! A container's life: start, end, health, and the engine's own restarts.

use std::time::Duration;

use super::model::{EngineStop, OnStop, Refusal, timing};
use super::world::{Due, World};
use crate::engine::types::ContainerId;
use crate::observed::{ContainerState, Health, PublishedPort};

/// Exit code that the engine notes for a container that it couldn't start.
const START_FAILED: i64 = 128;
/// Exit code of a process that SIGKILL ended.
const KILLED: i64 = 137;

impl World {
    /// Begins a start. `false` when there is nothing to do (304).
    pub fn begin_start(&mut self, id: &ContainerId) -> Result<bool, Refusal> {
        let container = self.get(id)?;
        match container.state {
            ContainerState::Paused => {
                let words = "cannot start a paused container, try unpause instead";
                return Err(Refusal::new(409, words));
            }
            ContainerState::Running | ContainerState::Restarting => return Ok(false),
            _ if container.removing => {
                let words = "container is marked for removal and cannot be started";
                return Err(Refusal::new(409, words));
            }
            _ => {}
        }
        container.manually_stopped = false;
        container.restart_count = 0;
        container.backoff = Duration::ZERO;
        self.launch(id)?;
        Ok(true)
    }

    /// Takes what a start needs and schedules its end; on refusal notes the engine's words.
    fn launch(&mut self, id: &ContainerId) -> Result<(), Refusal> {
        let taken = self.join_namespaces(id).and_then(|()| self.attach_all(id)).and_then(|()| {
            self.take_ports(id)?;
            match self.behaviour(id).start_error {
                Some(words) => Err(Refusal::new(500, words)),
                None => Ok(()),
            }
        });
        if let Err(refusal) = taken {
            self.release(id);
            let container = self.get(id)?;
            container.error.clone_from(&refusal.message);
            if container.started.is_none() {
                container.exit_code = START_FAILED;
            }
            if container.state == ContainerState::Restarting {
                container.state = ContainerState::Exited;
            }
            return Err(refusal);
        }
        let container = self.get(id)?;
        container.starting = true;
        let run = container.run;
        self.schedule(timing::START, id, run, Due::Started);
        Ok(())
    }

    fn join_namespaces(&self, id: &ContainerId) -> Result<(), Refusal> {
        let Some(container) = self.containers.get(id) else {
            return Err(Refusal::no_container(&id.0));
        };
        let parent_of = |mode: &str| mode.strip_prefix("container:").map(str::to_owned);
        let running = |parent: &ContainerId| {
            self.containers.get(parent).is_some_and(super::model::SimContainer::has_process)
        };
        // The engine has other words and statuses for each namespace.
        if let Some(parent) = parent_of(&container.network_mode) {
            let parent = self.find(&parent)?;
            if !running(&parent) {
                let words = format!("cannot join network of a non running container: {}", parent.0);
                return Err(Refusal::new(409, words));
            }
        }
        let not_running = |id: &ContainerId| format!("container {} is not running", id.0);
        if let Some(parent) = parent_of(&container.ipc_mode) {
            let why = match self.find(&parent) {
                Err(refusal) => Some(refusal.message),
                Ok(parent) => (!running(&parent)).then(|| not_running(&parent)),
            };
            if let Some(why) = why {
                let words = format!("can't join IPC of container {parent}: {why}");
                return Err(Refusal::new(500, words));
            }
        }
        if let Some(wanted) = parent_of(&container.pid_mode) {
            let parent = self.find(&wanted).map_err(|refusal| {
                let why = refusal.message;
                let words = format!("cannot join PID of a non running container: {wanted}: {why}");
                Refusal::new(500, words)
            })?;
            if !running(&parent) {
                return Err(Refusal::new(500, not_running(&parent)));
            }
        }
        Ok(())
    }

    fn take_ports(&self, id: &ContainerId) -> Result<(), Refusal> {
        let Some(container) = self.containers.get(id) else { return Ok(()) };
        let others: Vec<_> =
            self.containers.values().filter(|c| c.id != *id && c.holds()).collect();
        for PublishedPort { host_ip: ip, host_port: port, protocol, .. } in &container.ports {
            let taken = others.iter().flat_map(|c| &c.ports).any(|other| {
                other.host_port == *port
                    && other.protocol == *protocol
                    && (other.host_ip == *ip || other.host_ip == "0.0.0.0" || ip == "0.0.0.0")
            });
            if taken {
                return Err(Refusal::new(
                    500,
                    format!(
                        "driver failed programming external connectivity on endpoint {} ({}): \
                         Bind for {ip}:{port} failed: port is already allocated",
                        container.name, container.id.0
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Does what is due. A run that is over has no say any more.
    pub fn happen(&mut self, id: &ContainerId, run: u64, due: &Due) {
        if self.containers.get(id).is_none_or(|c| c.run != run) {
            return;
        }
        match due {
            Due::Started => self.started(id),
            Due::Exit(code) => self.die(id, *code),
            Due::GraceOver => self.signal(id, 9),
            Due::Oom => {
                if let Ok(container) = self.get(id) {
                    container.oom_killed = true;
                }
                self.emit_container(id, "oom", &[]);
                self.schedule(timing::OOM, id, run, Due::Exit(KILLED));
            }
            Due::TornDown => self.release(id),
            Due::PolicyRestart => {
                // The engine gives up when its own restart is refused; its words stay.
                let _ = self.launch(id);
            }
            Due::Health(checks) => self.check_health(id, *checks),
        }
    }

    fn started(&mut self, id: &ContainerId) {
        let (now, wall, behaviour) = (self.now, self.wall(), self.behaviour(id));
        let needs_met = behaviour.needs.iter().all(|service| {
            self.containers
                .values()
                .any(|c| c.service() == Some(service.as_str()) && self.serves(&c.id))
        });
        let Ok(container) = self.get(id) else { return };
        container.starting = false;
        container.run += 1;
        container.state = ContainerState::Running;
        container.started = Some(wall);
        container.since = now;
        container.error.clear();
        container.exit_code = 0;
        container.failing = 0;
        container.checks = 0;
        let (run, health) = (container.run, container.health_config.clone());
        container.health = if health.is_some() { Health::Starting } else { Health::None };
        self.emit_container(id, "start", &[]);
        if let Some(health) = health {
            self.schedule(health.interval, id, run, Due::Health(0));
        }
        if !needs_met {
            self.schedule(timing::DEATH, id, run, Due::Exit(1));
        } else if let Some((after, code)) = behaviour.exits {
            self.schedule(after, id, run, Due::Exit(code));
        }
    }

    fn check_health(&mut self, id: &ContainerId, checks: u64) {
        let (now, serves) = (self.now, self.serves(id));
        let Ok(container) = self.get(id) else { return };
        let Some(config) = container.health_config.clone() else { return };
        let (run, before) = (container.run, container.health);
        // A pause ends one series of checks, and its end begins another.
        if container.checks != checks || container.state != ContainerState::Running {
            return;
        }
        if serves {
            container.failing = 0;
            container.health = Health::Healthy;
        } else if before != Health::Starting || now - container.since >= config.start_period {
            container.failing += 1;
            if container.failing >= config.retries {
                container.health = Health::Unhealthy;
            }
        }
        let after = container.health;
        if after != before {
            let word = if after == Health::Healthy { "healthy" } else { "unhealthy" };
            self.emit_container(id, &format!("health_status: {word}"), &[]);
        }
        self.schedule(config.interval, id, run, Due::Health(checks));
    }

    /// The process has ended.
    fn die(&mut self, id: &ContainerId, code: i64) {
        let (now, wall) = (self.now, self.wall());
        let Ok(container) = self.get(id) else { return };
        if !container.has_process() {
            return;
        }
        container.run += 1;
        container.state = ContainerState::Exited;
        container.exit_code = code;
        container.finished = Some(wall);
        container.tearing_down = true;
        let run = container.run;
        let delay = container.policy_restarts().then(|| {
            let lasted = now - container.since >= timing::BACKOFF_RESET;
            container.backoff = if lasted || container.backoff.is_zero() {
                timing::BACKOFF
            } else {
                (container.backoff * 2).min(timing::BACKOFF_MAX)
            };
            container.state = ContainerState::Restarting;
            // Counted when it is decided, not when it happens.
            container.restart_count += 1;
            container.backoff
        });
        self.emit_container(id, "die", &[("exitCode", &code.to_string())]);
        self.schedule(timing::TEARDOWN, id, run, Due::TornDown);
        if let Some(delay) = delay {
            self.schedule(delay, id, run, Due::PolicyRestart);
        }
    }

    /// Sends a signal through the API: tells so, and lets the process act.
    pub fn signal(&mut self, id: &ContainerId, number: u8) {
        let Ok(container) = self.get(id) else { return };
        container.manually_stopped = true;
        let paused = container.state == ContainerState::Paused;
        let (run, stop_signal) = (container.run, container.stop_signal);
        let behaviour = self.behaviour(id);
        self.emit_container(id, "kill", &[("signal", &number.to_string())]);
        if paused {
            // A frozen process is thawed so that it can act.
            let _ = self.pause(id, false);
        }
        if number == 9 {
            if !behaviour.unkillable {
                self.schedule(timing::DEATH, id, run, Due::Exit(KILLED));
            }
        } else if let OnStop::Exits { after, code } = behaviour.on_stop
            && (matches!(number, 2 | 3 | 15) || number == stop_signal)
        {
            self.schedule(after, id, run, Due::Exit(code));
        }
    }

    /// Begins a stop. `false` when there is nothing to do (304).
    pub fn begin_stop(
        &mut self,
        id: &ContainerId,
        grace: Option<Duration>,
    ) -> Result<bool, Refusal> {
        let container = self.get(id)?;
        match container.state {
            ContainerState::Running | ContainerState::Paused => {
                let (run, signal) = (container.run, container.stop_signal);
                let grace = grace.unwrap_or(container.stop_grace);
                self.signal(id, signal);
                self.schedule(grace, id, run, Due::GraceOver);
                Ok(true)
            }
            // There is no process to signal: the engine only forgets its restart.
            ContainerState::Restarting => {
                container.manually_stopped = true;
                container.run += 1;
                container.state = ContainerState::Exited;
                // The cleaning up of the last death goes on under the new number.
                let (run, cleaning) = (container.run, container.tearing_down);
                container.starting = false;
                if cleaning {
                    self.schedule(timing::TEARDOWN, id, run, Due::TornDown);
                } else {
                    self.release(id);
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The engine ends: what its subscribers see of it, and what is left.
    pub fn engine_stops(&mut self, how: EngineStop) {
        if how == EngineStop::Terminate {
            self.stop_all(KILLED);
        }
        // What outlives a killed engine is stopped at its next start, so nobody sees it act.
        self.forget_plans();
        self.up = false;
        self.subscribers.end();
    }

    /// The engine starts: it stops what an engine that was killed left running, then starts what
    /// the policies say.
    pub fn engine_starts(&mut self) {
        self.up = true;
        self.subscribers.begin();
        self.stop_all(KILLED);
        for container in self.containers.values_mut() {
            container.starting = false;
            container.tearing_down = false;
            container.removing = false;
            if container.state == ContainerState::Restarting {
                container.state = ContainerState::Exited;
            }
        }
        let ids: Vec<_> = self.containers.keys().cloned().collect();
        for id in &ids {
            self.release(id);
        }
        for id in ids {
            let Ok(container) = self.get(&id) else { continue };
            // `always` means even what a person stopped, at an engine's start.
            let always = container.restart_policy == "always";
            if container.started.is_some() && (always || container.policy_restarts()) {
                let _ = self.launch(&id);
            }
        }
    }

    /// `kill`, `die`, `stop` of everything that runs, without a person's wish noted.
    fn stop_all(&mut self, hard: i64) {
        let ids: Vec<_> =
            self.containers.values().filter(|c| c.live()).map(|c| c.id.clone()).collect();
        for id in ids {
            let code = match self.behaviour(&id).on_stop {
                OnStop::Exits { code, .. } => code,
                OnStop::Ignores => hard,
            };
            let wall = self.wall();
            let Ok(container) = self.get(&id) else { continue };
            let signal = container.stop_signal.to_string();
            container.run += 1;
            let had_process = container.has_process();
            container.state = ContainerState::Exited;
            if had_process {
                container.exit_code = code;
                container.finished = Some(wall);
                self.emit_container(&id, "kill", &[("signal", &signal)]);
                self.emit_container(&id, "die", &[("exitCode", &code.to_string())]);
            }
            self.release(&id);
            self.emit_container(&id, "stop", &[]);
        }
    }
}

impl super::model::SimContainer {
    /// Whether the engine's policy starts it again after this end.
    fn policy_restarts(&self) -> bool {
        !self.manually_stopped
            && match self.restart_policy.as_str() {
                "always" | "unless-stopped" => true,
                "on-failure" => {
                    self.exit_code != 0
                        && (self.restart_max == 0
                            || self.restart_count < u64::from(self.restart_max))
                }
                _ => false,
            }
    }
}

"""Stacks to measure on, and the processes that are measured."""

import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

from .engine import EngineError

DEMO = "homeostat-demo"
PREFIX = "homeostat-bench"
SERVICES = ["valkey", "chromadb", "ollama", "comfyui", "discord-bot"]


def timed(arguments, environment, folder):
    """Milliseconds of a whole process, started and waited for with as little as possible around
    it; an error if it fails."""
    log = os.open(folder / "timed.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    moves = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1),
             (os.POSIX_SPAWN_DUP2, log, 2)]
    arguments = [str(argument) for argument in arguments]
    began = time.perf_counter()
    process = os.posix_spawn(arguments[0], arguments, environment, file_actions=moves)
    _, status = os.waitpid(process, 0)
    took = (time.perf_counter() - began) * 1000
    os.close(log)
    os.close(null)
    if status != 0:
        text = (folder / "timed.log").read_text(errors="replace")[-2000:]
        raise EngineError(f"{' '.join(arguments)}: ended with {status}\n{text}")
    return took


class Bench:
    """What every measurement needs."""

    def __init__(self, repository, folder, binary, compose, engine, quick):
        self.repository, self.folder, self.binary = repository, folder, binary
        self.compose_binary, self.engine, self.quick = compose, engine, quick
        kept = ("PATH", "HOME", "DOCKER_HOST", "XDG_RUNTIME_DIR")
        self.environment = {name: os.environ[name] for name in kept if name in os.environ}

    def demo(self, project, with_stack=True):
        """A copy of compose/demo under another project name; its folder."""
        folder = self.folder / project
        # An earlier measurement may have had the same project.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ["compose.yaml"] + ["stack.yaml"] * with_stack:
            text = (self.repository / "compose" / "demo" / name).read_text()
            (folder / name).write_text(text.replace(DEMO, project))
        return folder

    def plain(self, project, source):
        """The project of `source` without healthchecks and with `service_started` only."""
        command = [str(self.compose_binary), "-f", str(source / "compose.yaml"), "-p", project,
                   "config", "--format", "json"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True,
                               env=self.environment)
        model = json.loads(shown.stdout)
        for service in model["services"].values():
            service.pop("healthcheck", None)
            for dependency in service.get("depends_on", {}).values():
                dependency["condition"] = "service_started"
        for kind in ("networks", "volumes"):
            for name, resource in model.get(kind, {}).items():
                resource["name"] = f"{project}_{name}"
        folder = self.folder / project
        # An earlier measurement may have had the same project.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "compose.yaml").write_text(json.dumps(model))
        return folder

    def homeostat(self, verb, *arguments, host=None):
        """The command line of a one-shot verb."""
        engine = ["-H", host] if host else []
        return [self.binary, *engine, "--state-dir", self.folder / "state", verb, *arguments]

    def compose(self, folder, *arguments):
        """The command line of Docker Compose."""
        return [self.compose_binary, "-f", folder / "compose.yaml", *arguments]

    def time(self, arguments, where=None):
        """Milliseconds of a whole process, in the folder `where`."""
        os.chdir(where or self.folder)
        return timed(arguments, self.environment, self.folder)

    def clean_up(self):
        """Removes everything of the benchmarks' projects."""
        found = [c for c in self.engine.call("GET", "/containers/json?all=1")
                 if _ours(c["Labels"], c["Names"][0].lstrip("/"))]
        for container in found:
            self.engine.call("DELETE", f"/containers/{container['Id']}?force=1&v=1",
                             missing_ok=True)
        for network in self.engine.call("GET", "/networks"):
            if _ours(network["Labels"], network["Name"]):
                self.engine.call("DELETE", f"/networks/{network['Id']}", missing_ok=True)
        for volume in self.engine.call("GET", "/volumes")["Volumes"] or []:
            if _ours(volume["Labels"], volume["Name"]):
                self.engine.call("DELETE", f"/volumes/{volume['Name']}", missing_ok=True)


def _ours(labels, name):
    project = (labels or {}).get("com.docker.compose.project", "")
    return project.startswith(PREFIX) or name.startswith(PREFIX)


class Daemon:
    """`homeostat run`, until `stop`."""

    def __init__(self, bench, folder, host=None, port=9759):
        self.port = port
        self.log = bench.folder / f"daemon-{port}.log"
        engine = ["-H", host] if host else []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(a) for a in [bench.binary, *engine, "--state-dir",
                                  bench.folder / f"state-{port}", "run", folder,
                                  "--listen", f"127.0.0.1:{port}"]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=bench.environment,
                start_new_session=True)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def statuses(self):
        try:
            items = json.loads(self.get("/api/v1/services"))["items"]
        except (OSError, ValueError):
            return {}
        return {item["service"]: item["status"] for item in items}

    def wait_ready(self, services, patience=120):
        deadline = time.monotonic() + patience
        while True:
            found = self.statuses()
            if all(found.get(service) in ("ready", "degraded") for service in services):
                return
            if self.process.poll() is not None:
                raise EngineError(f"the daemon ended: {self.tail()}")
            if time.monotonic() > deadline:
                raise EngineError(f"not ready in {patience} s: {found}\n{self.tail()}")
            time.sleep(0.1)

    def metric(self, name):
        """The value of one series, by its full name with labels."""
        for line in self.get("/metrics").splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        raise EngineError(f"no metric {name}")

    def tail(self):
        return pathlib.Path(self.log).read_text(errors="replace")[-2000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

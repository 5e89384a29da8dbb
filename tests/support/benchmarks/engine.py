"""The engine's API over its unix socket, without a client in between that takes time itself."""

import http.client
import json
import os
import socket
import threading
import time
import urllib.parse


class EngineError(Exception):
    pass


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """One kept-alive connection; not for several threads."""

    def __init__(self, path):
        self.path = path
        self.connection = _UnixConnection(path, 60)

    @classmethod
    def from_environment(cls):
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not host.startswith("unix://"):
            raise EngineError(f"DOCKER_HOST is {host}: the benchmarks need a unix socket")
        return cls(host.removeprefix("unix://"))

    def call(self, method, path, body=None, missing_ok=False):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        payload = json.dumps(body).encode() if body is not None else None
        try:
            self.connection.request(method, path, payload, headers)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # The engine closes connections that were idle for long.
            self.connection.close()
            self.connection.request(method, path, payload, headers)
            answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400 and not (missing_ok and answer.status == 404):
            raise EngineError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text) if text and answer.status < 400 else None

    def inspect(self, container):
        return self.call("GET", f"/containers/{container}/json")

    def containers(self, project):
        wanted = json.dumps({"label": [f"com.docker.compose.project={project}"]})
        query = urllib.parse.urlencode({"all": "1", "filters": wanted})
        return self.call("GET", f"/containers/json?{query}")

    def version(self):
        return self.call("GET", "/version")


class Events:
    """The stream of `die` and `start` events of containers, in the engine's own times."""

    def __init__(self, path):
        self.seen = []
        self.changed = threading.Condition()
        self.connection = _UnixConnection(path, None)
        wanted = json.dumps({"type": ["container"], "event": ["die", "start"]})
        self.connection.request("GET", "/events?" + urllib.parse.urlencode({"filters": wanted}))
        self.answer = self.connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for line in self.answer:
                event = json.loads(line)
                with self.changed:
                    self.seen.append((event["Action"], event["Actor"]["ID"], event["timeNano"]))
                    self.changed.notify_all()
        except (OSError, ValueError, AttributeError):
            pass  # closed

    def wait(self, action, container, after, patience=60):
        """The time, in nanoseconds, of the first such event at or after `after`."""
        deadline = time.monotonic() + patience
        with self.changed:
            while True:
                for seen in self.seen:
                    if seen[0] == action and seen[1] == container and seen[2] >= after:
                        return seen[2]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise EngineError(f"no `{action}` of {container[:12]} within {patience} s")
                self.changed.wait(left)

    def close(self):
        sock = self.connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

"""Cold start of the five-service chain until everything is ready.

The critical path is what no operator can avoid on a chain: each service's create, start and time
to ready, one after another, by direct calls with the same bodies and a poller of its own that asks
every 10 ms. Only containers count in it, not the network and the volumes.
"""

import http.client
import json
import shutil
import socket
import statistics
import time
import urllib.parse

from .engine import EngineError
from .report import Row, ratios, spread
from .stack import PREFIX, SERVICES

LIMIT = 1.1
POLL = 0.010
PATIENCE = 60


def measure(bench):
    rounds = 2 if bench.quick else 7
    rows = []
    for words, with_stack in [("Docker healthchecks", False), ("drivers", True)]:
        project = f"{PREFIX}-cold{'-drivers' if with_stack else ''}"
        folder = bench.demo(project, with_stack)
        # Without a file named, the Stack in the current folder counts.
        source = [] if with_stack else ["-f", "compose.yaml"]
        ours, peers, paths, parts = [], [], [], []
        bodies = None
        for _ in range(rounds):
            ours.append(_cold(bench, folder, bench.homeostat("apply", *source)))
            bodies = bodies or {s: _body(bench.engine, project, s) for s in SERVICES}
            _down(bench, folder)
            peers.append(_cold(bench, folder, bench.compose(folder, "up", "-d", "--wait")))
            _down(bench, folder)
            part = _critical_path(bench.engine, project, bodies, with_stack)
            parts.append(part)
            paths.append(sum(part.values()))
            _down(bench, folder)
        ratio, over = statistics.median(ratios(ours, peers)), statistics.median(ratios(ours, paths))
        split = ", ".join(f"{key} {statistics.median(p[key] for p in parts):.0f}" for key in parts[0])
        rows.append(Row(f"cold start until ready, {words}", spread(ours, digits=0),
                        f"`up -d --wait` {spread(peers, digits=0)}, ratio {ratio:.2f}",
                        "faster", ratio < 1))
        rows.append(Row(f"the same against its critical path ({split} ms)", f"ratio {over:.3f}",
                        spread(paths, digits=0), f"≤ {LIMIT} ×", over <= LIMIT))
    return rows


def _cold(bench, folder, arguments):
    shutil.rmtree(bench.folder / "state", ignore_errors=True)
    return bench.time(arguments, folder)


def _down(bench, folder):
    bench.time(bench.compose(folder, "down", "-v", "-t", "1"))


def _body(engine, project, service):
    """The body that makes the same container again."""
    seen = engine.inspect(f"{project}-{service}-1")
    networks = {name: {"Aliases": [service]} for name in seen["NetworkSettings"]["Networks"]}
    return {**seen["Config"], "HostConfig": seen["HostConfig"],
            "NetworkingConfig": {"EndpointsConfig": networks}}


def _critical_path(engine, project, bodies, drivers):
    """Milliseconds of create, start and readiness, summed over the chain."""
    label = {"com.docker.compose.project": project}
    engine.call("POST", "/networks/create",
                {"Name": f"{project}_default", "Driver": "bridge", "Labels":
                 {**label, "com.docker.compose.network": "default"}})
    for volume in ("valkey-data", "chroma-data"):
        engine.call("POST", "/volumes/create",
                    {"Name": f"{project}_{volume}", "Labels":
                     {**label, "com.docker.compose.volume": volume}})
    sums = {"create": 0.0, "start": 0.0, "ready": 0.0}
    for service in SERVICES:
        name = f"{project}-{service}-1"
        moments = [time.perf_counter()]
        made = engine.call("POST", f"/containers/create?{urllib.parse.urlencode({'name': name})}",
                           bodies[service])["Id"]
        moments.append(time.perf_counter())
        engine.call("POST", f"/containers/{made}/start")
        moments.append(time.perf_counter())
        if drivers:
            networks = engine.inspect(made)["NetworkSettings"]["Networks"]
            address = networks[f"{project}_default"]["IPAddress"]
            _poll(service, lambda s=service, a=address: ASK[s](a))
        else:
            _poll(service, lambda m=made: engine.inspect(m)["State"]["Health"]["Status"] == "healthy")
        moments.append(time.perf_counter())
        for key, begin, end in zip(sums, moments, moments[1:]):
            sums[key] += (end - begin) * 1000
    return sums


def _poll(service, ready):
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise EngineError(f"{service} isn't ready after {PATIENCE} s")
        time.sleep(POLL)


def _ping(address):
    """Valkey's driver: PING answers PONG."""
    try:
        with socket.create_connection((address, 6379), 0.5) as link:
            link.sendall(b"*1\r\n$4\r\nPING\r\n")
            return link.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _get(port, path, judge=lambda _: True):
    """An HTTP driver: 200, and a body that makes sense."""
    def ask(address):
        connection = http.client.HTTPConnection(address, port, timeout=0.5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return answer.status == 200 and judge(body)
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()
    return ask


def _is_json(kind):
    return lambda body: isinstance(json.loads(body), kind)


COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=1"
ASK = {
    "valkey": _ping,
    "chromadb": _get(8000, COLLECTIONS, _is_json(list)),
    "ollama": _get(11434, "/api/version", _is_json(dict)),
    "comfyui": _get(8188, "/system_stats", _is_json(dict)),
    "discord-bot": _get(3000, "/health"),
}

"""A spontaneous death: from the engine's `die` event to its `start` event, against the engine's
own `restart: always` in the same run.

The process is killed from outside, by its host PID: a kill through the API is another case. Each
container dies once, so that nobody's back-off and no budget of a recovery counts.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

from .engine import Events
from .relay import Relay
from .report import Row, spread
from .stack import PREFIX, Daemon

CONTAINERS = 18
LIMIT_MS = 5
AT_ONCE = pathlib.Path(__file__).with_name("at_once.py")
NOTHING = "/containers/homeostat-bench-nothing/start"


def measure(bench):
    project = f"{PREFIX}-death"
    folder = _write(bench, project, ("own", "no"), ("peer", "always"))
    events = Events(bench.engine.path)
    daemon = Daemon(bench, folder, port=9758)
    try:
        own = [f"own{n}" for n in range(CONTAINERS)]
        daemon.wait_ready([s.replace("own", kind) for s in own for kind in ("own", "peer")])
        ours, peers = [], []
        for turn in range(_rounds(bench)):
            for kind, gaps in (("own", ours), ("peer", peers)):
                time.sleep(1)
                gaps.append(_die(bench.engine, events, f"{project}-{kind}{turn}-1"))
        name = "homeostat_reaction_seconds"
        count, total = daemon.metric(f"{name}_count"), daemon.metric(f"{name}_sum")
        soon = daemon.metric(f'{name}_bucket{{le="0.005"}}')
        mean, theirs = statistics.median(ours), statistics.median(peers)
    finally:
        events.close()
        daemon.stop()
        bench.clean_up()
    rows = [
        Row("a death, `die` to `start`", spread(ours), f"the engine's `restart: always` {spread(peers)}",
            "no slower in the median", mean <= theirs),
        Row("our part, by the daemon's histogram",
            f"mean {total / max(count, 1) * 1000:.1f} ms; {soon:.0f} of {count:.0f} within 5 ms", "", ""),
    ]
    rows.append(_our_part(bench, f"{PREFIX}-part"))
    return rows


def _our_part(bench, project):
    """From the `die` event's arrival to the request, as a relay on the socket sees it, less what
    the relay and a busy machine take by themselves: a client that does nothing but answer is
    measured the same way, in the same run."""
    folder = _write(bench, project, ("own", "no"))
    relay = Relay(bench.engine.path, bench.folder / "death.sock")
    events = Events(bench.engine.path)
    daemon = Daemon(bench, folder, host=relay.host, port=9757)
    parts, floor, client = [], [], None
    try:
        daemon.wait_ready([f"own{n}" for n in range(CONTAINERS)])
        for turn in range(_rounds(bench)):
            time.sleep(1)
            relay.forget()
            _die(bench.engine, events, f"{project}-own{turn}-1")
            relay.settle()
            starts = [at for at, method, path in relay.calls
                      if method == "POST" and path.endswith(("/start", "/restart"))]
            parts.append((starts[0] - relay.deaths[0]) * 1000)
        daemon.stop()
        client = subprocess.Popen([sys.executable, AT_ONCE, relay.path, NOTHING],
                                  stdin=subprocess.DEVNULL)
        for turn in range(_rounds(bench)):
            name = f"{project}-own{turn}-1"
            time.sleep(1)
            relay.forget()
            kill(bench.engine.inspect(name)["State"]["Pid"])
            floor.append((relay.wait_for(NOTHING) - relay.deaths[0]) * 1000)
            time.sleep(1)
            bench.engine.call("POST", f"/containers/{name}/start")
    finally:
        if client:
            client.terminate()
            client.wait()
        events.close()
        daemon.stop()
        relay.close()
        bench.clean_up()
    ours = statistics.median(parts) - statistics.median(floor)
    return Row("our part, event on the socket to request on the socket", f"{ours:.1f} ms",
               f"{spread(parts)}, less a client that answers at once: {spread(floor)}",
               f"≤ {LIMIT_MS} ms", ours <= LIMIT_MS)


def _rounds(bench):
    return 6 if bench.quick else CONTAINERS


def _write(bench, project, *kinds):
    services = {
        f"{kind}{n}": {"image": "homeostat-test/stand-ins:1", "command": ["sleep"],
                       "stop_grace_period": "1s", "restart": restart}
        for kind, restart in kinds for n in range(CONTAINERS)
    }
    folder = bench.folder / project
    folder.mkdir()
    (folder / "compose.yaml").write_text(json.dumps({"name": project, "services": services}))
    return folder


def _die(engine, events, name):
    """Kills the container's process; milliseconds from `die` to `start`."""
    seen = engine.inspect(name)
    before = time.time_ns()
    kill(seen["State"]["Pid"])
    died = events.wait("die", seen["Id"], before)
    return (events.wait("start", seen["Id"], died) - died) / 1e6


def kill(pid):
    """SIGKILL to a process of root."""
    if os.geteuid() == 0:
        os.kill(pid, signal.SIGKILL)
    else:
        subprocess.run(["sudo", "-n", "kill", "-KILL", str(pid)], check=True)

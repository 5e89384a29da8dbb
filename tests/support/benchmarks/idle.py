"""Size and cost of a daemon that has nothing to do, after a past with many restarts.

The five services with all drivers probing at their default intervals, a Prometheus that scrapes
every 15 s, and a relay on the engine's socket that counts the calls.
"""

import collections
import math
import os
import shutil
import subprocess
import threading
import time

from .engine import EngineError, Events
from .relay import Relay
from .report import Row
from .stack import PREFIX, SERVICES, Daemon

LIMIT_RSS = 20.0
LIMIT_ANON = 8.0
LIMIT_CPU = 0.2
SCRAPE = 15
INSPECT_EVERY = 600
STREAM_IDLE = 300  # a stream that is silent for so long is opened anew
LISTS = ("/containers/json", "/networks", "/volumes", "/images/json")
PROMETHEUS_PORT = 9756


def measure(bench):
    return observe(bench, *((20, 120, 60) if bench.quick else (1000, 1800, 600)))


def observe(bench, restarts, settle, window):
    """Rows after so many restarts, so many seconds of rest and so many of watching."""
    project = f"{PREFIX}-idle"
    folder = bench.demo(project)
    relay = Relay(bench.engine.path, bench.folder / "idle.sock")
    daemon = Daemon(bench, folder, host=relay.host, port=9755)
    scraper = None
    try:
        daemon.wait_ready(SERVICES)
        scraper = Prometheus(bench, daemon.port)
        young = _memory(daemon.process.pid)
        bot = f"{project}-discord-bot-1"
        for _ in range(restarts):
            bench.engine.call("POST", f"/containers/{bot}/restart?t=0")
        daemon.wait_ready(SERVICES)
        busy = _memory(daemon.process.pid)
        time.sleep(settle)
        scrapes = scraper.scrapes()
        resyncs = daemon.metric("homeostat_resync_time_seconds_count")
        relay.forget()
        others = Events(bench.engine.path)
        began, cpu = time.monotonic(), _cpu(daemon.process.pid)
        time.sleep(window)
        spent = _cpu(daemon.process.pid) - cpu
        percent = spent / (time.monotonic() - began) * 100
        relay.settle()
        calls = list(relay.calls)
        others.close()
        resyncs = daemon.metric("homeostat_resync_time_seconds_count") - resyncs
        memory = _memory(daemon.process.pid)
        scrapes = scraper.scrapes() - scrapes
        daemon.wait_ready(SERVICES, patience=1)
    finally:
        if scraper:
            scraper.stop()
        daemon.stop()
        relay.close()
        bench.clean_up()
    if scrapes < window // SCRAPE - 1:
        raise EngineError(f"only {scrapes} scrapes in {window} s")
    past = f"after {restarts} restarts and {settle // 60} minutes"
    writes = [f"{method} {path}" for _, method, path in calls if method not in ("GET", "HEAD")]
    return [
        Row(f"VmRSS, idle, {past}", f"{memory['VmRSS']:.1f} MiB",
            f"ready at first {young['VmRSS']:.1f}, after the restarts {busy['VmRSS']:.1f}",
            f"≤ {LIMIT_RSS:.0f} MiB", memory["VmRSS"] <= LIMIT_RSS),
        Row("RssAnon, idle", f"{memory['RssAnon']:.1f} MiB",
            f"ready at first {young['RssAnon']:.1f}, after the restarts {busy['RssAnon']:.1f}",
            f"≤ {LIMIT_ANON:.0f} MiB", memory["RssAnon"] <= LIMIT_ANON),
        Row(f"CPU, idle, over {window} s, children counted", f"{percent:.2f} % of a core",
            f"{scrapes:.0f} scrapes by {scraper.kind}", f"≤ {LIMIT_CPU} %", percent <= LIMIT_CPU),
        Row("engine writes, idle", str(len(writes)), ", ".join(sorted(set(writes))), "0", not writes),
        _calls(calls, resyncs, window, len(others.seen)),
    ]


def _calls(calls, resyncs, window, disturbances):
    """Four lists a resync, one inspect of each container in ten minutes, a new event stream where
    the old one was silent for long, and nothing else.

    Containers of somebody else that start or end meanwhile cost lists, rightly: then there is a
    figure but no verdict.
    """
    made = collections.Counter(path for _, method, path in calls if method == "GET")
    lists = max(made[path] for path in LISTS)
    inspects = sum(n for path, n in made.items()
                   if path.startswith("/containers/") and path.endswith("/json")
                   and path not in LISTS)
    streams = made["/events"]
    other = made.total() - inspects - streams - sum(made[path] for path in LISTS)
    # A resync may lie across each end of the window.
    most_lists = resyncs + 1
    most_inspects = len(SERVICES) * math.ceil(window / INSPECT_EVERY + 1)
    most_streams = math.ceil(window / STREAM_IDLE)
    kept = (lists <= most_lists and inspects <= most_inspects and streams <= most_streams
            and other == 0)
    disturbed = f"not judged: {disturbances} starts and ends of others' containers meanwhile"
    return Row(f"engine calls, idle, in {resyncs:.0f} resyncs",
               f"≤ {lists} of each list, {inspects} inspects, {streams} streams, {other} others",
               disturbed if disturbances else "",
               f"one of each list a resync, {len(SERVICES)} inspects in 10 minutes, a stream in 5",
               None if disturbances else kept)


def _memory(pid):
    """MiB by field of /proc/PID/status."""
    fields = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                fields[name] = int(value.split()[0]) / 1024
    return fields


def _cpu(pid):
    """Seconds of the process and of the children that it waited for."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class Prometheus:
    """A real Prometheus where there is one, otherwise requests like its own."""

    def __init__(self, bench, port):
        self.count = 0
        self.stopped = threading.Event()
        self.process = None
        self.daemon_port = port
        binary = _find(bench)
        if binary is None:
            self.kind = "a loop, there is no Prometheus here"
            self.thread = threading.Thread(target=self._loop, args=(port,), daemon=True)
            self.thread.start()
            return
        self.kind = "Prometheus"
        config = bench.folder / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: {SCRAPE}s}}\n"
            "scrape_configs:\n"
            f"  - {{job_name: homeostat, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n")
        with open(bench.folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                [binary, f"--config.file={config}", f"--storage.tsdb.path={bench.folder}/tsdb",
                 f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def _loop(self, port):
        import urllib.request
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics",
                                         headers={"Accept-Encoding": "gzip"})
        while not self.stopped.wait(SCRAPE):
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
            self.count += 1

    def scrapes(self):
        if self.process is None:
            return self.count
        import json
        import urllib.request
        query = "sum(count_over_time(up%7Bjob%3D%22homeostat%22%7D%5B1d%5D))"
        url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?query={query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return int(result[0]["value"][1]) if result else 0

    def stop(self):
        self.stopped.set()
        if self.process:
            self.process.terminate()
            self.process.wait(30)


def _find(bench):
    """Where tests/support/fetch-prometheus puts it, or one on the path."""
    fetch = bench.repository / "tests" / "support" / "fetch-prometheus"
    if fetch.exists():
        shown = subprocess.run([fetch], capture_output=True, text=True, check=True)
        return shown.stdout.strip().splitlines()[-1] + "/usr/bin/prometheus"
    return shutil.which("prometheus")

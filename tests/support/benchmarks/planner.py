"""Time of one plan: runs `cargo bench --bench planner` and takes over its lines."""

import re
import subprocess

from .report import Row

LINE = re.compile(r"^(?P<case>[^:]+): (?P<n>\d+) services (?P<ms>[\d.]+) ms \((?P<steps>\d+) steps\), "
                  r"twice as many (?P<double>[\d.]+) ms, ratio (?P<ratio>[\d.]+);")
LIMIT_MS = 100
LIMIT_RATIO = 2.3


def measure(bench):
    done = subprocess.run(["cargo", "bench", "--locked", "--bench", "planner"],
                          cwd=bench.repository, capture_output=True, text=True)
    rows = []
    for line in done.stdout.splitlines():
        if found := LINE.match(line):
            case, ms, ratio = found["case"], float(found["ms"]), float(found["ratio"])
            rows.append(Row(f"plan of {found['n']} services, {case} ({found['steps']} steps)",
                            f"{ms:.1f} ms", "", f"≤ {LIMIT_MS} ms", ms <= LIMIT_MS))
            rows.append(Row("the same with twice as many", f"{found['double']} ms",
                            f"ratio {ratio:.2f}", f"≤ {LIMIT_RATIO} ×", ratio <= LIMIT_RATIO))
    if not rows:
        raise RuntimeError(f"the planner benchmark printed nothing:\n{done.stderr[-2000:]}")
    return rows

"""Rows of results, as lines on the terminal and as tables in docs/benchmarks.md."""

import dataclasses
import os
import platform
import re
import statistics


@dataclasses.dataclass
class Row:
    """One figure. `kept` is None for a figure without a limit."""

    figure: str
    ours: str
    peer: str
    limit: str
    kept: bool | None = None

    @property
    def verdict(self):
        return {None: "", True: "PASS", False: "FAIL"}[self.kept]

    def line(self):
        peer = f"; {self.peer}" if self.peer else ""
        limit = f"; limit {self.limit}" if self.limit else ""
        return f"{self.verdict or '    '}  {self.figure}: {self.ours}{peer}{limit}"


def spread(values, unit="ms", digits=1):
    """Median and range, such as «12.3 ms (11.9–14.0)»."""
    return (f"{statistics.median(values):.{digits}f} {unit} "
            f"({min(values):.{digits}f}–{max(values):.{digits}f})")


def ratios(ours, peers):
    """Pairs of one round against each other: what loads the machine loads both."""
    return [mine / theirs for mine, theirs in zip(ours, peers, strict=True)]


def about(bench):
    engine = bench.engine.version()
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, "
            f"Docker Engine {engine['Version']} (API {engine['ApiVersion']}), "
            f"Docker Compose 5.6.1{', quick run' if bench.quick else ''}")


def write(path, name, rows, machine, load):
    """Replaces one measurement's table between its markers; the text around it stays."""
    text = path.read_text(encoding="utf-8")
    lines = [f"<!-- {name} -->", "| figure | measured | peer | limit | |", "|---|---|---|---|---|"]
    lines += [
        "| " + " | ".join([row.figure, row.ours, row.peer, row.limit, row.verdict]) + " |"
        for row in rows
    ]
    lines += ["", f"Measured on {machine}; load before it {load:.1f}.", f"<!-- end {name} -->"]
    pattern = re.compile(rf"<!-- {name} -->.*?<!-- end {name} -->", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{path} has no markers for {name}")
    path.write_text(pattern.sub(lambda _: "\n".join(lines), text), encoding="utf-8")

"""Nothing to do: the whole process, against `docker compose up -d` on the same stack."""

import collections
import statistics

from .relay import Relay
from .report import Row, ratios, spread
from .stack import PREFIX, SERVICES

LIMIT_MS = 30
WITH_HEALTHCHECKS = 1 / 20
WITHOUT = 1.0


def measure(bench):
    runs = 5 if bench.quick else 15
    rows = []
    demo = bench.demo(f"{PREFIX}-apply", with_stack=False)
    plain = bench.plain(f"{PREFIX}-plain", demo)
    for folder, words, limit, limit_words in [
        (demo, "with healthchecks", WITH_HEALTHCHECKS, "≤ 1/20"),
        (plain, "without healthchecks", WITHOUT, "no slower"),
    ]:
        ours = bench.homeostat("apply", "-f", folder / "compose.yaml")
        peer = bench.compose(folder, "up", "-d")
        bench.time(ours)
        bench.time(peer)
        # In turns, so that what else loads the machine loads both.
        pairs = [(bench.time(ours), bench.time(peer)) for _ in range(runs)]
        mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        ratio = statistics.median(ratios(mine, theirs))
        rows.append(Row(f"`apply`, nothing to do, {words}", spread(mine), "",
                        f"≤ {LIMIT_MS} ms", statistics.median(mine) <= LIMIT_MS))
        rows.append(Row("the same against `docker compose up -d`", f"ratio {ratio:.3f}",
                        spread(theirs, digits=0), limit_words, ratio <= limit))
        if folder is demo:
            rows.append(_calls(bench, folder))
        bench.time(bench.compose(folder, "down", "-v"))
    return rows


def _calls(bench, folder):
    relay = Relay(bench.engine.path, bench.folder / "apply.sock")
    bench.time(bench.homeostat("apply", "-f", folder / "compose.yaml", host=relay.host))
    relay.settle()
    relay.close()
    made = collections.Counter(f"{method} {_endpoint(path)}" for _, method, path in relay.calls)
    wanted = collections.Counter({
        "GET /info": 1, "GET /containers/json": 1, "GET /networks": 1, "GET /volumes": 1,
        "GET /images/json": 1, "GET /containers/ID/json": len(SERVICES),
    })
    others = ", ".join(f"{call} ×{n}" for call, n in ((made - wanted) + (wanted - made)).items())
    return Row("its engine calls", f"{made.total()}{f' (differing: {others})' if others else ''}",
               "", f"5 + {len(SERVICES)}", made == wanted)


def _endpoint(path):
    parts = path.split("/")
    if len(parts) == 4 and parts[1] == "containers":
        parts[2] = "ID"
    return "/".join(parts)

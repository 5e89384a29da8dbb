"""The engine's calls of a daemon that has nothing to do, on an engine where nothing else happens.

They depend on no past, so that a rest of a minute and a watch of ten are enough, where `idle` takes
most of an hour and nobody else can use the engine so long.
"""

from . import idle


def measure(bench):
    window = 60 if bench.quick else 600
    return [row for row in idle.observe(bench, 5, 60, window) if row.figure.startswith("engine")]

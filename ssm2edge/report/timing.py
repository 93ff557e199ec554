"""Time of a call: onnxruntime's profile by layer and by kind of node."""

from __future__ import annotations

from collections import defaultdict

from ssm2edge.artifact import Profile
from ssm2edge.report.chart import Chart, linear
from ssm2edge.report.table import drawn, table
from ssm2edge.report.words import count, percent, seconds, short

KINDS = 7
"""Kinds of nodes with a colour of their own; the others share one."""
REST, TOGETHER = "rest of the network", "layers together"
NAMES = {"": REST, "*": TOGETHER}
"""Names of shares that belong to no single layer."""


def timing(profile: Profile, number: int) -> str:
    """Draw one graph: a bar for each layer, divided by kinds of nodes."""
    by_kind: dict[str, float] = defaultdict(float)
    by_layer: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    nodes: dict[str, int] = defaultdict(int)
    for share in profile.shares:
        by_kind[share.kind] += share.seconds
        nodes[share.kind] += share.nodes
    total = sum(by_kind.values())
    named = sorted(by_kind, key=lambda kind: -by_kind[kind])[:KINDS]
    for share in profile.shares:
        by_layer[NAMES.get(share.layer, share.layer)][share.kind if share.kind in named else "others"] += share.seconds
    last = [name for name in (TOGETHER, REST) if name in by_layer]
    names = sorted(name for name in by_layer if name not in last) + last
    colours = {kind: f"kind{index}" for index, kind in enumerate(named)} | {"others": "kind-others"}
    label = f"Time of one call of {profile.graph} by layer and kind of node"
    chart = Chart(f"time-{number}", label, height=56.0 + 34 * len(names), left=132)
    x = linear([1e6 * sum(parts.values()) for parts in by_layer.values()], *chart.across, zero=True)
    chart.axes(x, None, "microseconds")
    step = (chart.up[0] - chart.up[1]) / max(1, len(names))
    for index, name in enumerate(names):
        middle, at = chart.up[1] + (index + 0.5) * step, 0.0
        chart.write(chart.left - 8, middle + 4, name if name in last else short(name, 14), "end")
        for kind in [*named, "others"]:
            value = by_layer[name].get(kind, 0.0) * 1e6
            if value > 0:
                chart.bar(x(at), middle - 9, x(at + value) - x(at), 18, colours[kind], f"{name}, {kind}: {seconds(value * 1e-6)}")
                at += value
    legend = [(f"block {colours[kind]}", kind) for kind in named]
    if any("others" in parts for parts in by_layer.values()):
        legend.append(("block kind-others", "others"))
    kinds = [(kind, count(nodes[kind]), seconds(by_kind[kind]), percent(by_kind[kind] / total, 1)) for kind in named]
    layers = [(name, seconds(sum(parts.values())), percent(sum(parts.values()) / total, 1)) for name, parts in
              ((name, by_layer[name]) for name in names)]  # fmt: skip
    steps = f"{count(profile.steps)} time step" + ("s" if profile.steps > 1 else "")
    note = (
        f"One call of {steps}, batch 1, one thread: {seconds(total)} inside nodes, medians of {profile.calls} calls under "
        "onnxruntime's profiler, which itself costs a little per node."
    )
    numbers = table(("layer", "time", "share"), layers) + table(("kind of node", "nodes", "time", "share"), kinds)
    return drawn(profile.graph, chart, legend, note, numbers, wide=True)

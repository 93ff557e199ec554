"""The tables of docs/tables.md, docs/results.md and README, in Markdown, from the stored JSON alone."""

from __future__ import annotations

from typing import Any

from retraining_table import Retraining, markdown, retraining_of

TITLES = {
    "digits": "digits: S4D, MNIST pixel by pixel",
    "fashion": "fashion: S5, Fashion-MNIST row by row",
    "activity": "activity: LRU, movements from a watch",
    "keywords": "keywords: S4 (DPLR), spoken words (synthetic)",
    "text": "text: bidirectional S4D, mails as bytes",
    "sysid": "sysid: LRU with quadratic outputs, a simulated nonlinear system",
}
SHORT = {
    "singular_perturbation": "BSP", "modal_singular_perturbation": "MSP", "balanced": "BT", "modal": "MT", "last": "LAST",
    "aire": "AIRE", "tlh2": "TLH2", "hippo": "HiPPO", "no data": "no data",
}  # fmt: skip
NO_DATA = "no data"
"""`match` on synthetic signals, from the shape, mean and deviation of the inputs alone."""
THEIRS = (
    (
        "Sakamoto and Sato, arXiv 2510.14542 (IMDb), first version",
        "about 80 % of the parameters removed, without retraining",
        "a drop of 4 to 5 %",
    ),
    (
        "Sakamoto and Sato, second version",
        "about 60 % of the parameters removed, without retraining",
        "the original accuracy",
    ),
    ("Sakamoto and Sato", "retrained from TLH2 and gradient", "0.8660 test accuracy"),
)
"""Claims of the founding paper, as its authors state them."""

INTRODUCTION = """# Tables

Every figure of the six shipped models, by method and size; [results.md](results.md) has the short form.
`scripts/reproduce_tables.py` writes this page from `models/*/results/tables.json`, and a test compares the two. Nothing is
retrained and no label is used, unless a column says so. Sizes are shares of each layer's states.

The first nine columns see no sample: balanced truncation (BT) and singular perturbation (BSP), modal truncation (MT) and singular
perturbation (MSP), the pole scores of LAST and AIRE, TLH2 alone, a HiPPO initialisation of the order, and `gradient`, which
minimises the h2 error. `spectrum` and `match` are values of `--calibrate` and see the unlabelled calibration samples. `retrained`
continues with labels for a few epochs from what `match` left (`--retrain scripts/finetune.py:NAME`); a tenth of the training part
is held back and chooses the epoch.
"""


def divisors_of(figures: dict[str, Any]) -> list[int]:
    """Sizes there are figures for, the largest model first."""
    return sorted({int(key.rpartition("/")[2]) for key in figures.get("cells", {})})


def ways_of(figures: dict[str, Any], order: tuple[str, ...]) -> list[str]:
    """Ways there are figures for, in this order."""
    sizes = divisors_of(figures)
    return [way for way in order if any(value(figures, way, divisor) is not None for divisor in sizes)]


def loss(figures: dict[str, Any], value: float) -> float:
    """Points of accuracy lost, or per cent by which the NRMSE rose."""
    before = float(figures["original"]["value"])
    return 100 * (value / before - 1) if figures["metric"] == "nrmse" else 100 * (before - value)


def order_at(figures: dict[str, Any], divisor: int) -> int:
    """States of a system at a size, as `table_figures.py` counts them."""
    states: int = max(figures["original"]["orders"].values())
    return max(1, round(states / divisor))


def retrained(figures: dict[str, Any], divisor: int, start: str = "match") -> Retraining | None:
    """The retraining of a size from a start, if there is one."""
    return retraining_of(figures["retraining"], order_at(figures, divisor), start) if "retraining" in figures else None


def value(figures: dict[str, Any], way: str, divisor: int) -> float | None:
    """The metric of a way at a size, if it was measured."""
    if way == "retrained":
        best = retrained(figures, divisor)
        return None if best is None else best.mean
    if way == NO_DATA:
        found = figures.get("without_data", {}).get(f"1/{divisor}")
        return None if found is None else float(found["value"])
    cell = figures.get("cells", {}).get(f"{way} 1/{divisor}")
    return None if cell is None else float(cell["value"])


def lost(figures: dict[str, Any], way: str, divisor: int) -> str:
    """A loss as text, with its unit; empty where there is no figure."""
    measured = value(figures, way, divisor)
    if measured is None:
        return ""
    # Not the other way round: -0.0 is no loss either.
    points = round(loss(figures, measured), 2) + 0.0
    return f"{points:+.1f} %" if figures["metric"] == "nrmse" else f"{points:.2f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def methods(figures: dict[str, Any]) -> str:
    """Return the metric of one model by states kept and method."""
    ways = ("balanced", "singular_perturbation", "modal", "last", "aire", "tlh2", "gradient", "spectrum", "match")
    rows = [
        [str(order_at(figures, size)), *("" if (found := value(figures, way, size)) is None else f"{found:.4f}" for way in ways)]
        for size in divisors_of(figures)
    ]
    kept = f"states kept per channel (of {order_at(figures, 1)})"
    before = f"Accuracy of the original: {figures['original']['value']:.4f}."
    return f"{table([kept, *(f'`{way}`' for way in ways)], rows)}\n\n{before}"


def summary(known: dict[str, dict[str, Any]]) -> str:
    """Return one line for each model: its metric, and what `match` loses at each size."""
    sizes = (4, 8, 16, 32)
    rows = []
    for name, figures in known.items():
        original = figures["original"]
        removed = ""
        if "match 1/8" in figures["cells"]:
            cell = figures["cells"]["match 1/8"]
            removed = f"{100 * (1 - cell['ssm_parameters'] / original['ssm_parameters']):.0f} %, "
            removed += f"{100 * (1 - cell['parameters'] / original['parameters']):.0f} %"
        measure = "NRMSE " if figures["metric"] == "nrmse" else ""
        cells = [lost(figures, "match", size) for size in sizes]
        cells += [lost(figures, NO_DATA, size) for size in (8, 16)]
        cells.append(lost(figures, "retrained", 16))
        cells.append(f"{lost(figures, 'gradient', 8)}; {lost(figures, 'balanced', 8)}")
        rows.append(
            [f"[{name}](../models/{name})", f"{measure}{original['value']:.4f}", str(original["samples"]), *cells, removed]
        )
    header = ["model", "original", "held out", *(f"lost at 1/{size}" for size in sizes)]
    header += ["no data: 1/8", "no data: 1/16", "1/16, retrained", "1/8 without calibration: `gradient`; BT"]
    header += ["parameters removed at 1/8: SSM, all"]
    note = (
        "Losses of `match`, without labels, unless the column says otherwise: points of accuracy; for sysid per cent by which "
        "the NRMSE rises. Negative: better than the original. No data: `match` on synthetic signals, which know the shape, mean "
        "and deviation of the inputs (or how many symbols there are) and nothing else; means over seeds."
    )
    return f"{table(header, rows)}\n\n{note}\n"


def overview(known: dict[str, dict[str, Any]]) -> str:
    """Return README's table: the metric and the parameters of each model before and after, an eighth of the states kept."""
    rows = []
    for name, figures in known.items():
        original, cell = figures["original"], figures["cells"]["match 1/8"]
        measure = "NRMSE" if figures["metric"] == "nrmse" else "accuracy"
        rows.append(
            [
                f"[{name}](models/{name})",
                TITLES[name].partition(": ")[2],
                f"{measure} {original['value']:.4f} to {cell['value']:.4f}",
                "" if (blind := value(figures, NO_DATA, 8)) is None else f"{blind:.4f}",
                f"{original['parameters']:,} to {cell['parameters']:,}",
            ]
        )
    return table(["model", "layers, task", "on held-out samples", "no data", "parameters of the whole model"], rows) + "\n"


def retraining(known: dict[str, dict[str, Any]]) -> str:
    """One line for each model: what a sixteenth of its states reaches before and after retraining, by its start."""
    starts = ("match", "gradient", "balanced", "hippo")
    rows = []
    for name, figures in known.items():
        measure = "NRMSE " if figures["metric"] == "nrmse" else ""
        row = [name, f"{measure}{figures['original']['value']:.4f}"]
        found = [retrained(figures, 16, start) for start in starts]
        row += ["" if one is None else f"{value(figures, one.start, 16) or 0:.4f} to {one.mean:.4f}" for one in found]
        seeds = sorted({len(one.after) for one in found if one is not None})
        rows.append([*row, " to ".join(map(str, seeds[:: max(1, len(seeds) - 1)]))])
    return table(["model", "original", *(f"`{start}`" for start in starts), "seeds"], rows) + "\n"


def claims(known: dict[str, dict[str, Any]]) -> str:
    """The founding paper's claims beside ours."""
    rows = [[who, what, outcome] for who, what, outcome in THEIRS]
    for name, figures in known.items():
        original = figures["original"]
        unit = "" if figures["metric"] == "nrmse" else " points"
        for divisor in (8, 16):
            cell = figures["cells"].get(f"match 1/{divisor}")
            if cell is not None:
                share = 100 * (1 - cell["parameters"] / original["parameters"])
                what = f"{share:.0f} % of all parameters removed (1/{divisor} of the states), without retraining"
                change = f"{original['value']:.4f} to {cell['value']:.4f} ({lost(figures, 'match', divisor)}{unit})"
                rows.append([f"{name}, `match`", what, change])
                blind = value(figures, NO_DATA, divisor)
                if blind is not None:
                    change = f"{original['value']:.4f} to {blind:.4f} ({lost(figures, NO_DATA, divisor)}{unit})"
                    rows.append([f"{name}, no data", what, change])
        for best in dict.fromkeys((retrained(figures, 16), retrained(figures, 16, "hippo"))):
            if best is not None:
                rows.append([f"{name}, retrained", *_retraining(best, figures)])
    head = "Theirs are their own figures, on another task and model (IMDb): no comparison of heights.\n\n"
    return head + table(["who", "what", "lost"], rows) + "\n"


def _retraining(best: Retraining, figures: dict[str, Any]) -> tuple[str, str]:
    original = figures["original"]["value"]
    seeds = f"mean over {len(best.after)} seeds" if len(best.after) > 1 else "one seed"
    start = "a fresh `hippo` initialisation" if best.start == "hippo" else f"`{best.start}`"
    what = f"1/16 of the states, {figures['retraining']['epochs']} epochs with labels from {start} ({seeds})"
    if figures["metric"] == "nrmse":
        return what, f"{best.mean:.4f}: {best.mean / original:.2f} times the original's error"
    return what, f"{best.mean:.4f}: {100 * best.mean / original:.1f} % of the original's accuracy"


def accuracies(figures: dict[str, Any]) -> str:
    """The metric by size and way."""
    order = (
        "balanced", "singular_perturbation", "modal", "modal_singular_perturbation", "last", "aire", "tlh2", "hippo", "gradient",
        NO_DATA, "spectrum", "match", "retrained",
    )  # fmt: skip
    ways = ways_of(figures, order)
    rows = []
    for divisor in divisors_of(figures):
        values = [value(figures, way, divisor) for way in ways]
        rows.append([f"1/{divisor}", *("" if one is None else f"{one:.4f}" for one in values)])
    return table(["states kept", *(SHORT.get(way, f"`{way}`") for way in ways)], rows) + "\n"


def sizes(figures: dict[str, Any]) -> str:
    """What each size means: states, parameters, errors and bounds of `match`, files and latencies."""
    original = figures["original"]
    rows = [
        ["1", f"{original['states']:,}", f"{original['ssm_parameters']:,}", f"{original['parameters']:,}", "", "", "", "", "", ""]
    ]
    for divisor in divisors_of(figures):
        cell = figures["cells"].get(f"match 1/{divisor}")
        plain = figures["cells"].get(f"gradient 1/{divisor}")
        some = cell or plain or next(value for key, value in figures["cells"].items() if key.endswith(f" 1/{divisor}"))
        errors = " / ".join(
            f"{one['h2_error_relative']:.2g}" if one and "h2_error_relative" in one else "" for one in (plain, cell)
        )
        bounds = [((one or {}).get("bound") or {}).get("estimated") for one in (plain, cell)]
        row = [f"1/{divisor}", f"{some['states']:,}", f"{some['ssm_parameters']:,}", f"{some['parameters']:,}", errors]
        row.append(" / ".join("" if bound is None else f"{bound:.2g}" for bound in bounds))
        graphs = figures.get("deployed", {}).get(f"1/{divisor}")
        if graphs is None:
            rows.append([*row, "", "", "", ""])
            continue
        row.append(" + ".join(f"{size / 1024:.0f}" for size in graphs["bytes"].values()) + " KiB")
        if "seconds" not in graphs:
            rows.append([*row, "", "", ""])
            continue
        ratio, low, high = graphs["offline_to_original"]
        seconds = graphs["seconds"]
        row += [
            f"{seconds['offline'] * 1e3:.2f} ms",
            f"{1 / ratio:.1f} ({1 / high:.1f} to {1 / low:.1f})",
            f"{seconds['step'] * 1e6:.0f} us" if "step" in seconds else "does not stream",
        ]
        rows.append(row)
    header = ["states kept", "states", "SSM parameters", "all parameters", "relative h2 error: `gradient` / `match`"]
    header += [
        "estimated bound: `gradient` / `match`",
        "graphs (offline + stream)",
        "offline",
        "times faster than the original",
        "one step",
    ]
    return table(header, rows) + "\n"


def page(known: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Summary\n", summary(known), "## Claims of the founding paper, and ours\n", claims(known)]
    for name, figures in known.items():
        metric = "NRMSE (smaller is better)" if figures["metric"] == "nrmse" else "Accuracy"
        original = figures["original"]
        parts += [
            f"## {TITLES.get(name, name)}\n",
            f"![{name}](../models/{name}/results/tables.svg)\n",
            f"{metric} on {original['samples']} held-out samples; the original has {original['value']:.4f}.\n",
            accuracies(figures),
            sizes(figures),
        ]
        timed = [graphs for graphs in figures.get("deployed", {}).values() if "seconds" in graphs]
        if timed:
            first = timed[0]
            parts.append(
                f"Latency: one sequence, one thread, {first['processor']}, medians of {first['rounds']} interleaved rounds; "
                "the original is the PyTorch model as shipped, which builds its kernels in every call (docs/speed.md has it with "
                "cached ones, too). Bounds and errors relative to the size of the outputs and of the layers; the h2 error is "
                "that for white input, which calibration trades away.\n"
            )
        if "retraining" in figures:
            parts += ["Retrained with labels, orders in real states per system:\n", markdown(figures["retraining"])]
    return "\n".join(parts)

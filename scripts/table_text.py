"""The page of figures, in Markdown, from nothing but the stored JSON."""

from __future__ import annotations

from typing import Any

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
    "aire": "AIRE", "tlh2": "TLH2", "hippo": "HiPPO",
}  # fmt: skip
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

Written by `scripts/reproduce_tables.py` from the figures in `models/*/results/tables.json`; a test compares. Nothing is retrained
and no label is used, unless a line says so. Sizes are shares of each layer's states. The first nine columns see no sample:
balanced truncation (BT) and singular perturbation (BSP), modal truncation (MT) and singular perturbation (MSP), the pole scores
of LAST and AIRE, TLH2 alone, a HiPPO initialisation of the order, and `gradient`, the smallest h2 error found. `spectrum` and
`match` are `--calibrate`: they see the unlabelled calibration samples.
"""


def retrained(runs: list[dict[str, Any]], states: int) -> list[tuple[str, float, int, float]]:
    """Start, divisor of the states, seeds and mean accuracy of retrainings that `finetune.py` has stored, one rate each."""
    groups: dict[tuple[str, int, int, float], list[float]] = {}
    for run in runs:
        key = (run["initialisation"], run["order"], run["epochs"], run.get("learning_rate", 0.0))
        groups.setdefault(key, []).append(run["held_out_accuracy"])
    return [
        (f"{start}, {epochs} epochs, rate {rate:g}", states / order, len(values), sum(values) / len(values))
        for (start, order, epochs, rate), values in sorted(groups.items())
    ]


def divisors_of(figures: dict[str, Any]) -> list[int]:
    """Sizes there are figures for, the largest model first."""
    return sorted({int(key.rpartition("/")[2]) for key in figures.get("cells", {})})


def ways_of(figures: dict[str, Any], order: tuple[str, ...]) -> list[str]:
    """Ways there are figures for, in this order."""
    found = {key.rpartition(" ")[0] for key in figures.get("cells", {})}
    return [way for way in order if way in found]


def loss(figures: dict[str, Any], value: float) -> float:
    """Points of accuracy lost, or per cent by which the NRMSE rose."""
    before = float(figures["original"]["value"])
    return 100 * (value / before - 1) if figures["metric"] == "nrmse" else 100 * (before - value)


def lost(figures: dict[str, Any], key: str) -> str:
    """A loss as text, with its unit; empty where there is no figure."""
    if key not in figures.get("cells", {}):
        return ""
    # Not the other way round: -0.0 is no loss either.
    value = round(loss(figures, figures["cells"][key]["value"]), 2) + 0.0
    return f"{value:+.1f} %" if figures["metric"] == "nrmse" else f"{value:.2f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def summary(known: dict[str, dict[str, Any]]) -> str:
    """One line for each model: what it reaches, and what `match` loses at each size."""
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
        cells = [lost(figures, f"match 1/{size}") for size in sizes]
        cells.append(f"{lost(figures, 'gradient 1/8')}; {lost(figures, 'balanced 1/8')}")
        rows.append(
            [f"[{name}](../models/{name})", f"{measure}{original['value']:.4f}", str(original["samples"]), *cells, removed]
        )
    header = ["model", "original", "held out", *(f"lost at 1/{size}" for size in sizes)]
    header += ["1/8 without samples: `gradient`; BT", "parameters removed at 1/8: SSM, all"]
    note = (
        "Losses of `match`: points of accuracy; for sysid per cent by which the NRMSE rises. Negative: better than the original."
    )
    return f"{table(header, rows)}\n\n{note}\n"


def claims(known: dict[str, dict[str, Any]]) -> str:
    """The founding paper's claims beside ours."""
    rows = [[who, what, outcome] for who, what, outcome in THEIRS]
    for name, figures in known.items():
        for key in ("match 1/8", "match 1/16"):
            if key in figures["cells"]:
                cell, original = figures["cells"][key], figures["original"]
                share = 100 * (1 - cell["parameters"] / original["parameters"])
                what = f"{share:.0f} % of all parameters removed ({key.split()[1]} of the states), without retraining"
                unit = "" if figures["metric"] == "nrmse" else " points"
                rows.append(
                    [f"{name}, `match`", what, f"{original['value']:.4f} to {cell['value']:.4f} ({lost(figures, key)}{unit})"]
                )
        for start, share, seeds, value in figures.get("retrained", []):
            relative = 100 * value / figures["original"]["value"]
            runs = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
            what = f"1/{share:g} of the states, retrained with labels from `{start}` ({runs})"
            rows.append([f"{name}, retrained", what, f"{value:.4f}: {relative:.1f} % of the original's accuracy"])
    head = "Theirs are their own figures, on another task and model (IMDb): no comparison of heights.\n\n"
    return head + table(["who", "what", "lost"], rows) + "\n"


def accuracies(figures: dict[str, Any]) -> str:
    """The metric by size and way."""
    order = (
        "balanced", "singular_perturbation", "modal", "modal_singular_perturbation", "last", "aire", "tlh2", "hippo", "gradient",
        "spectrum", "match",
    )  # fmt: skip
    ways = ways_of(figures, order)
    rows = []
    for divisor in divisors_of(figures):
        cells = [figures["cells"].get(f"{way} 1/{divisor}") for way in ways]
        rows.append([f"1/{divisor}", *("" if cell is None else f"{cell['value']:.4f}" for cell in cells)])
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
        bound = (cell or {}).get("bound") or {}
        row = [f"1/{divisor}", f"{some['states']:,}", f"{some['ssm_parameters']:,}", f"{some['parameters']:,}", errors]
        row.append(f"{bound['estimated']:.2g}" if "estimated" in bound else "")
        graphs = figures.get("deployed", {}).get(f"1/{divisor}")
        if graphs is None:
            rows.append([*row, "", "", "", ""])
            continue
        ratio, low, high = graphs["offline_to_original"]
        seconds = graphs["seconds"]
        row += [
            " + ".join(f"{size / 1024:.0f}" for size in graphs["bytes"].values()) + " KiB",
            f"{seconds['offline'] * 1e3:.2f} ms",
            f"{1 / ratio:.1f} ({1 / high:.1f} to {1 / low:.1f})",
            f"{seconds['step'] * 1e6:.0f} us" if "step" in seconds else "does not stream",
        ]
        rows.append(row)
    header = ["states kept", "states", "SSM parameters", "all parameters", "relative h2 error: `gradient` / `match`"]
    header += ["estimated bound of `match`", "graphs (offline + stream)", "offline", "times faster than the original", "one step"]
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
        if figures.get("deployed"):
            first = next(iter(figures["deployed"].values()))
            parts.append(
                f"Latency: one sequence, one thread, {first['processor']}, medians of {first['rounds']} interleaved rounds; "
                "the original is the PyTorch model as shipped, which builds its kernels in every call (docs/speed.md has it with "
                "cached ones, too). Bounds and errors relative to the size of the outputs and of the layers; the h2 error is "
                "that for white input, which calibration trades away.\n"
            )
    return "\n".join(parts)

"""Orders of the layers and bits of the weights around them, for one budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ssm2edge.errors import UserError
from ssm2edge.orders.fitting import out_of_reach
from ssm2edge.orders.judging import Judged, measured_error
from ssm2edge.orders.request import Request
from ssm2edge.orders.search import Candidates, Progress, Reducer
from ssm2edge.orders.splitting import Level, Levels, Split, cost_of, largest_split, layer_levels, scaled, smallest
from ssm2edge.orders.study import DIRECT
from ssm2edge.quantisation import PLAIN
from ssm2edge.reduction import Reduction


@dataclass(frozen=True, eq=False)
class Around:
    """The weights around the layers.

    Attributes
    ----------
    levels
        Returns their levels by bits.
    measured
        Bytes of the largest graph, from the layers' reductions and the weights' bits, those of float32 too; without any bits,
        those of the graph around which nothing is rounded or tuned.
    """

    levels: Callable[[], Levels]
    measured: Callable[[Mapping[str, Reduction], Mapping[str, int]], int]


@dataclass(frozen=True)
class ChosenBits:
    """Bits of the weights around the layers, and the reason for each, by name; those that stay as they are have no bits."""

    bits: dict[str, int]
    reasons: dict[str, str]


def choose_jointly(
    request: Request, judged: Judged, around: Around, progress: Progress
) -> tuple[dict[str, Reduction], ChosenBits]:
    """Choose each layer's order and each weight's bits within a largest number of bytes.

    The split that is measured first says how far calibration lessens the layers' errors; the second one counts with that.

    Raises
    ------
    UserError
        If not even one state a channel and the fewest bits fit; the sentence says what they take.
    """
    assert request.max_bytes is not None
    candidates, systems = Candidates(judged, progress), judged.task.systems
    progress("what the bits of each weight cost")
    weights = around.levels()
    layers = layer_levels(candidates.choice.curves("one_layer"), systems, candidates.choice.size)
    direct = Reducer(replace(judged, method=DIRECT)).plain
    known: dict[tuple[int, ...], int] = {}

    def measured(found: Split) -> int:
        key = tuple(found.values())
        if key not in known:
            orders, bits = of_layers(found), of_weights(found)
            progress(
                f"orders {', '.join(map(str, orders.values()))}, bits {', '.join(map(str, bits.values()))}: bytes of the graphs"
            )
            known[key] = around.measured(direct(orders), bits)
        return known[key]

    def of_layers(found: Split) -> dict[str, int]:
        return {name: found[name] for name in layers}

    def of_weights(found: Split) -> dict[str, int]:
        return {name: found[name] for name in weights}

    first = largest_split({**layers, **weights}, request.max_bytes, measured)
    if first is None:
        # Nodes that expand few integers can take more bytes than these save.
        fewest = smallest({**layers, **weights})
        plain = around.measured(direct(of_layers(fewest)), {})
        if plain > request.max_bytes:
            raise UserError(out_of_reach(request, min(measured(fewest), plain)))
        first = {**fewest, **dict.fromkeys(weights, PLAIN)}
    expected = cost_of(layers, of_layers(first))
    left = measured_error(judged, candidates.reducer(of_layers(first))) ** 2
    calibrated = scaled(layers, min(1.0, left / expected) if expected > 0 else 1.0)
    found = largest_split({**calibrated, **weights}, request.max_bytes, measured) or first
    bits = of_weights(found)
    reasons = {name: _reason(weights[name], count) for name, count in bits.items()}
    kept = {name: count for name, count in bits.items() if count != PLAIN}
    return candidates.reducer(of_layers(found)), ChosenBits(kept, reasons)


def _reason(levels: Mapping[int, Level], bits: int) -> str:
    budget = "the budget of bytes for states and weights"
    if bits != PLAIN:
        return f"{budget} leaves these bits, by which the outputs deviate by {100 * levels[bits].cost ** 0.5:.2g} %"
    return f"{budget} has room for all bits" if len(levels) > 1 else f"in {budget} fewer bits save nothing, nodes included"

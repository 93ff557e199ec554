"""Fewer numbers or fewer bits: what mixing matrices lose at equal bytes, measured on the shipped models without any tuning.

    python scripts/fewer_numbers.py [MODEL ...]

Every weight outside of the layers (the layers keep all their states) is rounded for the covariance of its inputs, to 4 or 3 bits;
or written as two factors, from the singular values of W C^(1/2), each rounded to 8 or 4 bits; or loses the inputs that are missed
least, the others making up for them, and is rounded to 4 bits.  Ranks and inputs are as many as the same bytes hold.  For each
model: the change of the outputs on 64 calibration samples, relative, in hundredths, of all weights at once; and how many matrices
would be smaller in error as factors, or with fewer inputs, than in bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click
import torch
from torch import Tensor

from ssm2edge.layers import replace_layers
from ssm2edge.loading.source import open_source
from ssm2edge.pipeline import load
from ssm2edge.quantisation import Inputs, Weight, inputs_of, steps_of, weights_of
from ssm2edge.quantisation.compensated import DAMPING, compensated
from ssm2edge.quantisation.grid import GROUP

MODELS = Path(__file__).resolve().parent.parent / "models"
SHIPPED = ("digits", "fashion", "activity", "keywords", "sysid")
SAMPLES = 64


def stored(shape: tuple[int, int], bits: int) -> float:
    """Bytes of a matrix in integers, with its steps."""
    rows, columns = shape
    return rows * columns * bits / 8 + 2 * rows * (1 if bits == 8 else max(columns // GROUP, 1))


def rounded(matrix: Tensor, covariance: Tensor, bits: int) -> Tensor:
    return compensated(matrix, steps_of(matrix, bits, covariance.diagonal().clamp_min(1e-12)), covariance)


def factors(matrix: Tensor, covariance: Tensor, rank: int, bits: int) -> Tensor:
    """The matrix as two factors of a rank, nearest in the outputs, the second rounded for the errors of the first."""
    root = torch.linalg.cholesky(covariance)
    _, values, right = torch.linalg.svd(matrix @ root, full_matrices=False)
    inner = torch.linalg.solve_triangular(root, (values[:rank, None].sqrt() * right[:rank]), upper=False, left=False)
    inner = rounded(inner, covariance, bits)
    inside = inner @ covariance @ inner.mT
    inside = inside + 1e-9 * inside.diagonal().mean() * torch.eye(rank, dtype=inside.dtype)
    outer = torch.linalg.solve(inside, inner @ covariance @ matrix.mT).mT
    return rounded(outer, inside, bits) @ inner


def fewer_inputs(matrix: Tensor, covariance: Tensor, count: int, bits: int) -> Tensor:
    """The matrix without the inputs that are missed least, one after another; those that stay make up for them."""
    kept = list(range(matrix.shape[1]))
    current = matrix.clone()
    while len(kept) > count:
        inverse = torch.linalg.inv(covariance[kept][:, kept])
        costs = current[:, kept].square().sum(0) / inverse.diagonal()
        place = int(costs.argmin())
        current[:, kept] -= torch.outer(current[:, kept[place]] / inverse[place, place], inverse[place])
        current[:, kept[place]] = 0
        del kept[place]
    part = covariance[kept][:, kept]
    result = torch.zeros_like(matrix)
    size = GROUP // 4
    padded = -(-len(kept) // size) * size
    wide, of_wide = torch.zeros(len(matrix), padded, dtype=matrix.dtype), torch.eye(padded, dtype=matrix.dtype) * 1e-9
    wide[:, : len(kept)], of_wide[: len(kept), : len(kept)] = current[:, kept], part
    result[:, kept] = rounded(wide, of_wide, bits)[:, : len(kept)]
    return result


def rank_of(shape: tuple[int, int], room: float, bits: int) -> int:
    rows, columns = shape
    found = [r for r in range(1, min(shape) + 1) if stored((rows, r), bits) + stored((r, columns), bits) <= room]
    return max(found, default=0)


Form = Callable[[Tensor, Tensor, float], Tensor | None]


def as_factors(bits: int) -> Form:
    def form(matrix: Tensor, covariance: Tensor, room: float) -> Tensor | None:
        rank = rank_of((matrix.shape[0], matrix.shape[1]), room, bits)
        return factors(matrix, covariance, rank, bits) if rank else None

    return form


def as_fewer_inputs(matrix: Tensor, covariance: Tensor, room: float) -> Tensor | None:
    count = int(matrix.shape[1] * room / stored((matrix.shape[0], matrix.shape[1]), 4))
    return fewer_inputs(matrix, covariance, count, 4) if count else None


FORMS: dict[str, Form] = {"factors of 8 bits": as_factors(8), "factors of 4 bits": as_factors(4), "fewer inputs": as_fewer_inputs}


def damped(inputs: Inputs, weight: Weight) -> Tensor:
    covariance = inputs.covariance(centred=weight.bias is not None)
    return covariance + DAMPING * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def table_row(name: str) -> list[str]:
    task = load(open_source(str(MODELS / name)))
    network = replace_layers(task.model, task.systems).eval()
    axes = task.samples.calibration
    batch = tuple(torch.from_numpy(x[:SAMPLES]) for x in axes.values())
    batch = tuple(x.float() if x.is_floating_point() else x for x in batch)
    weights = weights_of(network)
    inputs = inputs_of(network, weights, [batch])
    known: Mapping[str, Weight] = {key: weight for key, weight in weights.items() if key in inputs}
    with torch.no_grad():
        plain = network(*batch)

    def deviation(made: Mapping[str, Tensor]) -> float:
        kept = {key: known[key].matrix() for key in made}
        biases = {key: bias.detach().clone() for key in made if (bias := known[key].bias) is not None}
        with torch.no_grad():
            for key, matrix in made.items():
                known[key].write(matrix)
                if (bias := known[key].bias) is not None:
                    bias.add_((kept[key] - matrix) @ inputs[key].mean)
            change = float((network(*batch) - plain).norm() / plain.norm())
            for key, matrix in kept.items():
                known[key].write(matrix)
                if (bias := known[key].bias) is not None:
                    bias.copy_(biases[key])
        return 100 * change

    rows = []
    for bits in (4, 3):
        made: dict[str, dict[str, Tensor]] = {"bits": {}, **{form: {} for form in FORMS}}
        for key, weight in known.items():
            matrix, covariance = weight.matrix(), damped(inputs[key], weight)
            made["bits"][key] = rounded(matrix, covariance, bits)
            room = stored((matrix.shape[0], matrix.shape[1]), bits)
            for form, of in FORMS.items():
                found = of(matrix, covariance, room) if bits < 4 or form != "fewer inputs" else None
                made[form][key] = made["bits"][key] if found is None else found

        def error(form: str, key: str, made: Mapping[str, Mapping[str, Tensor]] = made) -> float:
            difference = known[key].matrix() - made[form][key]
            return float(((difference @ damped(inputs[key], known[key])) * difference).sum())

        cells = [f"{name}, {bits}"]
        for form, matrices in made.items():
            if bits == 4 and form == "fewer inputs":
                cells.append("")
                continue
            better = sum(error(form, key) < error("bits", key) for key in known)
            cells.append(f"{deviation(matrices):.3g}" + ("" if form == "bits" else f" ({better} of {len(known)})"))
        rows.append("| " + " | ".join(cells) + " |")
    return rows


@click.command(help=__doc__)
@click.argument("models", nargs=-1)
def main(models: tuple[str, ...]) -> None:
    click.echo("| model, bits | in bits | " + " | ".join(FORMS) + " |\n" + "|---" * (len(FORMS) + 2) + "|")
    for name in models or SHIPPED:
        for row in table_row(name):
            click.echo(row)


if __name__ == "__main__":
    main()

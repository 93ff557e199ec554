"""Kernels of state-spaces/s4 as systems: diagonal (S4D) and diagonal plus low rank (S4), with all their discretisations.

A kernel of H channels, C heads and N stored modes (half of the states) is ``K[k] = C dA^k dB`` (twice the real part of the stored
modes), so that its layer emits ``C x[k+1]`` in paper form.  What libraries of all versions read from their parameters is a
:class:`Kernel`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssm2edge.layers.contract import LayerError
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.discretisation import bilinear, zero_order_hold
from ssm2edge.systems.system import System, from_real_part, siso_bank
from ssm2edge.systems.tie import Tie, pairs_upright

RULES = {"zoh": (zero_order_hold, "power"), "bilinear": (bilinear, "bilinear"), "dss": (zero_order_hold, "power")}
"""By discretisation: poles and gains, and the rule by which poles depend on steps (:mod:`ssm2edge.systems.tie`).

The kernels of ``dss`` have the poles of ``zoh``, and residues of their own.
"""

DSS_FLOOR = 1e-7
"""Added to a squared modulus before the ``dss`` discretisation divides by it."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Parameters of a kernel, transformed and repeated, float64.

    Attributes
    ----------
    dt
        ``(H, 1)`` or ``(H, N)``.
    A, B
        ``(H, N)``, complex, or real if the kernel is real.
    C
        ``(C, H, N)``.
    P
        ``(R, H, N)`` complex: the state matrix is ``A - P P^H``; None for a diagonal one.
    sets
        Stored sets of A, B and P; channel h has set ``h mod sets``.
    Q
        ``(R, H, N)`` complex where the state matrix is ``A - P Q^T``; None for the conjugate of P.
    """

    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    P: Tensor | None
    sets: int
    Q: Tensor | None = None

    @property
    def shares_state_matrix(self) -> bool:
        """True if several channels have one state matrix, each with a step of its own."""
        return self.sets < len(self.A) and self.dt.shape[-1] == 1

    def reference(self, rule: str) -> float:
        """Return the step that counts as one: the others' poles lose least from it."""
        return float(self.dt.min() if rule == "power" else self.dt.max())

    def tie(self, generator: Tensor, reference: float, rule: str) -> Tie:
        """Return the tie of the channels of one head; ``generator`` holds the poles ``(sets, 2 N)`` at the reference step."""
        return Tie(generator, torch.arange(len(self.A)) % self.sets, self.dt[:, 0] / reference, rule)


@dataclass(frozen=True, eq=False)
class Heads:
    """Systems of a kernel, and the tie of their channels.

    Attributes
    ----------
    system
        Strictly proper, its response at k >= 1 is ``K[k - 1]``; batch shape ``(C, H)``.
    tie
        Of one head; None if every channel has its own poles.
    alike
        True if the heads of a channel have the same poles.
    """

    system: System
    tie: Tie | None
    alike: bool = True

    def bank(self, heads: slice, causal: Tensor | None = None) -> System:
        """Return some heads as one bank, head by head.

        Parameters
        ----------
        heads
            Chosen heads.
        causal
            ``(C, H)`` skip of a kernel that starts at the present sample; None for one that starts at the next.
        """
        chosen = self.system[heads]
        count, channels = chosen.batch_shape
        if causal is not None:
            first_tap = chosen.residues.sum(-1).real
            chosen = chosen.with_output(chosen.C * chosen.poles[..., None, :], (causal + first_tap)[..., None, None])
        tie = self.tie
        if tie is None and count > 1 and self.alike:
            # The heads of a channel have its poles.
            tie = Tie(chosen.poles[0].contiguous(), torch.arange(channels), torch.ones(channels, dtype=torch.float64))
        if tie is not None:
            tie = Tie(tie.generator, tie.group.repeat(count), tie.steps.repeat(count), tie.rule)
        return System(*(x.flatten(0, 1) for x in (chosen.poles, chosen.B, chosen.C, chosen.D)), tie=tie)


def heads_of(values: Kernel, discretisation: str, length: int | None, truncated: int = 0, rate: float = 1.0) -> Heads:
    """Return the systems of a kernel.

    Parameters
    ----------
    values
        Its parameters.
    discretisation
        Of a diagonal kernel; others are bilinear.
    length
        Samples that the layer is limited to; the ``dss`` discretisation depends on it.
    truncated
        Samples for which C is stored as ``C (I - dA^length)``, at rate one; 0 where it is stored as it is.
    rate
        Factor of the steps at which the layer is called; what C is truncated for has fewer samples by as much.

    Raises
    ------
    LayerError
        If the discretisation is unknown.
    """
    values = replace(values, dt=values.dt * rate)
    if values.P is not None:
        return _low_rank(values, round(truncated / rate))
    if discretisation not in RULES:
        raise LayerError(
            f"its discretisation {discretisation!r} is none of zoh, bilinear and dss; register a library that reads it."
        )
    discretised, rule = RULES[discretisation]
    poles, gains = discretised(values.A, values.dt)
    residues = 2 * values.B * gains * values.C
    if discretisation == "dss":
        if length is None:
            raise LayerError(
                "its discretisation dss normalises the kernel over the length of the sequence, and the layer does not say which; "
                "give it the length it is used on as l_max."
            )
        residues = normalised(values.dt * values.A, values.A, values.B * values.C, length)
    tie = None
    if values.shares_state_matrix:
        reference = values.reference(rule)
        generator, _ = discretised(values.A[: values.sets], torch.tensor(reference, dtype=torch.float64))
        silent = torch.zeros((1, *generator.shape), dtype=generator.dtype)
        tie = values.tie(diagonal(generator, silent).poles[0], reference, rule)
    return Heads(diagonal(poles, residues), tie)


def diagonal(poles: Tensor, residues: Tensor) -> System:
    """Return the systems with ``K[k] = Re sum_j residue_j pole_j^k``; poles ``(H, N)``, residues ``(C, H, N)``."""
    poles = poles.expand_as(residues)
    silent = torch.zeros(residues.shape[:-1], dtype=torch.float64)
    if poles.is_complex() and bool((poles.imag != 0).any()):
        return from_real_part(poles, torch.ones_like(poles)[..., None], residues[..., None, :], silent[..., None, None])
    # A mode of a real pole is one state: of its residue the real part alone is heard.
    poles, residues = (x.real if x.is_complex() else x for x in (poles, residues))
    order = torch.argsort(poles, dim=-1, descending=True)
    poles, residues = (x.gather(-1, order).to(torch.complex128) for x in (poles, residues))
    return siso_bank(poles, residues, silent)


def normalised(step: Tensor, A: Tensor, weights: Tensor, length: int, floor: float = DSS_FLOOR) -> Tensor:
    """Return the residues of a softmax-like kernel: each mode divided by its own sum over ``length`` samples, and by A.

    Parameters
    ----------
    step, A
        ``(H, N)`` complex or real: ``dt A`` and ``A``.
    weights
        ``(C, H, N)``.
    floor
        Added to a squared modulus before it divides.
    """
    growing = step.real > 0
    # Modes that grow are written from the end of the sequence.
    decaying = torch.where(growing, -step, step)
    inverse = torch.expm1(decaying * length) * A
    inverse = inverse.conj() / ((inverse * inverse.conj()).real + floor)
    start = torch.where(growing, torch.exp(-step * (length - 1)), torch.ones_like(step))
    return weights * torch.expm1(decaying) * inverse * start


def _low_rank(values: Kernel, length: int) -> Heads:
    """Return the systems of a diagonal plus a low rank, bilinear; C is stored as ``C (I - dA^length)`` if length is not 0."""
    P = values.P
    assert P is not None
    Q = P.conj() if values.Q is None else values.Q
    # On (Re z, Im z) of the stored modes the matrix is real: z' = F z + G conj(z).
    F = torch.diag_embed(values.A) - torch.einsum("rhm,rhn->hmn", P, Q)
    G = -torch.einsum("rhm,rhn->hmn", P, Q.conj())
    sum_, difference = F + G, F - G
    A = torch.cat((torch.cat((sum_.real, -difference.imag), -1), torch.cat((sum_.imag, difference.real), -1)), -2)
    B = torch.cat((values.B.real, values.B.imag), -1)[..., None]
    C = torch.cat((2 * values.C.real, -2 * values.C.imag), -1).transpose(0, 1)
    if values.shares_state_matrix:
        return _low_rank_shared(values, A[: values.sets], B[: values.sets], C, length)
    dt = torch.cat(2 * (values.dt.expand_as(values.A),), -1)[..., None]
    A, B = _bilinear(dt * A, dt * B)
    if length:
        truncation = torch.eye(A.shape[-1], dtype=A.dtype) - torch.linalg.matrix_power(A, length)
        C = torch.linalg.solve(truncation.mT, C.mT).mT
    return Heads(_by_head(to_modal(DenseSystem(A, B, C, C.new_zeros((*C.shape[:2], 1))))), None)


def _low_rank_shared(values: Kernel, A: Tensor, B: Tensor, C: Tensor, length: int) -> Heads:
    """Return those of channels that share a state matrix: all its bilinear forms have its eigenvectors, one set for all."""
    reference = values.reference("bilinear")
    group = torch.arange(len(C)) % values.sets
    matrix, inputs = _bilinear(reference * A, reference * B)
    # The identity as output matrix gives the eigenvectors.
    eye = torch.eye(A.shape[-1], dtype=A.dtype).expand_as(A)
    modal = to_modal(DenseSystem(matrix, inputs, eye, torch.zeros_like(inputs)))
    tie = values.tie(modal.poles, reference, "bilinear")
    poles = tie.poles()
    # dB = dt (1 - dt a / 2)^-1 b with dt a / 2 = (pole - 1) / (pole + 1): dt (pole + 1) / 2 b.
    B = modal.B[group] * (tie.steps[:, None] * (poles + 1) / (modal.poles[group] + 1))[..., None]
    C = C.to(poles) @ modal.C[group]
    if length:
        C = C / (1 - poles**length)[:, None, :]
    poles, residues = pairs_upright(poles.expand(C.shape[1], -1, -1), C.transpose(0, 1) * B[..., 0])
    return Heads(siso_bank(poles, residues, residues.new_zeros(residues.shape[:-1], dtype=torch.float64)), tie)


def _bilinear(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the discrete state and input matrices of ``dt A`` and ``dt B``."""
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    backward = torch.linalg.lu_factor(eye - A / 2)
    return torch.linalg.lu_solve(*backward, eye + A / 2), torch.linalg.lu_solve(*backward, B)


def _by_head(system: System) -> System:
    """Write one system of one input and an output for each head, ``(H,)``, as one for each head, ``(C, H)``."""
    heads = system.outputs
    poles, B = system.poles.expand(heads, -1, -1), system.B.expand(heads, -1, -1, -1)
    return System(poles, B, system.C.transpose(0, 1)[..., None, :], system.D.transpose(0, 1)[..., None])

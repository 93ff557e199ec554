"""The user's request: one of several ways to say how small the model becomes."""

from __future__ import annotations

from dataclasses import dataclass

from ssm2edge.errors import UserError


@dataclass(frozen=True)
class Request:
    """The user's request; exactly one of the limits and sizes is not None.

    Attributes
    ----------
    order
        States per channel, the same in every layer.
    keep
        Share of all states to keep.
    max_error
        Largest relative error of the outputs.
    max_drop
        Largest drop of the metric, in points.
    max_error_of
        ``measured``: the error on validation samples; ``bound``: its upper bound.
    confidence
        Probability that a limit found on samples holds.
    max_bytes
        Largest size of a graph.
    max_ram
        Most bytes of RAM of the stream as C.
    max_latency
        Longest step of the stream, in microseconds.
    """

    order: int | None = None
    keep: float | None = None
    max_error: float | None = None
    max_drop: float | None = None
    max_error_of: str = "measured"
    confidence: float = 0.95
    max_bytes: int | None = None
    max_ram: int | None = None
    max_latency: float | None = None

    def check(self) -> None:
        """Refuse requests that no model could meet.

        Raises
        ------
        UserError
            If not exactly one of the four is given, or one is out of range.
        """
        sizes = ("order", "keep", "max_error", "max_drop", "max_bytes", "max_ram", "max_latency")
        given = [name for name in sizes if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                "How small the model should become must be said in one way: an order, a share to keep, or a largest error, "
                f"drop, number of bytes, RAM or latency; given are {', '.join(given) or 'none'}."
            )
        if self.order is not None and self.order < 1:
            raise UserError(f"An order of {self.order} keeps no state; give one of at least 1.")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(f"A share of {self.keep:g} of the states cannot be kept; give one above 0 and at most 1.")
        for name, value in (("error", self.max_error), ("drop", self.max_drop)):
            if value is not None and not 0 <= value < float("inf"):
                raise UserError(f"A largest {name} of {value:g} cannot be held; give a number of at least 0.")
        limits = (("number of bytes", self.max_bytes), ("number of bytes of RAM", self.max_ram), ("latency", self.max_latency))
        for name, value in limits:
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"A largest {name} of {value:g} cannot be held; give a number above 0.")
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"A confidence of {self.confidence:g} shows nothing; give one from 0.5 to below 1, such as 0.95.")
        if self.max_error_of not in ("measured", "bound"):
            raise UserError(f"The largest error can be that of measured or bound, not of {self.max_error_of!r}.")

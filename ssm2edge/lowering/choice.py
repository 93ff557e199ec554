"""A user's own choice of kernel forms for a layer, in place of the cost model's."""

from __future__ import annotations

from dataclasses import dataclass

from ssm2edge.lowering.forms import BANK_FORMS, MIMO_FORMS

FORMS = frozenset((*BANK_FORMS, *MIMO_FORMS))
LONGEST = 4096
"""Samples of a chunk: the products within it take their square in memory for every channel."""


@dataclass(frozen=True)
class Choice:
    """A user's choice; None where the cost model decides.

    Attributes
    ----------
    sequence
        Samples per chunk of the whole-sequence graph.
    form
        Kernel form of the streaming graph's blocks of more than one sample.
    block
        Samples per chunk within such a block.
    """

    sequence: int | None = None
    form: str | None = None
    block: int | None = None

    def allows(self, form: str, block: int) -> bool:
        """Return whether a streaming block may be computed in this form, in chunks of ``block`` samples."""
        return self.form in (None, form) and self.block in (None, block)


def parse_choice(text: str) -> Choice:
    """Read ``sequence:64``, ``elementwise:16``, ``chunked``, or two of them joined by ``+``; empty text chooses nothing.

    Raises
    ------
    ValueError
        If the text says something else.
    """
    sequence = form = block = None
    for part in filter(None, text.split("+")):
        word, _, number = part.partition(":")
        if number and not (number.isdecimal() and 0 < int(number) <= LONGEST):
            raise ValueError(f"{part!r} names no number of samples from 1 to {LONGEST}, such as sequence:64.")
        if word == "sequence" and number and sequence is None:
            sequence = int(number)
        elif word in FORMS and form is None:
            form, block = word, int(number) if number else None
        else:
            raise ValueError(f"{part!r} is no kernel form: say sequence:T, elementwise[:T], chunked[:T] or unrolled.")
    return Choice(sequence, form, block)

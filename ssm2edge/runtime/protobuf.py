"""Serialised protobuf messages as lists of fields: the part of the format that cutting and extending graphs without onnx needs.

A message is a sequence of fields, each a tag (its number and wire type) and a value.  A value of wire type 2 is a text, bytes or
a message, preceded by its length; wire type 0 is one number in groups of seven bits; types 1 and 5 are eight and four bytes.  Two
messages in a row are the two merged: repeated fields are joined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WIDTHS = {1: 8, 5: 4}
"""Bytes of values of fixed width, by wire type."""
LONGEST = 10
"""Bytes of a number of 64 bits."""


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes
    ----------
    number
        Number of the field in the message.
    content
        Its value without its length; for a plain number, the bytes that encode it.
    raw
        The whole field as in the message, with its tag.
    """

    number: int
    content: memoryview
    raw: memoryview

    @property
    def text(self) -> str:
        """The value of a text field."""
        return str(self.content, "utf-8")

    @property
    def value(self) -> int:
        """The value of a field with a number that is not negative."""
        return _number(self.content, 0)[0]


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order.

    Raises
    ------
    ValueError
        If the bytes are no protobuf message.
    """
    place = 0
    while place < len(message):
        tag, start = _number(message, place)
        wire = tag & 7
        if wire == 2:
            length, start = _number(message, start)
            stop = start + length
        elif wire == 0:
            stop = _number(message, start)[1]
        elif wire in WIDTHS:
            stop = start + WIDTHS[wire]
        else:
            raise ValueError(f"a field has wire type {wire}")
        if stop > len(message):
            raise ValueError("a field ends behind its message")
        yield Field(tag >> 3, message[start:stop], message[place:stop])
        place = stop


def written(number: int, content: bytes) -> bytes:
    """Return a field of bytes: its number and wire type 2, its length, its content."""
    return spelt(number << 3 | 2) + spelt(len(content)) + content


def written_number(number: int, value: int) -> bytes:
    """Return a field that holds a number."""
    return spelt(number << 3) + spelt(value)


def spelt(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; the eighth bit is set in all but the last."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number encoded from a position on, and the position after it."""
    value = 0
    for index, byte in enumerate(message[place : place + LONGEST]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, place + index + 1
    raise ValueError("a number does not end")

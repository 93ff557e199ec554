"""Sizes of windows that slide over samples: of convolutions and of pooling, over one axis or two."""

from __future__ import annotations

from dataclasses import dataclass

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation


@dataclass(frozen=True)
class Windows:
    """Windows over two axes; of one axis, the first has size one.

    Attributes
    ----------
    kernel, strides, dilations, before
        By axis: size of a window, distance of two windows, distance of two elements of one, elements added at the beginning.
    read, made
        By axis: elements that come in, and windows.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    read: tuple[int, int]
    made: tuple[int, int]

    @classmethod
    def of(cls, operation: Operation, kernel: list[int]) -> Windows:
        """Return the windows of a node that slides ``kernel`` over its first input.

        Raises
        ------
        FirmwareError
            If there are more than two axes.
        """
        source = operation.inputs[0]
        assert source is not None
        axes = len(kernel)
        if axes > 2:
            raise FirmwareError(operation.refusal(f"slides over {axes} axes, and two are the most"))
        if operation.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise FirmwareError(operation.refusal("leaves the number of samples to add to the runtime"))
        pads = operation.integers("pads", [0] * (2 * axes))

        def two(values: list[int], filler: int) -> tuple[int, int]:
            return (values[0], values[1]) if len(values) == 2 else (filler, values[0])

        return cls(
            two(kernel, 1),
            two(operation.integers("strides", [1] * axes), 1),
            two(operation.integers("dilations", [1] * axes), 1),
            two(pads[:axes], 0),
            two(list(source.shape[2:]), 1),
            two(list(operation.outputs[0].shape[2:]), 1),
        )

    @property
    def padded(self) -> bool:
        """True if a window may reach beyond the samples."""
        return any(
            before or (made - 1) * stride + (size - 1) * dilation >= read
            for size, stride, dilation, before, read, made in zip(
                self.kernel, self.strides, self.dilations, self.before, self.read, self.made, strict=True
            )
        )

    def place(self, axis: int, window: str, element: str) -> str:
        """Return the C expression of the sample under an element of a window."""
        parts = [] if self.made[axis] == 1 else [window if self.strides[axis] == 1 else f"{self.strides[axis]} * {window}"]
        if self.kernel[axis] > 1:
            parts.append(element if self.dilations[axis] == 1 else f"{self.dilations[axis]} * {element}")
        text = " + ".join(parts) or "0"
        return f"{text} - {self.before[axis]}" if self.before[axis] else text

    def inside(self, row: str, column: str) -> str:
        """Return the C condition that a place holds a sample."""
        tests = [f"{row} >= 0 && {row} < {self.read[0]}"] if self.read[0] > 1 or self.kernel[0] > 1 else []
        return " && ".join([*tests, f"{column} >= 0 && {column} < {self.read[1]}"])

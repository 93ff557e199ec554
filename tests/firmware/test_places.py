"""Views name the elements that numpy's arrays hold, and values that are needed at one time never share memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm2edge.firmware.kernels import Call, Formula, Load, Loop, Store
from ssm2edge.firmware.memory import plan
from ssm2edge.firmware.segments import combinations, nests, overwrites_safely
from ssm2edge.firmware.views import Buffer, View

FLOAT = np.dtype(np.float32)


def scratch(size: int) -> Buffer:
    return Buffer("buffer", size, FLOAT, "scratch")


def elements(view: View) -> list[int]:
    """The place of every element, in the order of the index, written out."""
    found = []
    for index in itertools.product(*map(range, view.shape)):
        place = view.offset
        for axis, turn in enumerate(index):
            place += view.strides[axis] * (view.tables[axis][turn] if axis in view.tables else turn)
        found.append(place)
    return found


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_views_name_the_elements_of_numpys_arrays(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    array = np.arange(math.prod(shape)).reshape(shape)
    view = View.whole(scratch(array.size), shape)
    for _ in range(data.draw(st.integers(1, 4))):
        axis = data.draw(st.integers(0, array.ndim - 1))
        kind = data.draw(st.sampled_from(["transpose", "slice", "gather", "reshape", "broadcast", "squeeze"]))
        if kind == "transpose":
            order = data.draw(st.permutations(range(array.ndim)))
            view, array = view.transposed(order), array.transpose(order)
        elif kind == "slice":
            start = data.draw(st.integers(0, array.shape[axis] - 1))
            step = data.draw(st.sampled_from([-2, -1, 1, 2]))
            taken = range(start, array.shape[axis] if step > 0 else -1, step)
            view, array = view.sliced(axis, start, step, len(taken)), array.take(list(taken), axis)
        elif kind == "gather":
            places = data.draw(st.lists(st.integers(0, array.shape[axis] - 1), min_size=1, max_size=5))
            view, array = view.gathered(axis, places), array.take(places, axis)
        elif kind == "reshape":
            new = data.draw(st.permutations(array.shape)) if data.draw(st.booleans()) else [array.size]
            found = view.reshaped(tuple(new))
            if found is not None:
                view, array = found, array.reshape(new)
        elif kind == "broadcast":
            wide = (2, *(3 if size == 1 else size for size in array.shape))
            if math.prod(wide) < 200:
                view, array = view.broadcast(wide), np.broadcast_to(array, wide)
        else:
            view, array = view.squeezed(), array.squeeze()
            if array.ndim == 0:
                break
        assert view.shape == array.shape
        assert elements(view) == array.ravel().tolist()
        low, high = view.span[1:]
        assert low <= array.min()
        assert array.max() <= high


@given(st.permutations(range(6)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nests_visit_every_element_once_whatever_the_table(places: list[int], pairs: bool) -> None:
    table = [1, 0, 3, 2, 5, 4] if pairs else places
    state, target = scratch(18), scratch(18)
    view = View.whole(state, (6, 3)).gathered(0, table)
    loop = Loop((6, 3), [Load(view)], [Store(View.whole(target, (6, 3)), 0)])
    copied = np.full(18, -1)
    for nest in nests(loop):
        for turn in combinations(nest):
            fixed = [range(size) if axis not in turn else [turn[axis]] for axis, size in enumerate(nest.shape)]
            for index in itertools.product(*fixed):
                ends = []
                for part in nest.views:
                    steps = zip(range(len(index)), index, part.strides, strict=True)
                    ends.append(part.offset + sum(s * part.tables[a][i] if a in part.tables else s * i for a, i, s in steps))
                assert copied[ends[1]] == -1
                copied[ends[1]] = ends[0]
    assert copied.tolist() == elements(view)


def test_pairs_are_exchanged_in_place_and_other_orders_are_not() -> None:
    def safe(table: list[int]) -> bool:
        state, after = Buffer("s", 12, FLOAT, "state"), Buffer("n", 12, FLOAT, "next")
        plain, turned = View.whole(state, (6, 2)), View.whole(state, (6, 2)).gathered(0, table)
        values: list[Load | Formula] = [Load(plain), Load(turned), Formula("{0} + {1}", (0, 1), "float")]
        return overwrites_safely(Loop((6, 2), values, [Store(View.whole(after, (6, 2)), 2)]), state, after)

    assert safe([1, 0, 3, 2, 5, 4])
    assert safe([3, 4, 5, 0, 1, 2])
    assert safe([0, 1, 2, 3, 4, 5])
    assert safe([1, 0, 3, 2, 4, 5])
    assert not safe([1, 2, 3, 4, 5, 0])
    assert not safe([5, 4, 3, 2, 1, 0])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_values_needed_at_one_time_never_share_memory(sizes: list[tuple[int, int]]) -> None:
    buffers = [scratch(size) for size, _ in sizes]
    kernels, spans = [], []
    for turn, (_, life) in enumerate(sizes):
        reads = [k for k in range(turn) if k + sizes[k][1] >= turn]
        views = [View.whole(buffers[k], (buffers[k].size,)) for k in reads]
        kernels.append(Call(views, [View.whole(buffers[turn], (buffers[turn].size,))], lambda _: []))
        spans.append((turn, min(turn + life, len(sizes) - 1)))
    memory = plan(kernels)
    for one, other in itertools.combinations(range(len(sizes)), 2):
        if spans[one][0] <= spans[other][1] and spans[other][0] <= spans[one][1]:
            first, second = memory.places[buffers[one]], memory.places[buffers[other]]
            assert first + buffers[one].size <= second or second + buffers[other].size <= first
    assert memory.sizes["float"] <= sum(size for size, _ in sizes)

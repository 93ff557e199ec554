"""A stream answers what a brute-force recursion in float64 answers, however the samples come."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssm2edge.runtime import EdgeError, InputError, SnapshotError, Stream
from tests.first_order import filtered, stream_graph

LENGTH = 23
SAMPLES = np.random.default_rng(5).standard_normal((3, LENGTH, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    for mean in (True, False):
        for block in (1, 4, 7):
            onnx.save(stream_graph(mean, block), folder / f"{mean}-{block}.onnx")
    return folder


@pytest.mark.parametrize("block", [1, 4, 7])
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=12))
def test_any_split_into_pushes_gives_the_whole_sequence(graphs: Path, block: int, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), LENGTH]
    with Stream(graphs / f"False-{block}.onnx", batch=3) as stream:
        parts = [stream.push(SAMPLES[:, a:b])["output"] for a, b in itertools.pairwise(edges)]
        assert sum(part.shape[1] for part in parts) == LENGTH // block * block
        assert stream.pending == LENGTH % block
        parts.append(stream.flush()["output"])
    np.testing.assert_allclose(np.concatenate(parts, axis=1), filtered(SAMPLES, mean=False), atol=2e-6)


@pytest.mark.parametrize("block", [1, 4, 7])
def test_running_answer_is_the_mean_over_all_whole_blocks(graphs: Path, block: int) -> None:
    with Stream(graphs / f"True-{block}.onnx", batch=3) as stream:
        for k in range(LENGTH):
            answers = stream.push(SAMPLES[:, k : k + 1])
            whole = (k + 1) // block * block
            if whole == 0:
                assert answers == {}
            else:
                np.testing.assert_allclose(answers["output"], filtered(SAMPLES[:, :whole], mean=True), atol=2e-6)
        last = stream.flush()["output"]
    np.testing.assert_array_equal(last, answers["output"])


def test_returned_arrays_do_not_change_with_later_pushes(graphs: Path) -> None:
    with Stream(graphs / "True-1.onnx", batch=3) as stream:
        first = stream.push(SAMPLES[:, :1])["output"]
        kept = first.copy()
        states = stream.states
        states["state.filter"][...] = 7.0
        stream.push(SAMPLES[:, 1:9])
    np.testing.assert_array_equal(first, kept)


def test_flush_and_reset_start_afresh(graphs: Path) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        stream.push(SAMPLES[:, :10])
        stream.flush()
        after_flush = stream.push(SAMPLES[:, :8])["output"]
        stream.push(SAMPLES[:, 8:10])
        stream.reset()
        assert stream.pending == 0
        after_reset = stream.push(SAMPLES[:, :8])["output"]
    np.testing.assert_array_equal(after_flush, after_reset)
    np.testing.assert_allclose(after_reset, filtered(SAMPLES[:, :8], mean=False), atol=2e-6)


def test_reset_of_one_row_leaves_the_others(graphs: Path) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        stream.push(SAMPLES[:, :8])
        stream.reset([1])
        rest = stream.push(SAMPLES[:, 8:16])["output"]
    whole = filtered(SAMPLES[:, :16], mean=False)[:, 8:]
    np.testing.assert_allclose(rest[[0, 2]], whole[[0, 2]], atol=2e-6)
    np.testing.assert_allclose(rest[1:2], filtered(SAMPLES[1:2, 8:16], mean=False), atol=2e-6)


def test_answer_of_a_row_that_was_reset_is_no_number_until_its_next_block(graphs: Path) -> None:
    with Stream(graphs / "True-4.onnx", batch=3) as stream:
        stream.push(SAMPLES[:, :8])
        stream.reset([2])
        assert np.isnan(stream.push(SAMPLES[:, 8:9])["output"][2]).all()
        answer = stream.push(SAMPLES[:, 9:12])["output"]
    np.testing.assert_allclose(answer[2:], filtered(SAMPLES[2:, 8:12], mean=True), atol=2e-6)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("taken", [0, 3, 8, 10])
def test_restored_stream_goes_on_with_the_same_bits(graphs: Path, mean: bool, taken: int) -> None:
    with Stream(graphs / f"{mean}-4.onnx", batch=3) as stream, Stream(graphs / f"{mean}-4.onnx", batch=3) as other:
        stream.push(SAMPLES[:, :taken])
        other.push(SAMPLES[:, 5:19])
        other.restore(stream.snapshot())
        for a, b in ((taken, taken + 1), (taken + 1, LENGTH)):
            expected, actual = stream.push(SAMPLES[:, a:b]), other.push(SAMPLES[:, a:b])
            assert expected.keys() == actual.keys()
            for name in expected:
                np.testing.assert_array_equal(actual[name], expected[name])
        np.testing.assert_array_equal(stream.flush()["output"], other.flush()["output"])


def test_rows_join_and_split(graphs: Path) -> None:
    path = graphs / "False-4.onnx"
    with Stream(path, batch=3) as together, Stream(path) as single:
        for row in range(3):
            single.reset()
            single.push(SAMPLES[row : row + 1, :8])
            together.restore(single.snapshot(), rows=[row])
        joined = together.push(SAMPLES[:, 8:16])["output"]
        np.testing.assert_allclose(joined, filtered(SAMPLES[:, :16], mean=False)[:, 8:], atol=2e-6)
        single.restore(together.snapshot(rows=[2]))
        split = single.push(SAMPLES[2:, 16:20])["output"]
    np.testing.assert_allclose(split, filtered(SAMPLES[2:, :20], mean=False)[:, 16:], atol=2e-6)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("taken", [0, 3, 8, 10])
def test_streams_split_and_join_with_the_same_bits(graphs: Path, mean: bool, taken: int) -> None:
    with Stream(graphs / f"{mean}-4.onnx", batch=3) as together:
        together.push(SAMPLES[:, :taken])
        with together.split([2]) as last, together.split([1, 0]) as others:
            expected = together.push(SAMPLES[:, taken:17])
            pushed = {"last": last.push(SAMPLES[2:, taken:17]), "others": others.push(SAMPLES[[1, 0], taken:17])}
            for name, value in expected.items():
                np.testing.assert_array_equal(pushed["last"][name], value[2:])
                np.testing.assert_array_equal(pushed["others"][name], value[[1, 0]])
            with Stream.join([last, others]) as joined:
                assert (joined.batch, joined.pending) == (3, together.pending)
                again, whole = joined.push(SAMPLES[[2, 1, 0], 17:]), together.push(SAMPLES[:, 17:])
                for name, value in whole.items():
                    np.testing.assert_array_equal(again[name], value[[2, 1, 0]])


def test_streams_share_the_graph_and_nothing_else(graphs: Path) -> None:
    stream = Stream(graphs / "False-4.onnx", batch=3)
    other = stream.split([0, 1])
    before = other.states["state.filter"]
    stream.push(SAMPLES[:, :8])
    stream.close()
    np.testing.assert_array_equal(other.states["state.filter"], before)
    np.testing.assert_allclose(other.push(SAMPLES[:2, :8])["output"], filtered(SAMPLES[:2, :8], mean=False), atol=2e-6)


def test_what_does_not_fit_together_is_not_joined(graphs: Path) -> None:
    with (
        Stream(graphs / "False-4.onnx") as stream,
        Stream(graphs / "False-4.onnx") as later,
        Stream(graphs / "True-4.onnx") as other,
    ):
        later.push(SAMPLES[:1, :3])
        for streams, said in (([], "No streams"), ([stream, other], "different models"), ([stream, later], "0 and 3 pending")):
            with pytest.raises(InputError, match=said):
                Stream.join(streams)
        for rows, said in (([], "at least one"), ([1], "from 0 to 0"), ([0, 0], "split off")):
            with pytest.raises(InputError, match=said):
                stream.split(rows)


def test_initial_value_of_a_state_is_where_it_starts(tmp_path: Path) -> None:
    graph = stream_graph(False, 4)
    for entry in graph.metadata_props:
        if entry.key == "ssm2edge.states":
            entry.value = entry.value.replace("0.0", "2.0")
    onnx.save(graph, tmp_path / "stream.onnx")
    silence = np.zeros((1, 4, 1), np.float32)
    with Stream(tmp_path / "stream.onnx") as stream:
        outputs = stream.push(silence)["output"]
    poles = np.array([0.9, -0.5, 0.97])
    np.testing.assert_allclose(outputs[0], 2.0 * poles ** np.arange(1, 5)[:, None], rtol=1e-6)


def test_placed_state_is_where_the_recursion_goes_on(graphs: Path) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        stream.push(SAMPLES[:, :8])
        stream.place({"state.filter": np.ones((3, 3), np.float32)})
        outputs = stream.push(np.zeros((3, 4, 1), np.float32))["output"]
        np.testing.assert_allclose(outputs[1], np.array([0.9, -0.5, 0.97]) ** np.arange(1, 5)[:, None], rtol=1e-6)
        for wrong in ({"state.gone": np.ones((3, 3), np.float32)}, {"state.filter": np.ones((3, 3))}):
            with pytest.raises(InputError, match=r"state\."):
                stream.place(wrong)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (SAMPLES.astype(np.float64), "float64"),
        (SAMPLES[:, :, 0], r"\[batch, time, 1\]"),
        (np.repeat(SAMPLES, 2, axis=2), r"\(3, 23, 2\)"),
        (SAMPLES[:2], "2 rows"),
        ({"pixels": SAMPLES}, "pixels"),
        ({}, "none"),
        (np.where(np.arange(23) == 5, np.nan, SAMPLES[..., 0])[..., None].astype(np.float32), r"\[0, 5, 0\] is nan"),
        (np.where(np.arange(23) == 2, np.inf, SAMPLES[..., 0])[..., None].astype(np.float32), r"\[0, 2, 0\] is inf"),
        (np.full((3, 4, 1), -np.inf, np.float32), r"\[0, 0, 0\] is -inf"),
    ],
)
def test_samples_that_do_not_fit_are_refused_and_not_taken(graphs: Path, samples: object, said: str) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        with pytest.raises(InputError, match=said):
            stream.push(samples)  # type: ignore[arg-type]
        assert stream.pending == 0
        np.testing.assert_allclose(stream.push({"u": SAMPLES})["output"], filtered(SAMPLES[:, :20], mean=False), atol=2e-6)


def test_calls_that_do_not_fit_the_stream_are_refused(graphs: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        Stream(graphs / "False-4.onnx", batch=0)
    for batch in (10**12, 10**18, 10**30):
        with pytest.raises(InputError, match=f"^A stream with {batch:,} rows does not fit into memory: give a smaller batch.$"):
            Stream(graphs / "False-4.onnx", batch)
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        for rows in ([3], [-1], [0, 0]):
            with pytest.raises(InputError, match="from 0 to 2"):
                stream.reset(rows)
        stream.push(SAMPLES[:, :2])
        with pytest.raises(InputError, match="2 samples are pending"):
            stream.reset([0])
    with pytest.raises(EdgeError, match="closed"):
        stream.push(SAMPLES[:, :4])


@pytest.mark.parametrize("rows", [[False, True, False], np.array([True] * 3), [0.5], ["1"], ["a"], np.int64(1), 1, [[0], [1, 2]]])
def test_rows_are_whole_numbers_and_no_masks(graphs: Path, rows: object) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        stream.push(SAMPLES[:, :8])
        before = stream.snapshot()
        for call in (stream.reset, stream.split, stream.snapshot, lambda rows: stream.restore(before, rows)):
            with pytest.raises(InputError, match="not a mask"):
                call(rows)  # type: ignore[arg-type]
        assert stream.snapshot() == before


def test_what_is_of_another_kind_is_an_error_of_this_package(graphs: Path) -> None:
    path = graphs / "False-4.onnx"
    for batch in (1.5, "2", None, True):
        with pytest.raises(InputError, match="whole number"):
            Stream(path, batch)  # type: ignore[arg-type]
    with Stream(path, np.int64(3)) as stream:  # type: ignore[arg-type]
        with pytest.raises(SnapshotError, match="no snapshot"):
            stream.restore(None)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="1 is no stream"):
            Stream.join([1])  # type: ignore[list-item]
        for value in ([1.0], None):
            with pytest.raises(InputError, match=r"state\.filter is a"):
                stream.place({"state.filter": value})  # type: ignore[dict-item]
        with pytest.raises(InputError, match="masked array"):
            stream.push(np.ma.masked_array(SAMPLES, SAMPLES > 0))


def test_closing_twice_is_closing_once(graphs: Path) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream:
        stream.close()
        stream.close()
        with pytest.raises(EdgeError, match="closed"):
            stream.flush()


def test_snapshots_of_others_and_damaged_ones_are_refused(graphs: Path) -> None:
    with Stream(graphs / "False-4.onnx", batch=3) as stream, Stream(graphs / "False-7.onnx", batch=3) as foreign:
        stream.push(SAMPLES[:, :9])
        good = stream.snapshot()
        before = stream.states["state.filter"]
        for bad, said in (
            (foreign.snapshot(), "another model"),
            (b"", "no snapshot"),
            (good[:-1], "damaged"),
            (b"SSM2EDGE" + b"\x09\0\0\0" + good[12:], "version 9"),
            (stream.snapshot(rows=[0]), "1 rows"),
        ):
            with pytest.raises(SnapshotError, match=said):
                stream.restore(bad)
        generator = np.random.default_rng(0)
        for _ in range(100):
            damaged = bytearray(good)
            damaged[generator.integers(len(good))] ^= 1 << int(generator.integers(8))
            with pytest.raises(SnapshotError):
                stream.restore(bytes(damaged))
        with Stream(graphs / "False-4.onnx") as single, pytest.raises(SnapshotError, match="same point"):
            stream.restore(single.snapshot(), rows=[0])
        np.testing.assert_array_equal(stream.states["state.filter"], before)
        assert stream.pending == 1

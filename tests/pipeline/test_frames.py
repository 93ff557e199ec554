"""A model that groups its samples into frames: built in blocks of whole frames, refused in others, run on whole frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.digits import model as digits
from ssm2edge.errors import UserError
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.pipeline import build
from ssm2edge.runtime import InputError, Model, Stream
from tests.model_directories import LENGTH, samples

pytestmark = pytest.mark.usefixtures("brief_latencies")

FRAMED = '''

class Framed(nn.Module):
    """One layer on samples, one on frames of three, which come back one frame late."""

    def __init__(self) -> None:
        super().__init__()
        self.above, self.inner = S4D(3, 4), S4D(6, 4)
        self.down, self.up, self.head = nn.Linear(9, 6), nn.Linear(6, 9), nn.Linear(3, 3)

    def forward(self, pixels):
        z = self.above(pixels.expand(-1, -1, 3).mT)[0].mT
        low = self.inner(self.down(z.reshape(z.shape[0], -1, 9)).mT)[0].mT
        late = nn.functional.pad(self.up(low[:, :-1]), (0, 0, 1, 0))
        return self.head((z + late.reshape(z.shape)).mean(1))


def make_framed():
    torch.manual_seed(0)
    return Framed()
'''
BUILD = """
[model]
factory = "model.py:make_framed"

[samples]
file = "samples.npz"
time_axis = 1

[task]
metric = "accuracy"
"""
OPTIONS = {"calibrate": "none", "order": 4, "method": "balanced"}


def framed(directory: Path) -> Path:
    source = directory / "model"
    source.mkdir()
    (source / "build.toml").write_text(BUILD, encoding="utf-8")
    (source / "model.py").write_text(Path(digits.__file__).read_text(encoding="utf-8") + FRAMED, encoding="utf-8")
    np.savez(source / "samples.npz", **samples())
    return source


@pytest.mark.slow
def test_blocks_of_one_frame_are_taken_where_none_are_given(tmp_path: Path) -> None:
    source, out = framed(tmp_path), tmp_path / "out"
    built = build(open_source(str(source)), Options(**OPTIONS), out, False, lambda stage, share: None)
    assert built.verdict.passed
    assert (built.manifest.streaming.block, built.manifest.options["block"]) == (3, 3)
    assert built.decided is not None
    assert "blocks of 3 samples" in built.decided
    with Stream(out) as stream:
        assert (stream.block, stream.frame) == (3, 3)


@pytest.mark.slow
def test_frames_are_built_streamed_and_asked_for(tmp_path: Path) -> None:
    source = framed(tmp_path)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"blocks of 4 samples.*multiple of 3") as caught:
        build(open_source(str(source)), Options(**OPTIONS, block=4), out, False, lambda stage, share: None)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    built = build(open_source(str(source)), Options(**OPTIONS, block=6), out, False, lambda stage, share: None)
    assert built.verdict.passed
    assert {check.name for check in built.verdict.checks} >= {"streaming.fresh", "streaming.lengths", "stability.silence"}
    held_out = samples()["held_out.pixels"]
    with Model(out) as model, Stream(out, len(held_out)) as stream:
        for part in np.split(held_out, LENGTH // 2, axis=1):
            answer = stream.push(part)
        np.testing.assert_allclose(answer["output"], model.run(held_out)["output"], rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match="multiples of 3: cut it to 21"):
            model.run(held_out[:, :22])

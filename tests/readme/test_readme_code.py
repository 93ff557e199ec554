"""README's Python runs, in its twelve lines, from a module in memory to a stream; its commands and their options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from ssm2edge.cli import main
from ssm2edge.layers import blocks

pytestmark = pytest.mark.usefixtures("brief_latencies")

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for line in README.splitlines() if line.startswith("    ") and "ssm2edge " in line]
(BLOCK,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
def test_a_module_trained_here_is_compressed_built_verified_and_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in BLOCK.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    known: dict[str, object] = {}
    exec(compile(BLOCK, "README.md", "exec"), known)
    model, small, signals = known["model"], known["small"], known["signals"]
    assert isinstance(model, nn.Module)
    assert isinstance(small, nn.Module)
    assert isinstance(signals, torch.Tensor)
    assert [block.order for block in blocks(small).values()] == [8]
    with torch.no_grad():
        zero, far = (signals.cumsum(1) / 10).square().mean(), (small(signals) - model(signals)).square().mean()
        streamed = small(signals[:1, :10])
    # It learned the task, and compression costs less than a tenth of the signal's energy.
    assert known["loss"] < 0.5 * zero
    assert far < 0.1 * zero
    shown = capsys.readouterr().out
    assert re.search(r"all \d+ checks passed|\d+ checks passed|verified by \d+ checks", shown)
    numbers = [float(number) for number in re.findall(r"\[+\s*(-?[\d.]+(?:e-?\d+)?)\s*\]", shown)]
    assert numbers == pytest.approx(streamed.flatten().tolist(), abs=1e-4)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_commands_take_the_options_and_models_of_readme(line: str) -> None:
    calls = [shlex.split(part.split("   ")[0]) for part in line.strip().split("&&") if part.strip().startswith("ssm2edge ")]
    assert calls
    for _, name, *arguments in calls:
        options = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= options
        shipped = [argument for argument in arguments if argument.startswith("models/")]
        assert [path for path in shipped if not (ROOT / path).exists()] == []

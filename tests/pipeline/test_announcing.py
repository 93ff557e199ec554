"""A stage that takes long says so after its first part."""

from __future__ import annotations

import pytest

from ssm2edge.cli.output import stages_to_stderr
from ssm2edge.stages import progress as reports
from ssm2edge.stages.progress import announcing, expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.0, "match"), (2.5, "match: about 2 minutes"), (60.0, "match: about 50 minutes")]
)
def test_long_stages_say_after_their_first_part_how_long_they_take(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: str
) -> None:
    now = [0.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    heard: list[tuple[str, float]] = []
    report = announcing(lambda stage, share: heard.append((stage, share)))
    report("load", 0.0)
    # What happens before the first part belongs to another stage.
    now[0] += 500
    for part in range(1, 4):
        report("match", part / 50)
        now[0] += seconds
    assert [stage.partition(",")[0] for stage, _ in heard] == ["load", "match", expected, expected]
    assert [share for _, share in heard] == [0.0, 0.02, 0.04, 0.06]
    assert all(("GiB" in stage) == (stage != "match") for stage, _ in heard[2:])


def test_a_log_has_one_line_for_a_stage_and_one_for_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    with stages_to_stderr(quiet=False) as show:
        for stage, share in (("load", 0.0), ("match", 0.0), ("match: about 3 minutes", 0.1), ("match: about 3 minutes", 0.2)):
            show(stage, share)
    lines = [line.partition(" s  ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["load", "match", "match: about 3 minutes"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1.0, "match"), (7.4, "match: about 7 s"), (38.0, "match: about 40 s"), (100.0, "match: about 2 minutes")],
)
def test_what_a_stage_is_expected_to_take_is_said_before_its_first_part(seconds: float, said: str) -> None:
    heard: list[tuple[str, float]] = []
    report = announcing(lambda stage, share: heard.append((stage, share)))
    report(expected("match", seconds), 0.0)
    for part in range(1, 3):
        report("match", part / 2)
    assert heard == [(said, 0.0), (said, 0.5), (said, 1.0)]

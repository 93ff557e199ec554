"""docs/ci.md: its policy is the default one, and the commands of its GitHub Actions example run in their order."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssm2edge.verification.gate import Policy, read_policy
from tests.command_line import call
from tests.model_directories import model_directory

pytestmark = pytest.mark.usefixtures("brief_latencies")

TEXT = (Path(__file__).resolve().parent.parent.parent / "docs" / "ci.md").read_text(encoding="utf-8")
POLICY = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
WORKFLOW = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_policy_of_the_page_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY[0])
    assert read_policy(tmp_path / "policy.toml") == Policy()


@pytest.mark.slow
def test_commands_of_the_example_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model_directory(Path("model"))
    # Fewer pairs of sessions than the page's policy: whether this machine is quick enough is not what is tested.
    Path("gate.toml").write_text(POLICY[0].replace("sessions = [10, 16, 26, 42]", "sessions = [8]"))
    indented = [line.removeprefix("    ") for line in TEXT.splitlines() if line.startswith("    ")]
    baseline = [line for line in indented if line.split()[0] in ("ssm2edge", "mkdir", "cp")]
    steps = [line.removeprefix("- run: ") for line in map(str.strip, WORKFLOW[0].splitlines()) if line.startswith("- run: ")]
    assert len(baseline) == 3
    assert steps[0] == 'pip install "$(echo wheels/ssm2edge-*.whl)[build]"'
    for line in (*baseline, *steps[1:]):
        program, *arguments = shlex.split(line.replace("$GITHUB_STEP_SUMMARY", "summary.md"))
        if program != "ssm2edge":
            subprocess.run([program, *arguments], check=True)
            continue
        result = call(*arguments)
        # Latencies may come out either way on a loaded machine; everything else is the same model built twice.
        allowed = {0, 1, 3} if arguments[0] == "check" else {0}
        assert result.exit_code in allowed, (line, result.output)
    cases = ElementTree.parse("gate.xml").getroot().iter("testcase")
    worse = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert set(worse) <= {"offline.latency", "stream.latency"}
    assert "`build/candidate` against `baseline/manifest.json`" in Path("summary.md").read_text()

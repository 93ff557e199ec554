"""The gate passes copies, names every figure that became worse, and says when it does not know."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ssm2edge.artifact import Accuracy, GraphCost, Manifest, Ratio, open_artifact
from ssm2edge.artifact.manifest import to_json
from ssm2edge.errors import UserError
from ssm2edge.verification.gate import Gate, Policy, compare, open_baseline, read_policy
from ssm2edge.verification.gate.counted import at_most, counted
from ssm2edge.verification.gate.junit import to_junit
from ssm2edge.verification.gate.markdown import to_markdown
from ssm2edge.verification.sequential import Outcome
from tests.command_line import call
from tests.first_order import build, reference
from tests.verification.test_verdicts import multiply_output, swap_states, wrong_gain

UNTIMED = Policy(threshold=None, other_machine=None)


def rewrite(directory: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """The artifact with another manifest; its files and hashes stay."""
    path = directory / "manifest.json"
    path.write_text(to_json(change(open_artifact(directory).manifest)))
    return directory


def not_passed(candidate: Path, baseline: Path, policy: Policy = UNTIMED) -> dict[str, Outcome]:
    report = compare(open_artifact(candidate), open_baseline(baseline), policy)
    return {gate.name: gate.outcome for gate in report.gates if gate.outcome is not Outcome.PASSED}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build(tmp_path / "base")


def test_copy_passes_every_gate_and_is_timed(tmp_path: Path, base: Path) -> None:
    # A threshold that no pair of copies reaches: what is asserted is that all ran, not how fast.
    report = compare(open_artifact(build(tmp_path / "copy")), open_baseline(base), Policy(threshold=900.0, sessions=(8,)))
    assert report.outcome is Outcome.PASSED
    assert report.exit_code == 0
    names = [gate.name for gate in report.gates]
    assert len(names) == len(set(names))
    assert {"offline.nodes", "stream.multiply_adds", "parameters", "orders", "accuracy", "streaming.carried"} <= set(names)
    timed = {gate.name: gate.measured for gate in report.gates if gate.measured is not None}
    assert set(timed) == {"offline.latency", "stream.latency"}
    assert all(figures["sessions"] == 8 and figures["low"] <= figures["ratio"] <= figures["high"] for figures in timed.values())
    json.dumps(report.to_json(), allow_nan=False)


def more_nodes(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, costs={**manifest.costs, "stream": GraphCost(10, 100)})


def more_products(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, costs={**manifest.costs, "offline": GraphCost(5, 1001)})


def more_parameters(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, parameters=dataclasses.replace(manifest.parameters, model_after=7))


def higher_order(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, layers=(dataclasses.replace(manifest.layers[0], order_after=2),))


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        (more_nodes, "stream.nodes"),
        (more_products, "offline.multiply_adds"),
        (more_parameters, "parameters"),
        (higher_order, "orders"),
    ],
)
def test_figure_that_grew_is_named_and_the_way_back_passes(
    tmp_path: Path, base: Path, change: Callable[[Manifest], Manifest], gate: str
) -> None:
    worse = rewrite(build(tmp_path / "worse"), change)
    assert not_passed(worse, base) == {gate: Outcome.REGRESSION}
    assert not_passed(base, worse) == {}


def test_more_bytes_of_numbers_are_named_whatever_their_kind(tmp_path: Path, base: Path) -> None:
    def storing(**weights: int) -> Callable[[Manifest], Manifest]:
        def change(manifest: Manifest) -> Manifest:
            return dataclasses.replace(manifest, costs={**manifest.costs, "stream": GraphCost(4, 100, weights)})

        return change

    before = rewrite(build(tmp_path / "before"), storing(int8=1000, float32=100))
    worse = rewrite(build(tmp_path / "worse"), storing(float32=1200))
    assert not_passed(worse, before) == {"stream.weights": Outcome.REGRESSION}
    manifests = [open_artifact(place).manifest for place in (worse, before)]
    (gate,) = [gate for gate in counted(*manifests, Policy()) if gate.name == "stream.weights"]
    assert gate.detail.endswith("; float32 +1,100, int8 -1,000")
    assert not_passed(before, worse) == {}
    # Manifests of versions that did not count them have no such gate.
    assert not_passed(worse, base) == {}


def test_larger_file_is_named(tmp_path: Path, base: Path) -> None:
    def pad(graph: object) -> None:
        graph.doc_string = "x" * 1000  # type: ignore[attr-defined]  # a ModelProto

    assert not_passed(build(tmp_path / "large", change_stream=pad), base) == {"stream.bytes": Outcome.REGRESSION}


def test_larger_error_than_the_baseline_recorded_is_named(tmp_path: Path, base: Path) -> None:
    recorded = {"checks": [{"name": "offline.error", "figure": 0.01}]}
    better = rewrite(base, lambda manifest: dataclasses.replace(manifest, parity=recorded))
    pack = reference(True)
    off = {"output": pack.original["output"] * np.float32(1.02)}
    worse = build(tmp_path / "worse", pack=dataclasses.replace(pack, original=off))
    assert "error" in not_passed(worse, better)


def test_lost_accuracy_is_named(tmp_path: Path, base: Path) -> None:
    better = rewrite(base, lambda manifest: dataclasses.replace(manifest, accuracy=Accuracy(1.0, 1.0, 12)))
    assert not_passed(build(tmp_path / "worse"), better) == {"accuracy": Outcome.REGRESSION}


def test_shuffled_labels_fail_accuracy(tmp_path: Path, base: Path) -> None:
    pack = reference(True)
    shuffled = dataclasses.replace(pack, labels={"output": np.random.default_rng(1).permutation(pack.labels["output"])})
    assert "accuracy" in not_passed(build(tmp_path / "shuffled", pack=shuffled), base)


def test_planted_faults_fail_by_name(tmp_path: Path, base: Path) -> None:
    roomy = dataclasses.replace(UNTIMED, increase={**UNTIMED.increase, "bytes": None})
    drift = build(tmp_path / "drift", change_stream=multiply_output("next.filter", 1.0001))
    assert "streaming.carried" in not_passed(drift, base, roomy)
    swapped = build(tmp_path / "swapped", change_stream=swap_states)
    assert set(not_passed(swapped, base, roomy)) == {"streaming.fresh", "streaming.carried"}
    wrong = build(tmp_path / "wrong", change_offline=wrong_gain, change_stream=wrong_gain)
    assert "offline.parity" in not_passed(wrong, base, roomy)


def test_stream_that_is_gone_is_a_regression(tmp_path: Path, base: Path) -> None:
    assert not_passed(build(tmp_path / "still", streams=False), base) == {"stream": Outcome.REGRESSION}


@pytest.mark.slow
def test_manifest_alone_is_a_baseline(tmp_path: Path, base: Path) -> None:
    def timed(ratio: float) -> Path:
        def change(manifest: Manifest) -> Manifest:
            assert manifest.latency is not None
            known = {name: Ratio(ratio, ratio * 0.99, ratio * 1.01) for name in ("offline", "stream")}
            return dataclasses.replace(manifest, latency=dataclasses.replace(manifest.latency, workload=known))

        return rewrite(base, change) / "manifest.json"

    candidate = build(tmp_path / "candidate")
    policy = Policy(sessions=(7,))
    # A baseline a thousand times slower, and one a thousand times faster, than anything this machine can measure.
    assert not_passed(candidate, timed(1000.0), policy) == {}
    expected = {"offline.latency": Outcome.REGRESSION, "stream.latency": Outcome.REGRESSION}
    assert not_passed(candidate, timed(1e-6), policy) == expected


def test_baseline_without_latency_leaves_it_inconclusive(tmp_path: Path, base: Path) -> None:
    untimed = rewrite(base, lambda manifest: dataclasses.replace(manifest, latency=None)) / "manifest.json"
    found = not_passed(build(tmp_path / "candidate"), untimed, Policy(sessions=(4,)))
    assert found == {"offline.latency": Outcome.INCONCLUSIVE, "stream.latency": Outcome.INCONCLUSIVE}


def run(*arguments: object) -> tuple[int, str, str]:
    result = call("check", *arguments)
    return result.exit_code, result.stdout, result.stderr


def test_exit_codes_and_reports(tmp_path: Path, base: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[latency]\nthreshold = false\nother_machine = false\n")
    markdown, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    markdown.write_text("before\n")
    worse = rewrite(build(tmp_path / "worse"), more_nodes)
    reports = ("--markdown", markdown, "--junit", junit)
    code, text, _ = run(worse, "--baseline", base, "--policy", policy, *reports)
    assert code == 1
    assert "stream.nodes" in text
    assert markdown.read_text().startswith("before\n### Regression\n")
    assert "| stream.nodes | 9 | 10 | 9 | **REGRESSION** |" in markdown.read_text()
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["stream.nodes"]
    code, text, _ = run(base, "--baseline", worse, "--policy", policy, "--json")
    assert code == 0
    assert json.loads(text)["outcome"] == "passed"


def test_undecided_latency_is_exit_code_3(tmp_path: Path, base: Path) -> None:
    policy = tmp_path / "policy.toml"
    # Copies lie at ratio 1; the interval of four pairs at this confidence has no end.
    policy.write_text("[latency]\nthreshold = 0\nconfidence = 0.999\nsessions = [4]\n")
    code, text, _ = run(build(tmp_path / "copy"), "--baseline", base, "--policy", policy, "--json")
    outcomes = {gate["name"]: gate["outcome"] for gate in json.loads(text)["gates"]}
    assert code == 3
    assert set(outcomes.values()) <= {"passed", "inconclusive"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[latency\n", "cannot be read"),
        ("[speed]\n", "unknown section"),
        ("[increase]\nnode = 1\n", "increase.node"),
        ("[increase]\nnodes = -1\n", "increase.nodes"),
        ("[drop]\npoints = true\n", "drop.points"),
        ("[latency]\nsessions = [10, 4]\n", "latency.sessions"),
        ("[latency]\nconfidence = 1.0\n", "latency.confidence"),
        ('[latency]\ngraphs = ["offlin"]\n', "latency.graphs"),
        ('[latency]\ngraphs = [["offline"]]\n', "latency.graphs"),
    ],
)
def test_policies_that_say_nothing_sensible_are_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="policy") as caught:
        read_policy(path)
    assert named in str(caught.value)


def test_policy_keeps_the_defaults_it_does_not_name(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[increase]\nnodes = 5\nbytes = false\n[latency]\nthreshold = 3\ngraphs = ["stream"]\n')
    policy, standard = read_policy(path), Policy()
    assert policy.increase == {**standard.increase, "nodes": 5.0, "bytes": None}
    assert (policy.threshold, policy.graphs, policy.points) == (3.0, ("stream",), standard.points)


def test_bad_input_is_exit_code_2(tmp_path: Path, base: Path) -> None:
    for arguments in (
        (base, "--baseline", tmp_path / "nowhere"),
        (tmp_path, "--baseline", base),
        (base, "--baseline", base / "offline.onnx"),
        (base, "--baseline", base, "--policy", tmp_path / "nowhere.toml"),
    ):
        code, _, stderr = run(*arguments)
        assert code == 2, arguments
        assert stderr.startswith("ssm2edge: ")
        assert stderr.count("\n") == 1


def test_models_without_a_layer_in_common_are_not_compared(tmp_path: Path, base: Path) -> None:
    def renamed(manifest: Manifest) -> Manifest:
        layers = tuple(dataclasses.replace(layer, name=f"other.{layer.name}") for layer in manifest.layers)
        return dataclasses.replace(manifest, layers=layers)

    code, _, stderr = run(base, "--baseline", rewrite(build(tmp_path / "other"), renamed))
    assert code == 2
    assert "have no reduced layer in common" in stderr


def test_manifests_are_called_by_their_path(tmp_path: Path, base: Path) -> None:
    accepted = tmp_path / "accepted.json"
    accepted.write_text((base / "manifest.json").read_text().replace('"schema": 3', '"schema": 2'))
    code, _, stderr = run(base, "--baseline", accepted)
    assert code == 2
    assert f"{accepted} has schema 2" in stderr


def test_models_judged_by_other_metrics_are_not_compared(tmp_path: Path, base: Path) -> None:
    def judged(name: str, metric: str | None) -> Path:
        task = None if metric is None else {"metric": metric}
        return rewrite(build(tmp_path / name), lambda manifest: dataclasses.replace(manifest, task=task))

    right, wrong, silent = judged("right", "accuracy"), judged("wrong", "nrmse"), judged("silent", None)
    code, _, stderr = run(wrong, "--baseline", right)
    assert code == 2
    assert "wrong is judged by nrmse" in stderr
    assert "right by accuracy: they are no versions of one model" in stderr
    assert not_passed(right, silent) == {}


def test_reports_escape_what_would_break_their_tables(tmp_path: Path, base: Path) -> None:
    report = compare(open_artifact(base), open_baseline(base), UNTIMED)
    odd = dataclasses.replace(report.gates[0], detail='a | b <c> & "d"')
    changed = dataclasses.replace(report, gates=(odd,))
    assert "a \\| b" in to_markdown(changed)
    case = ElementTree.fromstring(to_junit(changed).encode()).find(".//testcase/system-out")
    assert case is not None
    assert case.text == 'a | b <c> & "d"'


@pytest.mark.parametrize(
    ("figure", "before", "percent", "passed", "words"),
    [
        (1234568, 1234567, 0.0, False, "1,234,567 before, 1,234,568 now (+1), no more allowed"),
        (1100, 1000, 5.0, False, "1,000 before, 1,100 now (+100, +10.00 %), at most 5 % more allowed"),
        (1000, 1000, 0.0, True, "1,000 before, 1,000 now, no more allowed"),
        (0.0100001, 0.01, 0.0, False, "0.01 before, 0.0100001 now (+1e-07), no more allowed"),
    ],
)
def test_a_verdict_shows_the_difference_it_rests_on(
    figure: float, before: float, percent: float, passed: bool, words: str
) -> None:
    gate = at_most("figure", figure, before, percent)
    assert (gate.outcome is Outcome.PASSED) == passed
    assert gate.detail == words


def test_latencies_have_their_unit() -> None:
    gate = Gate("stream.latency", 2.05e-5, 0.0113, 1.5, Outcome.PASSED, "", unit="s")
    assert gate.figures == ("20.5 us", "11.3 ms", "1.5 s")

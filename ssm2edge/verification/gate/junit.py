"""The gate's report as JUnit XML, which CI systems show test by test."""

from __future__ import annotations

from xml.etree import ElementTree

from ssm2edge.verification.gate.report import GateReport
from ssm2edge.verification.sequential import Outcome


def to_junit(report: GateReport) -> str:
    """Return one test case per gate: a regression is a failure, an inconclusive gate an error."""
    outcomes = [gate.outcome for gate in report.gates]
    suite = ElementTree.Element(
        "testsuite",
        name="ssm2edge check",
        tests=str(len(outcomes)),
        failures=str(outcomes.count(Outcome.REGRESSION)),
        errors=str(outcomes.count(Outcome.INCONCLUSIVE)),
        skipped="0",
        time=f"{report.seconds:.3f}",
    )
    for gate in report.gates:
        case = ElementTree.SubElement(suite, "testcase", classname="ssm2edge.check", name=gate.name)
        if gate.outcome is Outcome.PASSED:
            ElementTree.SubElement(case, "system-out").text = gate.detail
        else:
            kind = "failure" if gate.outcome is Outcome.REGRESSION else "error"
            ElementTree.SubElement(case, kind, type=gate.outcome.value, message=gate.detail).text = gate.detail
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"

"""What tests of responses share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.verification.response_cases import Case, case_of


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def of(kind: str) -> Case:
        if kind not in made:
            made[kind] = case_of(kind, tmp_path_factory.mktemp("graph") / "offline.onnx")
        return made[kind]

    return of

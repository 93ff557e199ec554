"""Weights load under the names, and models under the wrappers, that training leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssm2edge.errors import UserError
from ssm2edge.loading import Signature, load_model, open_source
from ssm2edge.loading.weights import load_weights
from ssm2edge.loading.wrappers import unwrapped
from tests.slow_cases import slow_but


class Tagger(nn.Module):
    """Tokens to tokens; the head has the embedding's weights if ``tied``."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding, self.mixing, self.head = nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(3, 5, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        answer: Tensor = self.head(self.mixing(self.embedding(tokens)))
        return answer


TOKENS = torch.tensor([[0, 3, 4, 1]])


def trained(tied: bool = False) -> Tagger:
    torch.manual_seed(7)
    return Tagger(tied)


def assert_loaded(model: nn.Module, path: Path, tied: bool = False) -> None:
    load_weights(model, path, trust_pickle=False)
    assert torch.equal(unwrapped(model)(TOKENS), trained(tied)(TOKENS))


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in trained().state_dict().items()}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("others", [{}, {"criterion.weight": torch.ones(2), "n_averaged": torch.tensor(4)}])
def test_prefixes_of_trainers_are_taken_off(tmp_path: Path, prefix: str, others: dict[str, Tensor]) -> None:
    save_file(prefixed(prefix) | others, tmp_path / "w.safetensors")
    assert_loaded(Tagger(), tmp_path / "w.safetensors")


def test_two_models_in_one_file_are_told_apart_by_the_user(tmp_path: Path) -> None:
    save_file(prefixed("model.") | prefixed("ema."), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"several prefixes \(ema\., model\.\)"):
        load_weights(Tagger(), tmp_path / "w.safetensors", trust_pickle=False)


def test_what_does_not_fit_is_told_without_the_prefix(tmp_path: Path) -> None:
    weights = prefixed("module.")
    del weights["module.mixing.bias"]
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"it lacks mixing\.bias; give"):
        load_weights(Tagger(), tmp_path / "w.safetensors", trust_pickle=False)


def test_tied_weights_need_one_name(tmp_path: Path) -> None:
    save_model(trained(tied=True), str(tmp_path / "w.safetensors"))
    assert_loaded(Tagger(tied=True), tmp_path / "w.safetensors", tied=True)
    with pytest.raises(UserError, match="it lacks"):
        load_weights(Tagger(), tmp_path / "w.safetensors", trust_pickle=False)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_checkpoints_of_trainers_load(tmp_path: Path, key: str) -> None:
    optimizer = torch.optim.Adam(trained().parameters()).state_dict()
    torch.save({"epoch": 3, "acc": 0.5, key: trained().state_dict(), "optimizer": optimizer}, tmp_path / "w.pt")
    assert_loaded(Tagger(), tmp_path / "w.pt")


def test_checkpoints_of_two_models_are_refused(tmp_path: Path) -> None:
    torch.save({"student": trained().state_dict(), "teacher": trained().state_dict()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"several state dicts \(student, teacher\)"):
        load_weights(Tagger(), tmp_path / "w.pt", trust_pickle=False)


def test_a_pickle_that_fails_although_trusted_says_why(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"no pickle")
    with pytest.raises(UserError, match=r"cannot be unpickled \(") as told:
        load_weights(Tagger(), tmp_path / "w.pt", trust_pickle=True)
    assert "--trust-pickle" not in str(told.value)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "data parallel": nn.DataParallel,
    "compiled": torch.compile,
    "averaged": lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    "compiled and parallel": lambda model: nn.DataParallel(torch.compile(model)),
}


@pytest.mark.parametrize("wrapper", slow_but(("averaged", "data parallel"), WRAPPERS))
@pytest.mark.parametrize("saved", ["with the wrapper", "without"])
def test_wrappers_of_training_are_taken_off(tmp_path: Path, wrapper: str, saved: str) -> None:
    state = WRAPPERS[wrapper](trained()).state_dict() if saved == "with the wrapper" else trained().state_dict()
    save_file({name: value.clone() for name, value in state.items()}, tmp_path / "w.safetensors")
    model = WRAPPERS[wrapper](Tagger())
    assert_loaded(model, tmp_path / "w.safetensors")
    assert isinstance(unwrapped(model), Tagger)


def test_wrapped_layers_inside_a_model_are_taken_out() -> None:
    model = trained()
    model.mixing = torch.compile(nn.DataParallel(model.mixing))
    model.compile()
    assert unwrapped(model) is model
    assert type(model.mixing) is nn.Linear
    assert torch.equal(model(TOKENS), trained()(TOKENS))  # nothing is compiled


def test_the_factory_may_return_a_wrapped_model(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n    return nn.DataParallel(torch.compile(nn.Linear(2, 1)))\n"
    )
    save_file({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, tmp_path / "w.safetensors")
    model = load_model(open_source(f"{tmp_path}/code.py:make", tmp_path / "w.safetensors", tmp_path / "samples.npz"))
    assert type(model) is nn.Linear
    assert Signature.of(model).needed == ("input",)
    assert torch.equal(model.weight, torch.ones(1, 2))

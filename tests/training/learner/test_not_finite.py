"""NaN and infinities in learning and on disk: refused by name, and the last sound state stays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from engine.network.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from engine.network.inference.evaluator import make_evaluator
from engine.network.language.checkpoint import load_language, save_language
from engine.network.language.gpt2 import load_gpt2, save_gpt2
from engine.network.language.move_predictor import MovePredictor
from engine.network.language.move_tokens import MoveTokenizer
from engine.network.language.sampling import Sampling, draw
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.activations.capture import capture
from engine.rules.errors import NotFiniteError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from engine.settings import SettingError
from scripts import cli
from tests.support.network.language_cases import lively_model
from tests.support.network.network_cases import lively_network, small_config
from tests.support.training.move_language_cases import train_small
from tests.support.training.run_cases import SETTINGS, Watch, train
from tests.support.training.training_cases import hexapawn, perfect_rows
from training.config import LearningConfig, resolve
from training.data.replay import ReplayWindow
from training.language.learner import LanguageLearner
from training.language.measures import model_predictor
from training.learner.learner import Learner
from training.learner.losses import Draw, LossTerms

VARIANT: Final = get_variant("hexapawn")
QUICK: Final = LearningConfig(batch=16, learning_rate=1e-2, warm_up=0)


class Planted:
    """Gradients of workers, of whom one computes nonsense from the third batch on."""

    def __init__(self, size: int, place: int, value: float, loss: str | None) -> None:
        self.vectors: tuple[Tensor, Tensor] = torch.empty(size), torch.zeros(size)
        self._gradient, self._place, self._value, self._loss = self.vectors[1], place, value, loss
        self._asked = 0

    def compute(self, draws: Sequence[Draw]) -> npt.NDArray[np.float64]:
        """See training.learner.losses.Gradients."""
        self._asked += 1
        self._gradient.fill_(1e-3)
        terms = np.ones(len(LossTerms._fields))
        if self._asked > 2 and self._loss is None:
            self._gradient[self._place] = self._value
        elif self._asked > 2 and self._loss is not None:
            terms[LossTerms._fields.index(self._loss)] = self._value
        return terms


def planted_learner(value: float, loss: str | None = None, place: int = -1) -> Learner:
    torch.manual_seed(1)
    network = PolicyValueNet(small_config("hexapawn", "geometric"))
    return Learner([VARIANT], network, QUICK, Planted(network.parameter_count, place, value, loss))


def window() -> ReplayWindow:
    made = ReplayWindow(QUICK)
    made.add(perfect_rows(*hexapawn()), 1000)
    return made


def refused_step(learner: Learner) -> str:
    """Two good steps, then the message of the third, which changes nothing."""
    learner.learn([window()], 2, np.random.default_rng(0))
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    with pytest.raises(NotFiniteError) as caught:
        learner.learn([window()], 1, np.random.default_rng(0))
    assert learner.steps == 2
    for name, tensor in learner.state().items():
        assert torch.equal(tensor, before[name]), name
    learner.require_sound()
    return str(caught.value)


@pytest.mark.parametrize("loss", LossTerms._fields)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_not_followed(loss: str, value: float) -> None:
    message = refused_step(planted_learner(value, loss))
    assert message == f"step 3: the loss '{loss}' is {value}"


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_gradient_that_is_not_finite_is_named_by_its_parameter(value: float) -> None:
    # The last parameter of all is one number.
    message = refused_step(planted_learner(value))
    assert message == f"step 3: the gradient of 'value.moves_left.bias' is {value} (number 1 of 1)"
    message = refused_step(planted_learner(value, place=0))
    assert message.startswith("step 3: the gradient of 'embedding.token.weight' is")


def test_a_gradient_whose_length_overflows_is_refused() -> None:
    """Clipping would divide it by infinity and take a step of nothing."""
    message = refused_step(planted_learner(3e38))
    assert message == "step 3: the length of the gradient is inf"


def test_weights_that_are_finite_and_too_large_are_not_sound() -> None:
    learner = planted_learner(0.0)
    learner.require_sound()
    with torch.no_grad():
        for parameter in learner.ema.parameters():
            parameter.fill_(1e30)
    with pytest.raises(NotFiniteError, match="the EMA's outputs for hexapawn's start"):
        learner.require_sound()
    with torch.no_grad():
        next(iter(learner.network.parameters()))[0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"'network\.embedding\.token\.weight' is nan"):
        learner.require_sound()


def session(path: Path, **learning: Any) -> None:
    """Of few rounds, where nothing is refused."""
    train(path, Watch(after=2), learning=SETTINGS["learning"] | learning)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_diverges_is_refused_as_often_as_it_is_begun(
    precision: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(NotFiniteError) as caught:
            session(path, learning_rate=1e18, precision=precision)
        assert str(caught.value).startswith(f"{path}: round 1")
        assert "no round was saved" in str(caught.value)
        assert "learning_rate = 1e+18" in str(caught.value)
        # The next start may have another rate.
        assert not path.exists()
    session(path)


def test_what_grows_too_large_between_two_rounds_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step a round: its losses are those before it, and the weights after it are finite."""

    path = tmp_path / "run"
    train(path, Watch(after=1), learning=SETTINGS["learning"] | {"batch": 512})
    before = (path / "learner.safetensors").read_bytes()

    def far(learner: Learner) -> None:
        learner._weights.fill_(1e30)
        learner.steps += 1

    monkeypatch.setattr(Learner, "_step", far)
    with pytest.raises(NotFiniteError, match="round 2 is not saved: the network's outputs for hex"):
        session(path, batch=512)
    assert (path / "learner.safetensors").read_bytes() == before


def test_language_training_that_diverges_is_refused_as_often_as_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The configuration knows better; a learner that does not must be caught all the same.
    monkeypatch.setattr(LanguageLearner, "_share", lambda learner, fraction: 1e30)
    path = tmp_path / "language"
    for _ in range(2):
        saved = f"^{path}: round 1: .*no round was saved .*matrix_rate"
        with pytest.raises(NotFiniteError, match=saved):
            train_small(path, VARIANT, rounds=3)
        assert not path.exists()


def spoil(path: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    """Put a number into a tensor of a file, past our own writer."""
    with safetensors.safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors[name] = tensors[name].to(dtype).clone()
    tensors[name].view(-1)[-1] = value
    path.write_bytes(safetensors.torch.save(tensors, about))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "hexapawn.safetensors"
    save_checkpoint(path, lively_network("hexapawn", "geometric"), metadata={"step": 1})
    return path


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (float("nan"), torch.float32, "nan"),
        (float("-inf"), torch.float32, "-inf"),
        (float("nan"), torch.bfloat16, "nan"),
        (float("inf"), torch.float16, "inf"),
        (1e300, torch.float64, "inf"),
    ],
)
def test_a_checkpoint_with_one_bad_number_is_refused_by_the_tensor(
    value: float, dtype: torch.dtype, said: str, checkpoint: Path
) -> None:
    spoil(checkpoint, "value.wdl.bias", value, dtype)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(checkpoint, variant=VARIANT)
    fault = f"tensor 'value.wdl.bias' is {said} (number 3 of 3)"
    assert str(caught.value) == f"{checkpoint}: {fault}"


COMMANDS: Final = {
    "train": ["train", "hexapawn", "--from", "FILE", "--run", "RUN", "--minutes", "0.01"],
    "match": ["match", "policy:FILE", "random", "hexapawn", "--games", "2"],
    "match mcts": ["match", "mcts:9:FILE", "random", "hexapawn", "--games", "2"],
    "match gumbel": ["match", "gumbel:9:FILE", "random", "hexapawn", "--games", "2"],
    "export": ["export", "FILE", "RUN.onnx"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_every_command_refuses_it_in_one_line(
    words: list[str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(checkpoint, "policy.key.weight", float("nan"))
    places = {"FILE": str(checkpoint), "RUN": str(tmp_path / "run")}
    filled = [word.replace("FILE", places["FILE"]).replace("RUN", places["RUN"]) for word in words]
    assert cli.main(filled) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1] == (
        f"pawnscope: {checkpoint}: tensor 'policy.key.weight' is nan (number 128 of 128)"
    )


def test_what_is_not_finite_is_not_written(checkpoint: Path) -> None:
    network, before = lively_network("hexapawn", "geometric"), checkpoint.read_bytes()
    with torch.no_grad():
        network.value.wdl.bias[1] = torch.inf
    with pytest.raises(NotFiniteError, match=r"not written: tensor 'value\.wdl\.bias' is inf"):
        save_checkpoint(checkpoint, network, metadata={})
    with pytest.raises(NotFiniteError, match="not written: tensor 'x' is nan"):
        save_tensors(checkpoint, {"x": np.array([0.0, np.nan])}, {})
    with pytest.raises(NotFiniteError, match="not written: a number in its header"):
        save_tensors(checkpoint, {}, {"loss": float("nan")})
    assert checkpoint.read_bytes() == before
    assert [file.name for file in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_a_learner_s_state_with_one_bad_number_is_refused(tmp_path: Path) -> None:
    learner = planted_learner(0.0)
    learner.learn([window()], 1, np.random.default_rng(0))
    path = tmp_path / "learner.safetensors"
    save_tensors(path, learner.state(), {})
    spoil(path, "optimiser.exp_avg_sq", float("inf"))
    with pytest.raises(CheckpointError, match=r"tensor 'optimiser.exp_avg_sq' is inf"):
        load_tensors(path)


def test_finite_weights_whose_products_are_not_judge_nothing() -> None:
    network = lively_network("hexapawn", "geometric")
    with torch.no_grad():
        network.value.hidden.weight.fill_(3e38)
        network.value.wdl.weight.fill_(3e38)
    with pytest.raises(NotFiniteError, match="evaluation by the network of hexapawn: WDL is nan"):
        make_evaluator(network, backend="torch", precision="fp32", device="cpu")
    rows = VARIANT.start_row[None]
    with pytest.raises(NotFiniteError, match=r"the activation at 'value\.hidden' is inf"):
        capture(network, rows, ["value.hidden"])


def nan_gpt2(folder: Path, value: float, dtype: torch.dtype) -> None:
    save_gpt2(lively_model(), folder)
    spoil(folder / "model.safetensors", "transformer.h.1.mlp.c_fc.bias", value, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpt2_with_one_bad_number_is_refused_by_the_tensor(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    nan_gpt2(tmp_path, float("nan"), dtype)
    with pytest.raises(CheckpointError, match=r"tensor 'h\.1\.mlp\.c_fc\.bias' is nan \(number 64"):
        load_gpt2(tmp_path)


def test_a_part_of_a_gpt2_is_looked_at_as_well(tmp_path: Path) -> None:
    nan_gpt2(tmp_path, float("inf"), torch.float32)
    whole = tmp_path / "model.safetensors"
    tensors = safetensors.torch.load(whole.read_bytes())
    whole.unlink()
    places = {name: f"{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for part in set(places.values()):
        own = {name: tensor for name, tensor in tensors.items() if places[name] == part}
        safetensors.torch.save_file(own, tmp_path / part, {"format": "pt"})
    index = '{"weight_map": ' + str(places).replace("'", '"') + "}"
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(
        CheckpointError, match=r"index\.json: tensor 'h\.1\.mlp\.c_fc\.bias' is inf"
    ):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [[float("nan")], [float("inf")], [-float("inf")] * 3])
def test_no_token_is_drawn_where_there_is_no_likeliest(
    temperature: float, bad: list[float]
) -> None:
    logits = torch.zeros(2, 3)
    logits[1, : len(bad)] = torch.tensor(bad)
    with pytest.raises(NotFiniteError, match="the next token: the largest logit is"):
        draw(logits, Sampling(temperature=temperature), torch.Generator())
    ruled_out = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    assert draw(ruled_out, Sampling(temperature=temperature), torch.Generator()).tolist() == [1]


def broken_model(vocabulary: int) -> Any:
    model = lively_model(vocabulary=vocabulary)
    with torch.no_grad():
        model.backbone.norm.bias[0] = torch.nan
    return model


def test_a_language_model_that_says_nan_reads_and_writes_nothing(tmp_path: Path) -> None:
    tokenizer = MoveTokenizer.of(VARIANT)
    model = broken_model(len(tokenizer))
    with pytest.raises(NotFiniteError, match="the language model of hexapawn"):
        MovePredictor(model, tokenizer, VARIANT).predict([Position(VARIANT)])
    with pytest.raises(NotFiniteError, match="the next token"):
        next(model.generate(torch.zeros(1, 1).long(), Sampling(), torch.Generator()))
    with pytest.raises(NotFiniteError, match="the language model: the largest logit is nan"):
        model_predictor(model, bf16=False)(torch.zeros(1, 2).long())
    path = tmp_path / "language.safetensors"
    with pytest.raises(NotFiniteError, match=r"tensor 'backbone\.norm\.bias' is nan"):
        save_language(path, model, tokenizer, VARIANT, metadata={})
    save_language(path, lively_model(vocabulary=len(tokenizer)), tokenizer, VARIANT, metadata={})
    spoil(path, "token.weight", float("nan"))
    with pytest.raises(CheckpointError, match=r"tensor 'token\.weight' is nan"):
        load_language(path, variant=VARIANT)


@pytest.mark.parametrize(
    ("table", "name"),
    [("learning", "learning_rate"), ("learning", "weight_decay"), ("self_play", "c_scale")],
)
@pytest.mark.parametrize("text", ["inf", "nan"])
def test_a_setting_that_is_no_number_is_refused(
    table: str, name: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=f"{name} = {text} is not"):
        resolve(VARIANT, {table: {name: float(text)}})


def test_a_run_may_be_endless(tmp_path: Path) -> None:
    assert resolve(VARIANT, {"minutes": float("inf")}).minutes == float("inf")

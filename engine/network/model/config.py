"""What a network is made of. Its configuration travels with every checkpoint."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from engine.network.model.former_names import with_current_names
from engine.rules.errors import InputError
from engine.rules.tables import LARGEST_SIDE
from engine.rules.variant import Variant

Trunk = Literal["transformer", "residual"]
Position = Literal["geometric", "learned", "none"]
Activation = Literal["relu", "gelu"]
Norm = Literal["layer", "none"]
Value = Literal["wdl", "scalar"]

LARGEST_WIDTH: Final = 1 << 14
LARGEST_DEPTH: Final = 256
LARGEST_VOCABULARY: Final = 1 << 20
"""Bounds for slips and damaged files; no network for such boards comes near them."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A transformer backbone by itself, whatever its tokens stand for."""

    # D, the width of the residual stream.
    channels: int
    # Blocks of attention and MLP.
    blocks: int
    # H, attention heads in a block; divides `channels`.
    heads: int
    # M, width of the MLP's hidden layer; 0 leaves the MLPs out.
    hidden: int
    # Between the MLP's layers: "gelu" is the tanh approximation, as in GPT-2.
    activation: Activation
    # "geometric" adds a learned bias for relative file and rank to the attention scores, "learned"
    # adds a vector for each place to the tokens, "none" leaves tokens a set.
    position: Position
    # Whether a token sees only itself and the tokens before it.
    causal: bool
    # T, the most tokens of one sequence.
    context: int
    # Files by ranks of the board whose squares the tokens are, for "geometric" only; without one
    # every forward pass says which boards it is given.
    board: tuple[int, int] | None = None
    # Share of the numbers that training drops: of embedded tokens, of attention weights, and of
    # what attention and MLP add to the stream.
    dropout: float = 0.0
    # Standard deviation of fresh weights; None for GPT-2's 0.02 at its 768 channels and more for
    # fewer.
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """A causal language model, whatever its tokens stand for. The defaults are GPT-2's own."""

    # V, tokens that there are.
    vocabulary: int = 50_257
    # T, the most tokens of one sequence.
    context: int = 1024
    # D, the width of the residual stream.
    channels: int = 768
    # Blocks of attention and MLP.
    blocks: int = 12
    # H, attention heads in a block; divides `channels`.
    heads: int = 12
    # M, width of the MLP's hidden layer; 0 leaves the MLPs out.
    hidden: int = 3072
    # Between the MLP's layers: "gelu" is the tanh approximation.
    activation: Activation = "gelu"
    # "learned" adds a vector for each place, "none" leaves order to the causal mask.
    position: Literal["learned", "none"] = "learned"
    # Whether the head that names the next token is the table of the tokens' vectors.
    tied: bool = True
    # Share of the numbers that training drops.
    dropout: float = 0.1
    # Standard deviation of fresh weights.
    spread: float = 0.02

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, where sizes are out of range or do not fit."""
        for field in dataclasses.fields(self):
            _check_language_field(field.name, getattr(self, field.name))
        if self.channels % self.heads:
            raise _error("heads", self.heads, f"does not divide channels {self.channels}")

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`; raises InputError, naming the field, for one that is unknown,
        missing or out of range."""
        known = [field.name for field in dataclasses.fields(cls)]
        _check_names("language model", values, known, known)
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every type

    def to_dict(self) -> dict[str, object]:
        """All fields by name, as JSON can hold them."""
        return dataclasses.asdict(self)

    def transformer(self) -> TransformerConfig:
        """The backbone: each token sees itself and those before it."""
        return TransformerConfig(
            channels=self.channels,
            blocks=self.blocks,
            heads=self.heads,
            hidden=self.hidden,
            activation=self.activation,
            position=self.position,
            causal=True,
            context=self.context,
            dropout=self.dropout,
            spread=self.spread,
        )


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """How a policy/value network is built, whatever it plays."""

    # What turns tokens into square features.
    trunk: Trunk = "transformer"
    # Depth: attention and MLP, or two convolutions.
    blocks: int = 4
    # D, features of a square.
    channels: int = 64
    # H, attention heads (transformer).
    heads: int = 2
    # M, width of the MLP's hidden layer (transformer); 0 leaves the MLPs out.
    hidden: int = 128
    # Between the MLP's layers (transformer).
    activation: Activation = "relu"
    # How attention knows where squares stand (transformer). Tokens always carry rank and file.
    position: Position = "geometric"
    # Before each pair of convolutions (residual): "none" leaves the stream as it is and puts a ReLU
    # behind each block instead, which is cheaper to compute.
    norm: Norm = "layer"
    # Whether each pair of convolutions ends in squeeze-and-excitation (residual).
    excitation: bool = True
    # Width of the squeezed board (residual).
    squeeze: int = 16
    # E, width of the queries and keys of the from-to policy.
    policy_channels: int = 32
    # V, width of the pooled board behind the WDL and moves-left heads.
    value_channels: int = 32
    # What the value head says: win, draw and loss, or one number without draws.
    value: Value = "wdl"
    # Whether an auxiliary head predicts the opponent's reply; only training computes it.
    reply: bool = False
    # Whether one predicts who stands on each square when the game is over.
    ownership: bool = False

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, where sizes are out of range or do not fit."""
        for field in dataclasses.fields(self):
            _check_field(field.name, getattr(self, field.name))
        if self.trunk == "transformer" and self.channels % self.heads:
            raise _error("heads", self.heads, f"does not divide channels {self.channels}")

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`; JSON's lists count as tuples.

        Reads former names. Fields that came later take their defaults, which is what the older
        networks are. Raises InputError, naming the field, for one that is unknown, missing or out
        of range.
        """
        values = with_current_names(values)
        known = [field.name for field in dataclasses.fields(cls)]
        _check_names("network", values, known, [name for name in known if name not in _LATER])
        plain = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)  # type: ignore[arg-type]  # __post_init__ checks every type

    def to_dict(self) -> dict[str, object]:
        """All fields by name, as JSON can hold them."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(BuildConfig):
    """A policy/value network. Everything that its tensors' shapes and meaning depend on."""

    # Name of the game; the rules themselves are stored beside it in a checkpoint.
    variant: str
    # Files of the board, 1 to 8.
    width: int
    # Ranks of the board, 1 to 8.
    height: int
    # Piece types that a pawn may become, in the order of the promotion logits; () for none.
    promotion_types: tuple[int, ...]
    # Half-moves without progress that draw, the unit of the clock feature; 0 where there is none.
    clock_rule: int

    @property
    def squares(self) -> int:
        """S."""
        return self.width * self.height

    @classmethod
    def for_variant(cls, variant: Variant, settings: Mapping[str, object] | None = None) -> Self:
        """The network of a variant, with the fields of `settings` in place of the defaults.

        Raises InputError for an unknown field, and for one that the variant decides.
        """
        settings = with_current_names(settings or {})
        ours: dict[str, object] = {
            "variant": variant.name,
            "width": variant.width,
            "height": variant.height,
            "promotion_types": variant.promotion_types,
            "clock_rule": variant.clock_rule,
        }
        for name, value in settings.items():
            if name in ours:
                raise _error(name, value, f"is decided by the variant {variant.name}")
            _check_names(
                "network", {name: value}, [field.name for field in dataclasses.fields(cls)]
            )
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(cls)
            if field.default is not dataclasses.MISSING
        }
        return cls.from_dict(defaults | ours | settings)

    def transformer(self) -> TransformerConfig:
        """The backbone of the transformer trunk: one token a square, each sees all."""
        return TransformerConfig(
            channels=self.channels,
            blocks=self.blocks,
            heads=self.heads,
            hidden=self.hidden,
            activation=self.activation,
            position=self.position,
            causal=False,
            context=self.squares,
            board=(self.width, self.height),
        )


def difference(found: Any, wanted: Any, *, but: Collection[str] = ()) -> str | None:
    """The first field in which two configurations of one kind differ, other than those of `but`, as
    "blocks = 4, not 6"; None where they agree."""
    for field in dataclasses.fields(wanted):
        theirs, ours = getattr(found, field.name), getattr(wanted, field.name)
        if theirs != ours and field.name not in but:
            return f"{field.name} = {theirs!r}, not {ours!r}"
    return None


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "trunk": get_args(Trunk),
    "activation": get_args(Activation),
    "position": get_args(Position),
    "norm": get_args(Norm),
    "value": get_args(Value),
}
_SWITCHES: Final = ("excitation", "reply", "ownership", "tied")
_LATER: Final = ("norm", "excitation", "value", "reply", "ownership")
"""Fields that the first checkpoints do not have."""
_RANGES: Final = {
    "width": (1, LARGEST_SIDE),
    "height": (1, LARGEST_SIDE),
    "clock_rule": (0, 255),
    "blocks": (0, LARGEST_DEPTH),
    "hidden": (0, LARGEST_WIDTH),
}


def quoted(value: object) -> str:
    """A value as a message repeats it."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """What a message repeats of a text from a file, which may be of any length."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…"


_LONGEST_QUOTE: Final = 80
_LONGEST_NAME: Final = 200


def _error(name: str, value: object, problem: str) -> InputError:
    return InputError(f"network configuration: {name} = {quoted(value)} {problem}")


def _check_names(
    kind: str, values: Mapping[str, object], known: list[str], needed: Sequence[str] = ()
) -> None:
    """Raises InputError for a name that is not known, and for one that is needed and missing."""
    for name in values:
        if name not in known:
            raise InputError(
                f"{kind} configuration: unknown field {quoted(name)} (fields: {', '.join(known)})"
            )
    for name in needed:
        if name not in values:
            raise InputError(f"{kind} configuration: missing field '{name}'")


def _check_language_field(name: str, value: object) -> None:
    if name in ("dropout", "spread"):
        if not isinstance(value, float) or not 0.0 <= value < 1.0:
            raise _error(name, value, "is not a number from 0 to below 1")
    elif name == "vocabulary":
        if not _within(value, 1, LARGEST_VOCABULARY):
            raise _error(name, value, f"is not a whole number from 1 to {LARGEST_VOCABULARY}")
    elif name == "position":
        if value not in ("learned", "none"):
            raise _error(name, value, "is not one of learned, none")
    else:
        _check_field(name, value)


def _check_field(name: str, value: object) -> None:
    if name == "variant":
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
            raise _error(name, value, f"is not a name of up to {_LONGEST_NAME} characters")
    elif name == "promotion_types":
        if not isinstance(value, tuple) or not all(_within(item, 1, 15) for item in value):
            raise _error(name, value, "is not a list of piece types 1 to 15")
        if len(set(value)) != len(value):
            raise _error(name, value, "names a piece type twice")
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise _error(name, value, f"is not one of {', '.join(_CHOICES[name])}")
    elif name in _SWITCHES:
        if not isinstance(value, bool):
            raise _error(name, value, "is neither true nor false")
    else:
        low, high = _RANGES.get(name, (1, LARGEST_WIDTH))
        if not _within(value, low, high):
            raise _error(name, value, f"is not a whole number from {low} to {high}")


def _within(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

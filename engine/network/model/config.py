"""What a network is made of. Its configuration is stored in every checkpoint.

A field's bounds are in its annotation. `CheckedConfig` checks them all: it is the base of every
configuration that a file or a person may hold.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    Self,
    get_args,
    get_origin,
    get_type_hints,
)

from engine.network.model.former_names import with_current_names
from engine.rules.errors import InputError
from engine.rules.tables import LARGEST_SIDE
from engine.rules.variant import Variant
from engine.settings import quoted

Trunk = Literal["transformer", "residual"]
Position = Literal["geometric", "learned", "none"]
Activation = Literal["relu", "gelu"]
Norm = Literal["layer", "none"]
Value = Literal["wdl", "scalar"]

LARGEST_WIDTH: Final = 1 << 14
LARGEST_DEPTH: Final = 256
LARGEST_VOCABULARY: Final = 1 << 20
"""Bounds that catch mistakes and damaged files; networks for such boards are far smaller."""
_LONGEST_NAME: Final = 200

Check = Callable[[object], str | None]
"""What is wrong with a value, as the end of a sentence; None for a valid one."""


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int, high: int) -> Check:
    problem = f"is not a whole number from {low} to {high}"
    return lambda value: None if _is_whole(value, low, high) else problem


def _share(value: object) -> str | None:
    valid = isinstance(value, float) and 0.0 <= value < 1.0
    return None if valid else "is not a number from 0 to below 1"


def _name(value: object) -> str | None:
    valid = isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME
    return None if valid else f"is not a name of up to {_LONGEST_NAME} characters"


def _piece_types(value: object) -> str | None:
    if not isinstance(value, tuple) or not all(_is_whole(item, 1, 15) for item in value):
        return "is not a list of piece types 1 to 15"
    return None if len(set(value)) == len(value) else "names a piece type twice"


Width = Annotated[int, _whole(1, LARGEST_WIDTH)]
OptionalWidth = Annotated[int, _whole(0, LARGEST_WIDTH)]
Depth = Annotated[int, _whole(0, LARGEST_DEPTH)]
Side = Annotated[int, _whole(1, LARGEST_SIDE)]
Share = Annotated[float, _share]


def _problem(value: object, annotation: Any) -> str | None:
    """What is wrong with a field's value."""
    if annotation is bool:
        return None if isinstance(value, bool) else "is neither true nor false"
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return None if value in choices else f"is not one of {', '.join(choices)}"
    return get_args(annotation)[1](value)  # type: ignore[no-any-return]  # a Check


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """A configuration whose fields are choices, switches, or annotated with a `Check`."""

    KIND: ClassVar[str] = "network"
    """What messages call it."""
    LATER: ClassVar[Collection[str]] = ()
    """Fields that the first files do not have."""

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, for a value that is out of range."""
        annotations = get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            problem = _problem(value, annotations[field.name])
            if problem is not None:
                raise self.error(field.name, value, problem)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The inverse of `to_dict`; JSON's lists become tuples.

        Reads former names. Fields of `LATER` may be missing and then take their defaults. Raises
        InputError, naming the field, for one that is unknown, missing or out of range.
        """
        values = with_current_names(values)
        cls.require_known(values)
        for field in dataclasses.fields(cls):
            if field.name not in values and field.name not in cls.LATER:
                raise InputError(f"{cls.KIND} configuration: missing field '{field.name}'")
        plain = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)

    def to_dict(self) -> dict[str, object]:
        """All fields by name, as JSON can hold them."""
        return dataclasses.asdict(self)

    @classmethod
    def require_known(cls, names: Collection[str]) -> None:
        """Raises InputError for a name that is not a field."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in names:
            if name not in known:
                raise InputError(
                    f"{cls.KIND} configuration: unknown field {quoted(name)}"
                    f" (fields: {', '.join(known)})"
                )

    @classmethod
    def error(cls, name: str, value: object, problem: str) -> InputError:
        """An error that names a field and repeats its value."""
        return InputError(f"{cls.KIND} configuration: {name} = {quoted(value)} {problem}")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A transformer backbone, for tokens of any meaning."""

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
    # (files, ranks) of the board whose squares are the tokens, for "geometric" only; where it is
    # None, every forward pass names its boards.
    board: tuple[int, int] | None = None
    # Probability of dropout in training: of embedded tokens, of attention weights, and of what
    # attention and MLP add to the stream.
    dropout: float = 0.0
    # Standard deviation of fresh weights; None for GPT-2's 0.02 at its 768 channels and more for
    # fewer.
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(CheckedConfig):
    """A causal language model, for tokens of any meaning. The defaults are GPT-2's."""

    KIND = "language model"

    # V, the number of different tokens.
    vocabulary: Annotated[int, _whole(1, LARGEST_VOCABULARY)] = 50_257
    # T, the most tokens of one sequence.
    context: Width = 1024
    # D, the width of the residual stream.
    channels: Width = 768
    # Blocks of attention and MLP.
    blocks: Depth = 12
    # H, attention heads in a block; divides `channels`.
    heads: Width = 12
    # M, width of the MLP's hidden layer; 0 leaves the MLPs out.
    hidden: OptionalWidth = 3072
    # Between the MLP's layers: "gelu" is the tanh approximation.
    activation: Activation = "gelu"
    # "learned" adds a vector for each place, "none" leaves order to the causal mask.
    position: Literal["learned", "none"] = "learned"
    # Whether the output layer shares its weights with the token embedding.
    tied: bool = True
    # Probability of dropout in training.
    dropout: Share = 0.1
    # Standard deviation of fresh weights.
    spread: Share = 0.02

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, where sizes are out of range or do not fit."""
        super().__post_init__()
        if self.channels % self.heads:
            raise self.error("heads", self.heads, f"does not divide channels {self.channels}")

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
class BuildConfig(CheckedConfig):
    """How a policy/value network is built, for one variant or for all."""

    LATER = ("norm", "excitation", "value", "reply", "ownership")

    # The module that maps tokens to square features.
    trunk: Trunk = "transformer"
    # Blocks of the trunk: attention and MLP, or two convolutions.
    blocks: Depth = 4
    # D, features of a square.
    channels: Width = 64
    # H, attention heads (transformer).
    heads: Width = 2
    # M, width of the MLP's hidden layer (transformer); 0 leaves the MLPs out.
    hidden: OptionalWidth = 128
    # Between the MLP's layers (transformer).
    activation: Activation = "relu"
    # How attention knows where squares are (transformer). The embedding always has rank and file.
    position: Position = "geometric"
    # Before each pair of convolutions (residual): "none" leaves the stream as it is and puts a ReLU
    # behind each block instead, which is cheaper to compute.
    norm: Norm = "layer"
    # Whether each pair of convolutions ends in squeeze-and-excitation (residual).
    excitation: bool = True
    # Width of the squeezed board (residual).
    squeeze: Width = 16
    # E, width of the queries and keys of the from-to policy.
    policy_channels: Width = 32
    # V, width of the pooled board before the WDL and moves-left outputs.
    value_channels: Width = 32
    # Output of the value head: win, draw and loss, or one number without draws.
    value: Value = "wdl"
    # Whether an auxiliary head predicts the opponent's reply; only training computes it.
    reply: bool = False
    # Whether an auxiliary head predicts whose piece is on each square when the game is over.
    ownership: bool = False

    def __post_init__(self) -> None:
        """Raises InputError, naming the field, where sizes are out of range or do not fit."""
        super().__post_init__()
        if self.trunk == "transformer" and self.channels % self.heads:
            raise self.error("heads", self.heads, f"does not divide channels {self.channels}")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(BuildConfig):
    """A policy/value network. Everything that its tensors' shapes and meaning depend on."""

    # Name of the variant; its rules are stored beside the configuration in a checkpoint.
    variant: Annotated[str, _name]
    # Files of the board.
    width: Side
    # Ranks of the board.
    height: Side
    # Piece types that a pawn may become, in the order of the promotion logits; () for none.
    promotion_types: Annotated[tuple[int, ...], _piece_types]
    # Half-moves without progress that draw, the unit of the clock feature; 0 for no such rule.
    clock_rule: Annotated[int, _whole(0, 255)]

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
        cls.require_known(settings)
        decided = {name: getattr(variant, name) for name in VARIANT_FIELDS if name != "variant"}
        decided["variant"] = variant.name
        for name in decided:
            if name in settings:
                raise cls.error(name, settings[name], f"is decided by the variant {variant.name}")
        return cls.from_dict(BuildConfig().to_dict() | decided | settings)

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


VARIANT_FIELDS: Final = ("variant", "width", "height", "promotion_types", "clock_rule")
"""Fields of NetworkConfig that its variant decides."""
AUXILIARY_HEADS: Final = ("reply", "ownership")
"""Fields that only training uses: networks that differ in them alone play alike."""


def difference(found: Any, wanted: Any, *, but: Collection[str] = ()) -> str | None:
    """The first field in which two configurations of one class differ, except those of `but`, as
    "blocks = 4, not 6"; None where they agree."""
    for field in dataclasses.fields(wanted):
        theirs, ours = getattr(found, field.name), getattr(wanted, field.name)
        if theirs != ours and field.name not in but:
            return f"{field.name} = {theirs!r}, not {ours!r}"
    return None

"""What a network is made of. Its configuration is stored in every checkpoint."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from engine.network.model.former_names import with_current_names
from engine.rules.tables import LARGEST_SIDE
from engine.rules.variant import Variant
from engine.settings import LATER, Range, SettingError, Settings, build, quoted

Trunk = Literal["transformer", "residual"]
Position = Literal["geometric", "learned", "none"]
Activation = Literal["relu", "gelu"]
Norm = Literal["layer", "none"]
Value = Literal["wdl", "scalar"]

LARGEST_WIDTH: Final = 1 << 14
LARGEST_DEPTH: Final = 256
LARGEST_VOCABULARY: Final = 1 << 20
"""Bounds that catch mistakes and damaged files; networks for such boards are far smaller."""

Width = Annotated[int, Range(1, LARGEST_WIDTH)]
OptionalWidth = Annotated[int, Range(0, LARGEST_WIDTH)]
Depth = Annotated[int, Range(0, LARGEST_DEPTH)]
Side = Annotated[int, Range(1, LARGEST_SIDE)]
PieceType = Annotated[int, Range(1, 15)]
BelowOne = Annotated[float, Range(0, 1, below_high=True)]


@dataclass(frozen=True, kw_only=True)
class StoredSettings(Settings):
    """Settings that a checkpoint stores."""

    KIND: ClassVar[str] = "network"
    """Their name in messages."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; reads former names.

        Raises SettingError, naming the field, for one that is unknown, missing (unless it is marked
        LATER) or out of range.
        """
        where = f"{cls.KIND} configuration"
        return build(cls, with_current_names(values), where, complete=True)

    def to_dict(self) -> dict[str, object]:
        """All fields by name, as JSON can hold them."""
        return dataclasses.asdict(self)

    def _require(self, valid: bool, name: str, problem: str) -> None:
        """Raises SettingError, quoting the field, unless it is valid."""
        if not valid:
            raise SettingError(f"{name} = {quoted(getattr(self, name))} {problem}")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A transformer backbone, for tokens of any meaning. See LanguageConfig for the sizes."""

    channels: int
    blocks: int
    heads: int
    hidden: int
    activation: Activation
    context: int
    # "geometric" adds a learned bias for relative file and rank to the attention scores, "learned"
    # adds a vector for each place to the tokens, "none" leaves tokens a set.
    position: Position
    # Whether a token sees only itself and the tokens before it.
    causal: bool
    # (files, ranks) of the board whose squares are the tokens, for "geometric" only; where it is
    # None, every forward pass names the steps of its board.
    board: tuple[int, int] | None = None
    # Probability of dropout in training: of embedded tokens, of attention weights, and of what
    # attention and MLP add to the stream.
    dropout: float = 0.0
    # Standard deviation of fresh weights; None for GPT-2's 0.02 at its 768 channels and more for
    # fewer.
    spread: float | None = None


def _transformer(config: "LanguageConfig | BuildConfig", **others: Any) -> TransformerConfig:
    sizes = ("channels", "blocks", "heads", "hidden", "activation", "position")
    return TransformerConfig(**{name: getattr(config, name) for name in sizes}, **others)


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(StoredSettings):
    """A causal language model, for tokens of any meaning. The defaults are GPT-2's."""

    KIND = "language model"

    # V, the number of different tokens.
    vocabulary: Annotated[int, Range(1, LARGEST_VOCABULARY)] = 50_257
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
    dropout: BelowOne = 0.1
    # Standard deviation of fresh weights.
    spread: BelowOne = 0.02

    def __post_init__(self) -> None:
        """Raises SettingError, naming the field, where sizes are out of range or do not fit."""
        super().__post_init__()
        divides = self.channels % self.heads == 0
        self._require(divides, "heads", f"does not divide channels {self.channels}")

    def transformer(self) -> TransformerConfig:
        """The backbone: each token sees itself and those before it."""
        return _transformer(
            self, causal=True, context=self.context, dropout=self.dropout, spread=self.spread
        )


@dataclass(frozen=True, kw_only=True)
class BuildConfig(StoredSettings):
    """How a policy/value network is built, for one variant or for all."""

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
    norm: Annotated[Norm, LATER] = "layer"
    # Whether each pair of convolutions ends in squeeze-and-excitation (residual).
    excitation: Annotated[bool, LATER] = True
    # Width of the squeezed board (residual).
    squeeze: Width = 16
    # E, width of the queries and keys of the from-to policy.
    policy_channels: Width = 32
    # V, width of the pooled board before the WDL and moves-left outputs.
    value_channels: Width = 32
    # Output of the value head: win, draw and loss, or one number without draws.
    value: Annotated[Value, LATER] = "wdl"
    # Whether an auxiliary head predicts the opponent's reply; only training computes it.
    reply: Annotated[bool, LATER] = False
    # Whether an auxiliary head predicts whose piece is on each square when the game is over.
    ownership: Annotated[bool, LATER] = False

    def __post_init__(self) -> None:
        """Raises SettingError, naming the field, where sizes are out of range or do not fit."""
        super().__post_init__()
        divides = self.trunk != "transformer" or self.channels % self.heads == 0
        self._require(divides, "heads", f"does not divide channels {self.channels}")

    def transformer(self, context: int, board: tuple[int, int] | None = None) -> TransformerConfig:
        """The backbone of the transformer trunk: one token a square, each sees all."""
        return _transformer(self, causal=False, context=context, board=board)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(BuildConfig):
    """A policy/value network. Everything that its tensors' shapes and meaning depend on."""

    # Name of the variant; its rules are stored beside the configuration in a checkpoint.
    variant: Annotated[str, Range(1, 200)]
    # Files of the board.
    width: Side
    # Ranks of the board.
    height: Side
    # Piece types that a pawn may become, in the order of the promotion logits; () for none.
    promotion_types: tuple[PieceType, ...]
    # Half-moves without progress that draw, the unit of the clock feature; 0 for no such rule.
    clock_rule: Annotated[int, Range(0, 255)]

    def __post_init__(self) -> None:
        """Raises SettingError as BuildConfig does, and for a repeated promotion type."""
        super().__post_init__()
        different = len(set(self.promotion_types)) == len(self.promotion_types)
        self._require(different, "promotion_types", "names a piece type twice")

    @property
    def squares(self) -> int:
        """S."""
        return self.width * self.height

    @classmethod
    def for_variant(cls, variant: Variant, settings: Mapping[str, object] | None = None) -> Self:
        """The network of a variant, with the fields of `settings` in place of the defaults.

        Raises SettingError for an unknown field, and for one that the variant decides.
        """
        settings = with_current_names(settings or {})
        decided = {name: getattr(variant, name) for name in VARIANT_FIELDS if name != "variant"}
        decided["variant"] = variant.name
        for name in decided:
            if name in settings:
                raise SettingError(
                    f"{cls.KIND} configuration: {name} = {quoted(settings[name])} is decided by the"
                    f" variant {variant.name}"
                )
        return cls.from_dict(BuildConfig().to_dict() | decided | settings)


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

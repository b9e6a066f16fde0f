"""What a training run does: frozen dataclasses, presets by size of game, and their TOML file.

The resolved configuration is written into the run directory and is the run's own from then on.
"""

import contextlib
import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import tomli_w

from engine.network.model.config import NetworkConfig
from engine.network.model.former_names import with_current_names
from engine.network.model.universal import UniversalConfig
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant, variant_names
from engine.settings import (
    LATER,
    Count,
    Natural,
    NonNegative,
    Range,
    Seed,
    SettingError,
    Settings,
    Share,
    build,
    quoted,
)

Variants = Variant | Sequence[Variant]
"""The variant of a run, or several."""
LARGEST_SEARCH: Final = 400_000
"""Simulations of a search."""
MOST_VARIANTS: Final = 32
"""Variants of one run."""
_SEPARATOR: Final = "+"
"""Between the names of several variants."""

LEARNING: Final = 0
SAMPLING: Final = 1
WARM_START: Final = 2
GATE: Final = 3
"""First keys of `TrainingConfig.generator`, one for each purpose."""

Rescoring = Literal["none", "value", "both"]
Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True, kw_only=True)
class SelfPlayConfig(Settings):
    """How games are made."""

    # Worker processes that play, each with one thread; 0 plays in the learner's own process.
    actors: Annotated[int, Range(0, 256)] = 0
    # Games in progress at once, in each actor; the variants of a run share them, with 32 at least.
    games: Annotated[int, Range(1, 1 << 17)] = 64
    # How moves are searched: PUCT with noise at the root, or Gumbel with sequential halving.
    search: Literal["puct", "gumbel"] = "puct"
    # Moves that Gumbel's first phase looks at.
    considered: Annotated[int, Range(1, 2**15 - 1)] = 16
    # How sharply Gumbel's policy follows the values it found (search/mcts/gumbel.py).
    c_scale: Annotated[float, Range(1e-6, 100)] = 1.0
    # Simulations of a full search.
    simulations: Annotated[int, Range(1, LARGEST_SEARCH)] = 64
    # Simulations of a full search in the first round; they grow by a constant factor from round to
    # round up to `simulations`. 0 for no growth.
    first_simulations: Annotated[int, Range(0, LARGEST_SEARCH)] = 0
    # Rounds until they have grown.
    growth_rounds: Count = 32
    # Share of the moves that are searched in full and become targets. The others are searched
    # briefly, without noise, and only continue the game (playout-cap randomisation).
    full_share: Annotated[float, Range(0.01, 1)] = 1.0
    # Simulations of a quick search.
    fast_simulations: Annotated[int, Range(1, LARGEST_SEARCH)] = 16
    # What computes the network (engine/network/inference/evaluator.py): "auto" measures.
    backend: Literal["auto", "torch", "openvino", "native"] = "auto"
    # In which numbers: "auto" takes the fastest that is known to cost no strength.
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    # Megabytes of an actor's evaluation cache, which the variants of a run share; 0 for none.
    cache_megabytes: Annotated[float, Range(0, 65_536)] = 32.0
    # Endgame tables of the variant, a folder as `solve --men` makes it: searches look them up, and
    # `rescore` takes its truth from them; "" for none.
    tablebases: str = ""
    # Positions of finished games in one round, over all actors.
    positions: Count = 2048
    # Positions of finished games that an actor keeps before it writes them.
    shard_positions: Count = 1024
    # Share of Dirichlet noise in the root's priors (PUCT).
    noise_fraction: Share = 0.25
    # Temperature of the root's priors before the noise (PUCT).
    root_temperature: Annotated[float, Range(0.01, 100)] = 1.0
    # k of forced playouts at the root, which are pruned from the target (PUCT; KataGo: 2).
    forced_playouts: Annotated[float, Range(0, 100)] = 0.0
    # Share of games that start after random moves instead of from the start position.
    varied_starts: Share = 0.5
    # Random moves before such a game: uniform from 1 to this number.
    opening_plies: Natural = 6
    # Moves are drawn in proportion to the search's policy up to this ply of a game, then the best.
    temperature_plies: Natural = 200
    # Longer games are adjudicated as draws. Files keep the plies left in 16 bits.
    longest_game: Annotated[int, Range(1, 2**15 - 1)] = 200
    # A side whose value is below this at two of its moves in a row resigns; -1 for never.
    resign_below: Annotated[float, Range(-1, 0)] = -1.0
    # Share of the games in which nobody resigns: they measure how often resigning is wrong.
    resign_play_on: Share = 0.1

    def simulations_in(self, round_number: int) -> int:
        """Simulations of a full search in a round, counted from 1."""
        first, last = self.first_simulations, self.simulations
        if not first or round_number > self.growth_rounds:
            return last
        share = (round_number - 1) / self.growth_rounds
        return round(math.exp((1 - share) * math.log(first) + share * math.log(last)))


@dataclass(frozen=True, kw_only=True)
class LearningConfig(Settings):
    """How the network learns from the games."""

    # Threads of the learner's process; 0 takes every core.
    threads: Natural = 0
    # Who computes gradients where actors are workers: the "workers", each with its part of a batch,
    # the learner's own "threads", or "auto", whichever is faster at the start.
    split: Literal["workers", "threads", "auto"] = "auto"
    # Numbers of the learner's products: "fp32", "bf16", or "auto", the faster one at the start.
    precision: Precision = "fp32"
    # Rows in a batch.
    batch: Annotated[int, Range(1, 1 << 20)] = 256
    # How often each position is learned from while it is in the window.
    replay_ratio: NonNegative = 4.0
    # Positions in the window of recent games. The variants of a run share it and the batches.
    window: Count = 100_000
    # Beyond that number of positions the window grows sublinearly: KataGo's beta (0.4 there) ...
    window_growth: Annotated[float, Range(0, 10)] = 0.0
    # ... and its alpha.
    window_power: Annotated[float, Range(0.01, 1)] = 0.75
    # AdamW's step size after the warm-up.
    learning_rate: NonNegative = 2e-3
    # Steps over which the step size rises from 0.
    warm_up: Natural = 50
    # AdamW's decoupled weight decay.
    weight_decay: NonNegative = 1e-3
    # Share of the game's result in the value target; the rest is the search's own WDL. A value that
    # the search has proven stands alone.
    outcome_share: Share = 0.5
    # Weight of the moves-left loss beside policy and WDL.
    moves_left_weight: NonNegative = 0.01
    # Weight of the opponent's reply; 0 leaves its head out.
    reply_weight: NonNegative = 0.0
    # Weight of the owner of each square at the end of the game; 0 leaves its head out.
    ownership_weight: NonNegative = 0.0
    # Share of a row's sampling weight that follows the surprise of its search (KataGo: 0.5).
    surprise_share: Share = 0.0
    # Whether half the batches are mirrored, where the rules are symmetric.
    mirror: bool = True
    # Targets replaced by the truth where it is known: "none", "value", or "both" with the policy.
    rescore: Rescoring = "none"
    # Self-play uses an exponential moving average (EMA) of the learner's weights with this horizon
    # in steps; 1 for no average.
    ema_steps: Count = 50


@dataclass(frozen=True, kw_only=True)
class ChosenConfig(Settings):
    """What a run's first start chose where its settings say "auto"; kept from then on, because the
    same seed gives the same run only with the same choice. Empty where nothing had to be chosen."""

    # Threads of the learner's process, for `learning.threads = 0`.
    threads: Natural = 0
    # For `learning.precision`.
    precision: Literal["", "fp32", "bf16"] = ""
    # For `learning.split`.
    split: Literal["", "workers", "threads"] = ""
    # What computes the network in self-play, as "native bf16", for each of the run's games in
    # their order: for `self_play.backend` and `self_play.precision`, or in their place where the
    # machine could not go on with them.
    inference: tuple[str, ...] = ()
    # What those two were at that time, as "auto bf16"; runs of older versions do not say.
    inference_settings: Annotated[str, LATER] = ""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Settings):
    """One run. Everything random follows from `seed`."""

    # The variant, or several that one network learns, as "hexapawn4x4+gardner".
    variant: str
    # Where every random choice comes from.
    seed: Seed = 1
    # Stop after so many minutes, over all sessions of the run; infinity trains until interrupted.
    minutes: Annotated[float, Range(0, infinite=True)] = 10.0
    # Solved games: stop when the raw network keeps the value in this share of the decisions;
    # infinity (inf) for never: the run ends by its minutes.
    stop_at_raw: Annotated[float, Range(0, 1, infinite=True)] = 1.0
    # Seconds between two measurements against the truth, more where they are costly; infinity for
    # none.
    measure_seconds: Annotated[float, Range(0, infinite=True)] = 3.0
    # Positions of the fixed samples, over all games, on which the raw network ...
    raw_sample: Count = 20_000
    # ... and the search are measured during the run.
    search_sample: Count = 400
    # Simulations of the measured search.
    search_simulations: Annotated[int, Range(1, LARGEST_SEARCH)] = 64
    # Whose weights the network begins with: a checkpoint, or a run's directory for its last one, of
    # this game, another or several; "" for none.
    initial: str = ""
    # Games of a teacher's to begin with: a file of games or a folder of them; "" for none.
    warm_start: str = ""
    # How often each of their positions is learned from.
    warm_start_replay_ratio: NonNegative = 2.0
    # Whose positions are learned instead of self-play's: "none", or "solver", every position of the
    # solved game with its exact value and its best moves.
    teacher: Literal["none", "solver"] = "none"
    # Share of the canonical positions that the teacher keeps back, to test on.
    held_out: Annotated[float, Range(0, 0.9)] = 0.0
    # Games of each variant that a new network plays against the one that plays the games. It takes
    # its place only with at least half of the points; 0 for no such gate.
    gate_games: Natural = 0
    # The network's fields that differ from NetworkConfig's defaults.
    network: dict[str, Any] = field(default_factory=dict)
    # How games are made.
    self_play: SelfPlayConfig = field(default_factory=SelfPlayConfig)
    # How the network learns.
    learning: LearningConfig = field(default_factory=LearningConfig)
    # What "auto" was found to mean.
    chosen: Annotated[ChosenConfig, LATER] = field(default_factory=ChosenConfig)

    def generator(self, *key: int) -> np.random.Generator:
        """The random numbers of one purpose in the run's own process."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def network_config(self, variant: Variant) -> NetworkConfig:
        """The network of a run of one variant; raises InputError for fields that it does not
        have."""
        return NetworkConfig.for_variant(variant, self._build())

    def universal_config(self) -> UniversalConfig:
        """The network of a run of several variants; raises as `network_config`."""
        return UniversalConfig.from_dict(UniversalConfig().to_dict() | self._build())

    def _build(self) -> dict[str, Any]:
        heads = {
            "reply": self.learning.reply_weight > 0.0,
            "ownership": self.learning.ownership_weight > 0.0,
        }
        return heads | with_current_names(self.network)


FORMER_NAMES: Final = {
    "passes": "replay_ratio",
    "warm_start_passes": "warm_start_replay_ratio",
    "average_steps": "ema_steps",
    "placement_weight": "ownership_weight",
}
"""Former names of fields, in whichever table, with today's. Files with former names are read."""
_PRESETS: Final = Path(__file__).with_name("presets.toml")


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in its place, table by table."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, with today's names for fields; raises SettingError that names file
    and line."""
    try:
        # Editors on Windows begin a file with a byte order mark.
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingError(f"{path}: {problem}") from None
    return _with_current_names(values, str(path))


def _with_current_names(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        current = FORMER_NAMES.get(name, name)
        if current != name and current in values:
            raise SettingError(f"{where}: '{name}' is the former name of '{current}'; give one")
        renamed[current] = (
            _with_current_names(value, f"{where} [{name}]") if isinstance(value, dict) else value
        )
    return renamed


def read_overrides(path: Path, kind: type[Settings], variant: str) -> dict[str, Any]:
    """The tables of a person's own file, for a run of this kind and variant; raises SettingError
    that names the file and the field.

    The file may be that of another run, whose variant must be the same.
    """
    values = read_toml(path)
    build(kind, {"variant": variant} | values, str(path))
    named = values.pop("variant", variant)
    if named != variant:
        raise SettingError(f"{path}: variant = {named!r}, but the variant to train is {variant!r}")
    return values


@contextlib.contextmanager
def naming_file(path: Path | None, resolve_alone: Callable[[], object]) -> Iterator[None]:
    """Name a person's own file in a SettingError of the block, for settings that do not fit each
    other, if `resolve_alone`, which resolves those of the file alone, raises one too."""
    try:
        yield
    except SettingError:
        if path is not None:
            try:
                resolve_alone()
            except SettingError as problem:
                text = str(problem).removeprefix("configuration: ")
                raise SettingError(f"{path}: {text}") from None
        raise


def parse_variants(text: str) -> tuple[Variant, ...]:
    """The variants of `TrainingConfig.variant`; raises SettingError, UnknownVariantError."""
    # The name of a variant from a person's own file may hold the separator.
    if _SEPARATOR not in text or text in variant_names():
        return (get_variant(text),)
    names = text.split(_SEPARATOR)
    if "" in names:
        raise SettingError(f"'{text}': a variant is missing beside the '{_SEPARATOR}'")
    _check_number(names)
    return variants_of([get_variant(name) for name in names])


def variants_of(variants: Variants) -> tuple[Variant, ...]:
    """One variant or several as a tuple; raises SettingError for none, too many, and two with the
    same rules."""
    if isinstance(variants, Variant):
        return (variants,)
    variants = tuple(variants)
    _check_number([variant.name for variant in variants])
    different: dict[str, Variant] = {}
    for variant in variants:
        if variant.digest in different:
            text = _SEPARATOR.join(variant.name for variant in variants)
            same = different[variant.digest].name
            how = "twice" if same == variant.name else f"twice, also as '{same}'"
            raise SettingError(f"'{text}': the variant '{variant.name}' is named {how}")
        different[variant.digest] = variant
    return variants


def _check_number(names: Sequence[str]) -> None:
    """Raises SettingError where these are not as many variants as a run may have."""
    if not names:
        raise SettingError("no variant is named, a run needs at least one")
    if len(names) > MOST_VARIANTS:
        text = _SEPARATOR.join(names)
        raise SettingError(
            f"{quoted(text)}: {len(names)} variants, a run has at most {MOST_VARIANTS}"
        )


def joined_names(variants: Variants) -> str:
    """The inverse of `parse_variants`."""
    return _SEPARATOR.join(variant.name for variant in variants_of(variants))


def preset(variants: Variants) -> dict[str, Any]:
    """The values that suit the size of the variant, from presets.toml.

    A table named after the variant wins; else `tiny`, `small` or `standard` by kind and size.
    Several variants take those of the largest, with a transformer in place of a residual tower.
    """
    presets = read_toml(_PRESETS)
    several = variants_of(variants)
    if len(several) > 1:
        values = preset(max(several, key=lambda variant: variant.squares))
        tower = values["network"].get("trunk") == "residual"
        return values | ({"network": presets["several"]["network"]} if tower else {})
    (variant,) = several
    size = "tiny" if variant.squares <= 12 else "small"
    by_size = presets[size if variant.irreversible else "standard"]
    of_one: dict[str, Any] = presets.get(variant.name, by_size)
    return of_one


def resolve(variants: Variants, overrides: dict[str, Any]) -> TrainingConfig:
    """The preset of the variants with `overrides` over it; raises SettingError."""
    several = variants_of(variants)
    for variant in several:
        if not Position(variant).legal_moves:
            raise SettingError(
                f"{variant.name}: the game is over before it begins, nothing to learn"
            )
    values = merge(preset(several), merge(overrides, {"variant": joined_names(several)}))
    config = build(TrainingConfig, values, "configuration")
    if len(several) == 1:
        config.network_config(several[0])
    else:
        _check_several(config, len(several))
    return config


def _check_several(config: TrainingConfig, count: int) -> None:
    """Raise SettingError for what a run of several variants cannot do."""
    config.universal_config()
    tables = config.self_play.tablebases
    if tables:
        raise SettingError(f"tablebases = {tables!r}: those of one variant, the run has {count}")
    for name, value in (
        ("batch", config.learning.batch),
        ("window", config.learning.window),
        ("positions", config.self_play.positions),
    ):
        if value < count:
            raise SettingError(f"{name} = {value}: less than one for each of {count} variants")


def load_config(path: Path) -> TrainingConfig:
    """Read a run's own file, which must hold every field; raises SettingError."""
    values = read_toml(path)
    share = values.get("stop_at_raw")
    if isinstance(share, int | float) and 1 < share < math.inf:
        # Older versions took any number; no network reaches more than all decisions.
        values["stop_at_raw"] = math.inf
    return build(TrainingConfig, values, str(path), complete=True)


def replace(config: TrainingConfig, changes: dict[str, Any]) -> TrainingConfig:
    """The configuration with other values in some of its fields; raises SettingError."""
    return build(TrainingConfig, dataclasses.asdict(config) | changes, "configuration")


def differences(config: Any, overrides: dict[str, Any]) -> list[str]:
    """What `overrides` asks for that a run's dataclass or table does not have, as `field = theirs,
    the run has ours`."""

    ours = config if isinstance(config, dict) else dataclasses.asdict(config)
    found = []
    for name, value in overrides.items():
        own = ours.get(name)
        if isinstance(value, dict) and isinstance(own, dict):
            found += [f"{name}.{different}" for different in differences(own, value)]
        elif own != value:
            found.append(f"{name} = {value}, the run has {own}")
    return found


def to_toml(config: Settings) -> str:
    """The TOML text of a configuration."""
    return tomli_w.dumps(dataclasses.asdict(config))

"""What a training run does: frozen dataclasses, presets by size of game, and their TOML file.

The resolved configuration is written into the run directory and is the run's own from then on.
"""

import dataclasses
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from engine.network.model.config import NetworkConfig
from engine.network.model.former_names import with_current_names
from engine.network.model.universal import UniversalConfig
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant, variant_names


class ConfigError(InputError):
    """A configuration with an unknown, missing or unusable field; names the field."""


Games = Variant | Sequence[Variant]
"""The game of a run, or several."""
LARGEST_RUN: Final = 32
"""Games that one run may have."""
_BESIDE: Final = "+"
"""Between the names of several games."""

Search = Literal["puct", "gumbel"]
Backend = Literal["auto", "torch", "openvino", "native"]
Inference = Literal["auto", "fp32", "bf16", "int8"]
Rescoring = Literal["none", "value", "both"]
Split = Literal["workers", "threads", "auto"]
Teacher = Literal["none", "solver"]
Precision = Literal["fp32", "bf16", "auto"]


@dataclass(frozen=True, kw_only=True)
class SelfPlayConfig:
    """How games are made."""

    # Worker processes that play, each with one thread; 0 plays in the learner's own process.
    actors: int = 0
    # Games in progress at once, in each actor; the games of a run share them, with 32 at least.
    games: int = 64
    # How moves are searched: PUCT with noise at the root, or Gumbel with sequential halving.
    search: Search = "puct"
    # Moves that Gumbel's first phase looks at.
    considered: int = 16
    # How sharply Gumbel's policy follows the values it found (search/mcts/gumbel.py).
    c_scale: float = 1.0
    # Simulations of a full search.
    simulations: int = 64
    # Simulations of a full search in the first round; they grow by a constant factor from round to
    # round up to `simulations`. 0 for no growth.
    first_simulations: int = 0
    # Rounds until they have grown.
    growth_rounds: int = 32
    # Share of the moves that are searched in full and become lessons; the others are played
    # quickly, without noise, and only lead on (playout-cap randomisation).
    full_share: float = 1.0
    # Simulations of a quick search.
    fast_simulations: int = 16
    # What computes the network (engine/network/inference/evaluator.py): "auto" measures.
    backend: Backend = "auto"
    # In which numbers: "auto" takes the fastest that is known to cost no strength.
    precision: Inference = "auto"
    # Megabytes of an actor's memory of judgements, which are asked for again from move to move; 0
    # for none. The games of a run share them.
    cache_megabytes: float = 32.0
    # Endgame tables of the variant, a folder as `solve --men` makes it: searches look them up, and
    # `rescore` takes its truth from them; "" for none.
    tablebases: str = ""
    # Positions of finished games that one round brings, over all actors.
    positions: int = 2048
    # Positions of finished games that an actor keeps before it writes them.
    shard_positions: int = 1024
    # Share of Dirichlet noise in the root's priors (PUCT).
    noise_fraction: float = 0.25
    # Temperature of the root's priors before the noise (PUCT).
    root_temperature: float = 1.0
    # k of forced playouts at the root, which are pruned from the target (PUCT; KataGo: 2).
    forced_playouts: float = 0.0
    # Share of games that start after random moves instead of from the start position.
    varied_starts: float = 0.5
    # Random moves before such a game: uniform from 1 to this number.
    opening_plies: int = 6
    # Moves are drawn in proportion to the search's policy up to this ply of a game, then the best.
    temperature_plies: int = 200
    # Games longer than this are broken off as draws.
    longest_game: int = 200
    # A side that finds its value below this twice running gives up; -1 for never.
    resign_below: float = -1.0
    # Share of the games in which nobody gives up: they measure how often that would be wrong.
    resign_play_on: float = 0.1

    def simulations_in(self, round_number: int) -> int:
        """Simulations of a full search in a round, counted from 1."""
        first, last = self.first_simulations, self.simulations
        if not first or round_number > self.growth_rounds:
            return last
        share = (round_number - 1) / self.growth_rounds
        return round(math.exp((1 - share) * math.log(first) + share * math.log(last)))


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How the network learns from the games."""

    # Threads of the learner's process; 0 takes every core.
    threads: int = 0
    # Who computes gradients where actors are workers: the "workers", each with its part of a batch,
    # the learner's own "threads", or "auto", whoever is faster at the start.
    split: Split = "auto"
    # Numbers of the learner's products: "fp32", "bf16", or "auto", the faster one at the start.
    precision: Precision = "fp32"
    # Rows in a batch.
    batch: int = 256
    # Passes over each position while it is in the window.
    passes: float = 4.0
    # Positions in the window of recent games; the games of a run share it, as they share batches.
    window: int = 100_000
    # Beyond that number of positions the window grows sublinearly: KataGo's beta (0.4 there) ...
    window_growth: float = 0.0
    # ... and its alpha.
    window_power: float = 0.75
    # AdamW's step size after the warm-up.
    learning_rate: float = 2e-3
    # Steps over which the step size rises from 0.
    warm_up: int = 50
    # AdamW's decoupled weight decay.
    weight_decay: float = 1e-3
    # Share of the game's result in the value target; the rest is the search's own WDL. A value that
    # the search has proven stands alone.
    outcome_share: float = 0.5
    # Weight of the moves-left loss beside policy and WDL.
    moves_left_weight: float = 0.01
    # Weight of the opponent's reply; 0 leaves its head out.
    reply_weight: float = 0.0
    # Weight of who stands where at the end; 0 leaves its head out.
    placement_weight: float = 0.0
    # Share of a row's chance to be drawn that goes by the surprise of its search (KataGo: 0.5).
    surprise_share: float = 0.0
    # Whether half the batches are mirrored, where the rules are symmetric.
    mirror: bool = True
    # Targets replaced by the truth where it is known: "none", "value", or "both" with the policy.
    rescore: Rescoring = "none"
    # The acting network is a running mean of the learner's weights with this memory (in steps); 1
    # for no mean.
    average_steps: int = 50


@dataclass(frozen=True, kw_only=True)
class ChosenConfig:
    """What a run's first start chose where its settings say "auto"; kept from then on, because the
    same seed gives the same run only with the same choice. Empty where nothing had to be chosen."""

    # Threads of the learner's process, for `learning.threads = 0`.
    threads: int = 0
    # For `learning.precision`.
    precision: Literal["", "fp32", "bf16"] = ""
    # For `learning.split`.
    split: Literal["", "workers", "threads"] = ""
    # What computes the network in self-play, as "native bf16", for each of the run's games in
    # their order: for `self_play.backend` and `self_play.precision`, or in their place where the
    # machine could not go on with them.
    inference: tuple[str, ...] = ()
    # What those two were at that time, as "auto bf16"; runs of older versions do not say.
    inference_settings: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run. Everything random follows from `seed`."""

    # The game, or several that one network learns, as "hexapawn4x4+gardner".
    variant: str
    # Where every random choice comes from.
    seed: int = 1
    # Stop after so many minutes in all, over all sessions of the run.
    minutes: float = 10.0
    # Solved games: stop when the raw network keeps the value in this share of the decisions.
    stop_at_raw: float = 1.0
    # Seconds between two measurements against the truth; the pause grows where they are costly.
    measure_seconds: float = 3.0
    # Positions of the fixed samples, over all games, on which the raw network ...
    raw_sample: int = 20_000
    # ... and the search are measured during the run.
    search_sample: int = 400
    # Simulations of the measured search.
    search_simulations: int = 64
    # Whose weights the network begins with: a checkpoint, or a run's directory for its last one, of
    # this game, another or several; "" for none.
    initial: str = ""
    # Games of a teacher's to begin with: a file of games or a folder of them; "" for none.
    warm_start: str = ""
    # Passes over them.
    warm_start_passes: float = 2.0
    # Whose positions are learned instead of self-play's: "none", or "solver", every position of the
    # solved game with its exact value and its best moves.
    teacher: Teacher = "none"
    # Share of the canonical positions that the teacher keeps back, to test on.
    held_out: float = 0.0
    # Games that a new network plays against the one that acts (at each game of the run), which it
    # replaces only with at least half of the points; 0 for no such gate.
    gate_games: int = 0
    # The network's fields that differ from NetworkConfig's defaults.
    network: dict[str, Any] = field(default_factory=dict)
    # How games are made.
    self_play: SelfPlayConfig = field(default_factory=SelfPlayConfig)
    # How the network learns.
    learning: LearningConfig = field(default_factory=LearningConfig)
    # What "auto" was found to mean.
    chosen: ChosenConfig = field(default_factory=ChosenConfig)

    def network_config(self, variant: Variant) -> NetworkConfig:
        """The network of this run on one game; raises InputError for fields that it does not
        have."""
        return NetworkConfig.for_variant(variant, self._build())

    def universal_config(self) -> UniversalConfig:
        """The network of a run of several games; raises as `network_config`."""
        return UniversalConfig.from_dict(UniversalConfig().to_dict() | self._build())

    def _build(self) -> dict[str, Any]:
        heads = {
            "reply": self.learning.reply_weight > 0.0,
            "ownership": self.learning.placement_weight > 0.0,
        }
        return heads | with_current_names(self.network)


_PRESETS: Final = Path(__file__).with_name("presets.toml")

_RANGES: Final[dict[str, tuple[float, float]]] = {
    # What torch takes.
    "seed": (0, 2**63 - 1),
    "raw_sample": (1, math.inf),
    "search_sample": (1, math.inf),
    "search_simulations": (1, 400_000),
    "simulations": (1, 400_000),
    "actors": (0, 256),
    "games": (1, math.inf),
    "positions": (1, math.inf),
    "noise_fraction": (0, 1),
    "varied_starts": (0, 1),
    # Plies left are kept in 16 bits.
    "longest_game": (1, 2**15 - 1),
    "considered": (1, 2**15 - 1),
    "first_simulations": (0, 400_000),
    "growth_rounds": (1, math.inf),
    "full_share": (0.01, 1),
    "c_scale": (1e-6, 100),
    "cache_megabytes": (0, 65_536),
    "root_temperature": (0.01, 100),
    "forced_playouts": (0, 100),
    "fast_simulations": (1, 400_000),
    "shard_positions": (1, math.inf),
    "resign_below": (-1, 0),
    "resign_play_on": (0, 1),
    "batch": (1, math.inf),
    "window": (1, math.inf),
    "window_growth": (0, 10),
    "window_power": (0.01, 1),
    "outcome_share": (0, 1),
    "surprise_share": (0, 1),
    "average_steps": (1, math.inf),
    "held_out": (0, 0.9),
}
"""Where a number may lie, the ends included; from 0 on where nothing is said."""
_ENDLESS: Final = ("minutes", "measure_seconds")
"""Of which infinity means something: training that does not end, and no measurements."""

ConfigT = TypeVar("ConfigT")


def build(kind: type[ConfigT], values: dict[str, Any], where: str) -> ConfigT:
    """A dataclass of settings from its values.

    Raises ConfigError, naming `where` and the field, for one that is unknown, of another type or
    out of range.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"{where}: unknown field '{name}' (fields: {', '.join(fields)})")
        arguments[name] = _convert(fields[name].type, name, value, where)
    return kind(**arguments)


def _convert(kind: Any, name: str, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {name} = {value!r} is not a table")
        return build(kind, value, f"{where} [{name}]")  # type: ignore[arg-type]
    if name == "network":
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {name} = {value!r} is not a table")
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where}: {name} = {value!r} is not a list of texts")
        return tuple(value)
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise ConfigError(f"{where}: {name} = {value!r} is not one of {', '.join(choices)}")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {name} = {value!r} is neither true nor false")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where}: {name} = {value!r} is not of type {kind.__name__}")
    if kind in (int, float):
        low, high = _RANGES.get(name, (0, math.inf))
        if not low <= value <= high or (math.isinf(value) and name not in _ENDLESS):
            wanted = f"{low} or more" if high == math.inf else f"from {low} to {high}"
            raise ConfigError(f"{where}: {name} = {value!r} is not {wanted}")
    return value


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in its place, table by table."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises ConfigError that names file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: {problem}") from None


def parse_variants(text: str) -> tuple[Variant, ...]:
    """The games of `TrainingConfig.variant`; raises ConfigError, UnknownVariantError."""
    # A person's own game may be called as no other is.
    if _BESIDE not in text or text in variant_names():
        return (get_variant(text),)
    names = text.split(_BESIDE)
    if "" in names:
        raise ConfigError(f"'{text}': a game is missing beside the '{_BESIDE}'")
    if len(names) > LARGEST_RUN:
        raise ConfigError(f"'{text}': {len(names)} games, a run has at most {LARGEST_RUN}")
    variants: dict[str, Variant] = {}
    for name in names:
        variant = get_variant(name)
        if variant.digest in variants:
            same = variants[variant.digest].name
            how = "twice" if same == name else f"twice, also as '{same}'"
            raise ConfigError(f"'{text}': the game '{name}' stands there {how}")
        variants[variant.digest] = variant
    return tuple(variants.values())


def games_of(games: Games) -> tuple[Variant, ...]:
    """One game as one of several."""
    return (games,) if isinstance(games, Variant) else tuple(games)


def name_of(games: Games) -> str:
    """The inverse of `parse_variants`."""
    return _BESIDE.join(variant.name for variant in games_of(games))


def preset(games: Games) -> dict[str, Any]:
    """The values that suit the size of the game, from presets.toml.

    A table named after the variant wins; else `tiny`, `small` or `standard` by kind and size.
    Several games take those of the largest, with a transformer in the place of a tower.
    """
    presets = read_toml(_PRESETS)
    several = games_of(games)
    if len(several) > 1:
        values = preset(max(several, key=lambda variant: variant.squares))
        tower = values["network"].get("trunk") == "residual"
        return values | ({"network": presets["several"]["network"]} if tower else {})
    (variant,) = several
    if variant.name in presets:
        name = variant.name
    elif variant.irreversible:
        name = "tiny" if variant.squares <= 12 else "small"
    else:
        name = "standard"
    of_one: dict[str, Any] = presets[name]
    return of_one


def resolve(games: Games, overrides: dict[str, Any]) -> TrainingConfig:
    """The preset of the games with `overrides` over it; raises ConfigError."""
    variants = games_of(games)
    for variant in variants:
        if not Position(variant).legal_moves:
            raise ConfigError(
                f"{variant.name}: the game is over before it begins, nothing to learn"
            )
    values = merge(preset(games), merge(overrides, {"variant": name_of(games)}))
    config = build(TrainingConfig, values, "configuration")
    if len(variants) == 1:
        config.network_config(variants[0])
    else:
        _check_several(config, len(variants))
    return config


def _check_several(config: TrainingConfig, games: int) -> None:
    """Raise ConfigError for what a run of several games cannot do."""
    config.universal_config()
    tables = config.self_play.tablebases
    if tables:
        raise ConfigError(f"tablebases = {tables!r}: those of one game, the run has {games}")
    for name, value in (
        ("batch", config.learning.batch),
        ("window", config.learning.window),
        ("positions", config.self_play.positions),
    ):
        if value < games:
            raise ConfigError(f"{name} = {value}: less than one for each of {games} games")


def load_config(path: Path) -> TrainingConfig:
    """Read a run's own file, in which every field must stand; raises ConfigError."""
    values = read_toml(path)
    _require_all(TrainingConfig, values, str(path))
    return build(TrainingConfig, values, str(path))


def replace(config: TrainingConfig, changes: dict[str, Any]) -> TrainingConfig:
    """The configuration with other values in some of its fields; raises ConfigError."""
    return build(TrainingConfig, dataclasses.asdict(config) | changes, "configuration")


_LATER: Final = ("chosen", "inference_settings")
"""Fields that runs of older versions do not have."""


def _require_all(kind: type, values: dict[str, Any], where: str) -> None:
    for item in dataclasses.fields(kind):
        if item.name in _LATER and item.name not in values:
            continue
        if item.name not in values:
            raise ConfigError(f"{where}: the field '{item.name}' is missing (an older version?)")
        if dataclasses.is_dataclass(item.type) and isinstance(values[item.name], dict):
            _require_all(item.type, values[item.name], f"{where} [{item.name}]")  # type: ignore[arg-type]


def differences(config: Any, overrides: dict[str, Any]) -> list[str]:
    """What `overrides` asks for that a run (its dataclass) does not have, as `field = theirs, run
    has ours`."""

    def compare(ours: dict[str, Any], theirs: dict[str, Any], prefix: str) -> list[str]:
        found = []
        for name, value in theirs.items():
            own = ours.get(name)
            if isinstance(value, dict) and isinstance(own, dict):
                found += compare(own, value, f"{prefix}{name}.")
            elif own != value:
                found.append(f"{prefix}{name} = {value}, the run has {own}")
        return found

    return compare(dataclasses.asdict(config), overrides, "")


def to_toml(config: Any) -> str:
    """The TOML text of a configuration, a dataclass: its own tables and plain values only."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, list | tuple):
            return "[" + ", ".join(text(item) for item in value) + "]"
        return repr(value)

    values = dataclasses.asdict(config)
    lines = [f"{name} = {text(v)}" for name, v in values.items() if not isinstance(v, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {text(v)}" for key, v in table.items())]
    return "\n".join(lines) + "\n"

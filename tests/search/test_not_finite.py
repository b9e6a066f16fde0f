"""NaN, infinities and huge numbers in a search: refused once a batch, and harmless to kernels."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest

from engine.rules.errors import InputError, NotFiniteError, require_finite
from engine.rules.position import Position
from engine.rules.variant import get_variant
from search.cache import CachedEvaluator
from search.evaluator import Evaluation, UniformEvaluator, evaluate
from search.mcts import batch
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.search import tree_search
from search.mcts.selection import GUMBEL, PUCT, ROOT_SCORE, Rule, choose_edge
from search.mcts.tree import (
    EDGES_USED,
    NO_PARENT,
    NODES_USED,
    ROOT,
    SIMULATIONS,
    UNVISITED,
    Tree,
    allocate,
    expand,
    tree_of,
)
from search.mcts.uct import UctConfig, _choose_edge
from search.players.network import PolicyPlayer, TreePlayer
from search.randomness import random_gamma, seed_states
from search.scores import UNPROVEN
from tests.support.search.search_cases import Moves, Offsets, Rows, roots_of
from tests.support.search.tree_cases import generator
from tests.support.training.training_cases import hexapawn, self_play_config
from training.evaluation.textbook import value_sign_accuracy
from training.evaluation.truth import Truth
from training.evaluation.versus_random import _first_best, raw_chooser
from training.language.play import play_by_policy
from training.run.gate import gate_score
from training.selfplay.games import SelfPlay, _choose_moves

ROOT_FOLDER: Final = Path(__file__).resolve().parents[2]
HOSTILE: Final = np.array(
    [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, -0.0, 0.5, -1.0], np.float32
)
VARIANT: Final = get_variant("hexapawn")


class Broken:
    """Knows nothing, and says `value` in one place of the logits or of the WDL from a call on."""

    def __init__(self, field: str, value: float, calls: int = 0, place: int = -1) -> None:
        self._field, self._value, self._calls, self._place = field, value, calls, place
        self.asked = 0

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        judgement = UniformEvaluator().evaluate(positions, moves, offsets)
        self.asked += 1
        if self.asked > self._calls:
            getattr(judgement, self._field).flat[self._place] = self._value
        return judgement


class Hostile:
    """Says anything, anywhere."""

    def __init__(self, seed: int) -> None:
        self._rng = generator(seed)

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        logits = self._rng.choice(HOSTILE, len(moves))
        return Evaluation(logits, self._rng.choice(HOSTILE, (len(positions), 3)))


def start() -> Position:
    return Position(VARIANT)


def puct(evaluator: Broken) -> object:
    return tree_search(VARIANT, roots_of(start()), evaluator, PuctConfig(), generator())


def gumbel(evaluator: Broken) -> object:
    return tree_search(VARIANT, roots_of(start()), evaluator, GumbelConfig(), generator())


def truth(evaluator: Broken) -> object:
    return Truth.of(*hexapawn()).raw(evaluator)


def gate(evaluator: Broken) -> object:
    config = self_play_config()
    return gate_score(VARIANT, UniformEvaluator(), evaluator, config, 4, generator())


def self_play(evaluator: Broken) -> object:
    return SelfPlay(VARIANT, self_play_config(), generator()).step(evaluator)


def raw_choice(evaluator: Broken) -> object:
    moves = np.array(start().legal_moves, np.uint16)
    offsets = np.array([0, len(moves)])
    return raw_chooser(evaluator)(start().row[None], moves, offsets)


def language_games(evaluator: Broken) -> object:
    codes = np.zeros((1 << 16) + 4, np.int32)
    return play_by_policy(VARIANT, codes, evaluator, 2, 9, 1.0, generator())


ASK: Final[dict[str, Callable[[Broken], object]]] = {
    "PUCT": puct,
    "Gumbel": gumbel,
    "mcts": lambda broken: TreePlayer(broken, PuctConfig(), generator()).choose(start()),
    "gumbel": lambda broken: TreePlayer(broken, GumbelConfig(), generator()).choose(start()),
    "policy": lambda broken: PolicyPlayer(broken).choose(start()),
    "self-play": self_play,
    "truth": truth,
    "values": lambda broken: value_sign_accuracy(hexapawn()[1], broken, 50, generator()),
    "gate": gate,
    "raw choice": raw_choice,
    "language games": language_games,
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize(("field", "name"), [("logits", "policy"), ("wdl", "WDL")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_who_asks_an_evaluator_refuses_what_is_not_finite(
    ask: Callable[[Broken], object], field: str, name: str, value: float
) -> None:
    with pytest.raises(NotFiniteError, match=f"the {name} is {value}"):
        ask(Broken(field, value))


@pytest.mark.parametrize("ask", [puct, gumbel])
@pytest.mark.parametrize("field", ["logits", "wdl"])
def test_a_search_under_way_refuses_it_as_well(ask: Callable[[Broken], object], field: str) -> None:
    broken = Broken(field, np.nan, calls=2, place=0)
    with pytest.raises(NotFiniteError):
        ask(broken)
    assert broken.asked == 3


def test_a_cache_does_not_remember_what_was_refused() -> None:
    broken = Broken("wdl", np.nan)
    cached = CachedEvaluator(broken, VARIANT, size=1 << 16)
    moves = np.array(start().legal_moves, np.uint16)
    batch_of_one = start().row[None], moves, np.array([0, len(moves)])
    with pytest.raises(NotFiniteError):
        cached.evaluate(*batch_of_one)
    broken._calls = 100
    assert cached.evaluate(*batch_of_one).wdl.tolist() == [[0, 1, 0]]
    assert cached.hits == 0


class Short:
    """Forgets the last logit."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        judgement = UniformEvaluator().evaluate(positions, moves, offsets)
        return Evaluation(judgement.logits[:-1], judgement.wdl)


def test_an_evaluation_of_another_shape_never_reaches_a_kernel() -> None:
    with pytest.raises(ValueError, match=r"logits \[2\] and WDL \[1, 3\] for 1 positions"):
        tree_search(VARIANT, roots_of(start()), Short(), PuctConfig(), generator())


def test_a_fault_is_named_by_its_place() -> None:
    with pytest.raises(NotFiniteError, match=r"^x is -inf \(number 4 of 6\)$"):
        require_finite(np.array([[1, 2, 3], [-np.inf, np.nan, 0]], np.float32), "x")
    with pytest.raises(NotFiniteError, match=r"^loss is nan$"):
        require_finite(float("nan"), "loss")
    require_finite(HOSTILE[3:], "finite")
    require_finite(np.zeros(0), "nothing")


def test_only_evaluate_calls_an_evaluator() -> None:
    """`evaluate` is the gate; those who only hand the question on, or time it, are named here."""
    passing = {
        "search/evaluator.py",
        "training/selfplay/acting_evaluator.py",
        "scripts/experiments/trunks.py",
    }
    found = set()
    for package in ("search", "training", "scripts"):
        for path in (ROOT_FOLDER / package).rglob("*.py"):
            calls = [
                node
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "evaluate"
            ]
            # Benchmarks time evaluators, and nobody searches with what they return.
            if calls and "benchmarks" not in path.parts:
                found.add(path.relative_to(ROOT_FOLDER).as_posix())
    assert found == passing


RULES: Final = {
    "PUCT": Rule(PUCT, 1, True, c_puct=1.25, fpu_reduction=0.2),
    "forced": Rule(PUCT, 1, True, c_puct=1.25, forced_playouts=2.0),
    "virtual loss": Rule(PUCT, 8, True, c_puct=1.25),
    "Gumbel": Rule(GUMBEL, 1, True, c_visit=50.0, c_scale=1.0),
}


def hostile_tree(rng: np.random.Generator, moves: int) -> tuple[Tree, npt.NDArray[np.void]]:
    """A root with `moves` edges and a child with as many behind them, full of hostile numbers."""
    tree = tree_of(allocate(1, 2, 2 * moves, VARIANT.row_size), np.int64(0))
    for index in range(2):
        node = tree.nodes[index]
        for name in ("win", "draw", "loss", "raw_value"):
            node[name] = rng.choice(HOSTILE)
        node["visits"], node["proven"], node["parent"] = moves + 1, UNPROVEN, index - 1
        logits = rng.choice(HOSTILE, moves)
        expand(tree, np.int64(index), np.zeros(moves, np.uint16), logits)
    for edge in tree.edges:
        # A softmax may be anything but negative, of which Python takes no square root.
        edge["prior"], edge["value"] = np.abs(rng.choice(HOSTILE)), rng.choice(HOSTILE)
        edge["visits"], edge["pending"] = rng.integers(0, 3), rng.integers(0, 2)
        edge["proven"] = rng.choice([UNPROVEN, -1, 0, 1])
    root_scores = np.zeros(moves, ROOT_SCORE)
    root_scores["score"] = rng.choice(HOSTILE, moves)
    return tree, root_scores


@pytest.mark.nojit
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_names_an_edge_of_the_node_whatever_stands_there(rule: Rule) -> None:
    rng = generator(5)
    for case in range(60):
        moves = 1 + case % 4
        tree, root_scores = hostile_tree(rng, moves)
        for index in range(2):
            edge = choose_edge(tree, np.int64(index), rule, root_scores, np.int64(8))
            assert index * moves <= edge < (index + 1) * moves


@pytest.mark.nojit
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_uct_names_an_edge_of_the_node_whatever_stands_there() -> None:
    rng = generator(6)
    for case in range(60):
        moves = 1 + case % 4
        tree, _ = hostile_tree(rng, moves)
        for edge in tree.edges:
            edge["child"], edge["visits"] = 0, 1
        edge = _choose_edge(tree, np.int64(1), 0.7, seed_states(rng, 1)[0])
        assert moves <= edge < 2 * moves


def sound(tree: Tree, simulations: int) -> None:
    """Every index lies within its array, and no simulation was lost."""
    nodes, edges = tree.nodes[: tree.counters[NODES_USED]], tree.edges[: tree.counters[EDGES_USED]]
    assert len(nodes) <= simulations + 1
    assert tree.counters[SIMULATIONS] == simulations or nodes[ROOT]["proven"] != UNPROVEN
    for number, node in enumerate(nodes):
        assert node["parent"] == NO_PARENT if number == ROOT else 0 <= node["parent"] < number
        assert node["edge_start"] + node["edge_count"] <= len(edges)
    children = edges["child"][edges["child"] != UNVISITED]
    assert sorted(children) == list(range(1, len(nodes)))
    root = nodes[ROOT]
    own = edges[root["edge_start"] : root["edge_start"] + root["edge_count"]]
    assert own["visits"].sum() == tree.counters[SIMULATIONS]
    assert not own["pending"].any()


@pytest.mark.nojit
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("leaves", [1, 3])
@pytest.mark.parametrize("kind", [PUCT, GUMBEL])
def test_a_search_that_is_fed_anything_stays_within_its_trees(
    kind: int, leaves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the gate, as if it were not there: 60 NaNs and infinities for three games."""

    def ungated(evaluator: Hostile, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        return evaluator.evaluate(positions, moves, offsets)

    monkeypatch.setattr(batch, "evaluate", ungated)
    roots = roots_of(start(), start(), start())
    for seed in range(3):
        search: PuctSearch | GumbelSearch
        if kind == PUCT:
            config = PuctConfig(
                simulations=20,
                leaves=leaves,
                noise_fraction=0.25,
                root_temperature=1.1,
                forced_playouts=2.0,
            )
            search = PuctSearch(VARIANT, roots, Hostile(seed), config, generator())
        else:
            config_gumbel = GumbelConfig(simulations=20, leaves=leaves)
            search = GumbelSearch(VARIANT, roots, Hostile(seed), config_gumbel, generator())
        search.run()
        result = search.result()
        for game in range(3):
            sound(tree_of(search.trees, np.int64(game)), 20)
            assert 0 <= result.choices[game] < result.offsets[game + 1] - result.offsets[game]
            assert search.principal_variation(game)


@pytest.mark.nojit
def test_moves_are_drawn_from_their_own_game_whatever_the_shares_are() -> None:
    rng = generator(9)
    offsets = np.array([0, 2, 5, 6])
    for _ in range(60):
        policy = rng.choice(HOSTILE, 6)
        choices = _choose_moves(offsets, policy, rng.random(3) < 0.7, rng.random(3))
        assert ((offsets[:-1] <= choices) & (choices < offsets[1:])).all()
        places = _first_best(policy.astype(np.float64), offsets)
        assert ((offsets[:-1] <= places) & (places < offsets[1:])).all()


@pytest.mark.nojit
def test_a_gamma_draw_comes_back_whatever_its_shape_is() -> None:
    state = seed_states(generator(), 1)[0]
    for shape in (np.nan, np.inf, 1e308, 1e-308, 0.3, 4.0):
        value = random_gamma(state, shape)
        assert not value < 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"c_puct": np.inf},
        {"noise_total": np.inf},
        {"fpu_reduction": np.nan},
        {"root_fpu_reduction": -np.inf},
        {"forced_playouts": np.inf},
        {"root_temperature": np.nan},
    ],
    ids=str,
)
def test_a_search_is_not_configured_with_infinities(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        PuctConfig(**settings)  # type: ignore[arg-type]


def test_uct_is_not_configured_with_infinities() -> None:
    for exploration in (np.inf, np.nan):
        with pytest.raises(InputError, match=" is not a "):
            UctConfig(exploration=exploration)


def test_judge_hands_on_what_is_finite_bit_for_bit() -> None:
    moves = np.array(start().legal_moves, np.uint16)
    question = start().row[None], moves, np.array([0, len(moves)])
    evaluation = evaluate(Broken("logits", -3.4e38), *question)
    assert evaluation.logits.tolist() == [0, 0, np.float32(-3.4e38)]
    assert evaluation.wdl.tolist() == [[0, 1, 0]]

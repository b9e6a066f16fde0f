"""Going on with a tree: what was known below the moves played is known afterwards, and no more."""

from typing import Any

import numpy as np
import pytest

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from engine.rules.variant import get_variant
from search.evaluator import Evaluation, UniformEvaluator
from search.mcts.batch import NO_MOVE, BatchSearch
from search.mcts.gumbel import GumbelConfig, GumbelSearch
from search.mcts.puct import PuctConfig, PuctSearch
from search.mcts.roots import Roots
from search.mcts.search import tree_search
from search.mcts.tree import EDGES_USED, NODES_USED, ROOT, UNVISITED, Trees
from search.players.network import TreePlayer
from search.scores import UNPROVEN
from tests.support.search.search_cases import (
    Moves,
    Offsets,
    Rows,
    ScatteredEvaluator,
    WhiteIsWinning,
    exact_value,
    game_of,
    roots_of,
    unfinished,
)
from tests.support.search.tree_cases import generator, openings

KINDS = ["puct", "gumbel"]
NODE_FIELDS = ("hash", "visits", "win", "draw", "loss", "raw_value", "distance", "proven")
EDGE_FIELDS = ("visits", "value", "prior", "move", "proven", "pending")


def start(
    kind: str, roots: Roots, simulations: int = 60, name: str = "gardner", **options: Any
) -> BatchSearch:
    variant = get_variant(name)
    evaluator = ScatteredEvaluator(variant)
    if kind == "puct":
        puct = PuctConfig(simulations=simulations, **options)
        return PuctSearch(variant, roots, evaluator, puct, generator())
    gumbel = GumbelConfig(simulations=simulations, **options)
    return GumbelSearch(variant, roots, evaluator, gumbel, generator())


def subtree(trees: Trees, game: int, node: int) -> Any:
    """All that a tree knows at and below a node, as nested tuples."""
    record = trees.nodes[game, node]
    first = int(record["edge_start"])
    below = []
    for edge in trees.edges[game, first : first + int(record["edge_count"])]:
        child = int(edge["child"])
        known = None if child == UNVISITED else subtree(trees, game, child)
        below.append((tuple(edge[name].item() for name in EDGE_FIELDS), known))
    own = tuple(record[name].item() for name in NODE_FIELDS)
    return own, trees.rows[game, node].tobytes(), tuple(below)


def child_of(trees: Trees, game: int, node: int, move: int) -> int:
    first = int(trees.nodes[game, node]["edge_start"])
    for edge in trees.edges[game, first : first + int(trees.nodes[game, node]["edge_count"])]:
        if edge["move"] == move:
            return int(edge["child"])
    raise AssertionError(move)


def check_whole(trees: Trees, game: int) -> None:
    """Every node hangs where its parent says, and the pools hold nothing else."""
    nodes, edges = trees.counters[game, [NODES_USED, EDGES_USED]]
    assert trees.nodes[game, :nodes]["edge_count"].sum() == edges
    for node in range(1, nodes):
        record = trees.nodes[game, node]
        assert trees.edges[game, record["parent_edge"]]["child"] == node
        above = trees.nodes[game, record["parent"]]
        place = record["parent_edge"] - above["edge_start"]
        assert 0 <= place < above["edge_count"]
        assert record["parent"] < node


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plies", [1, 2])
def test_the_tree_is_what_its_subtree_was(kind: str, plies: int) -> None:
    positions = openings("hexapawn4x4", 4)
    search = start(kind, roots_of(*positions), 60, "hexapawn4x4")
    search.run()
    lines = [search.principal_variation(game)[:plies] for game in range(4)]
    expected, inherited = [], []
    for game, line in enumerate(lines):
        node = ROOT
        for move in line:
            node = child_of(search.trees, game, node, move)
        expected.append(subtree(search.trees, game, node))
        inherited.append(sum(edge[0][0] for edge in expected[-1][2]))
    search.advance(np.array(lines))
    for game in range(4):
        assert subtree(search.trees, game, ROOT) == expected[game]
        check_whole(search.trees, game)
    result = search.result()
    assert result.reused_visits.tolist() == inherited
    assert result.simulations.tolist() == [0] * 4
    search.run()
    after = search.result()
    for game in range(4):
        check_whole(search.trees, game)
        visits = game_of(after, game)["visit_counts"].sum()
        assert visits == after.reused_visits[game] + after.simulations[game]
        assert after.reused_visits[game] == inherited[game]
        assert after.simulations[game] == 60 or after.proven[game] != UNPROVEN


@pytest.mark.parametrize("kind", KINDS)
def test_whole_games_with_one_tree(kind: str) -> None:
    """Advance and run until all games are over; every tree stays sound and at its position."""
    positions = openings("breakthrough5", 3)
    search = start(kind, roots_of(*positions), 24, "breakthrough5")
    over = [False] * 3
    while not all(over):
        search.run()
        result = search.result()
        moves = []
        for game, position in enumerate(positions):
            choice = int(result.choices[game])
            moves.append(NO_MOVE if choice < 0 else int(game_of(result, game)["moves"][choice]))
            if choice >= 0:
                position.push(moves[-1])
            over[game] = position.outcome() is not None
        search.advance(moves)
        for game, position in enumerate(positions):
            check_whole(search.trees, game)
            np.testing.assert_array_equal(search.roots.positions[game], position.row)
            np.testing.assert_array_equal(search.trees.rows[game, ROOT], position.row)
            length = search.roots.history_lengths[game]
            assert search.roots.histories[game, :length].tolist() == position.hashes
    assert search.result().choices.tolist() == [-1] * 3


def test_what_the_tree_does_not_know_begins_afresh() -> None:
    """One game goes on, one is replaced by another, one plays a move that was never tried."""
    variant = get_variant("gardner")
    positions = openings("gardner", 3)
    search = start("puct", roots_of(*positions), 3)
    search.run()
    result = search.result()
    played = int(game_of(result, 0)["moves"][result.choices[0]])
    untried = int(game_of(result, 2)["moves"][np.argmin(game_of(result, 2)["visit_counts"])])
    positions[0].push(played)
    positions[1] = openings("gardner", 6)[5]
    positions[2].push(untried)
    search.advance([played, NO_MOVE, untried], roots_of(*positions))
    assert search.result().reused_visits[1:].tolist() == [0, 0]
    search.run(30)
    config = PuctConfig(simulations=30)
    roots = roots_of(*positions)
    fresh = tree_search(variant, roots, ScatteredEvaluator(variant), config, generator())
    for game in (1, 2):
        for name, part in game_of(search.result(), game).items():
            np.testing.assert_array_equal(part, game_of(fresh, game)[name])


def test_a_root_elsewhere_is_not_taken_for_the_move() -> None:
    """The clock belongs to the position: with another one the subtree would be wrong."""
    variant = get_variant("gardner")
    position = Position(variant)
    search = start("puct", roots_of(position), 30)
    search.run()
    result = search.result()
    move = int(result.moves[result.choices[0]])
    position.push(move)
    other = Position.from_row(position.row, variant)
    other.row[variant.squares + CLOCK] += 7
    search.advance([move], roots_of(other))
    assert search.result().reused_visits.tolist() == [0]
    np.testing.assert_array_equal(search.trees.rows[0, ROOT], other.row)


def test_an_illegal_move_is_refused() -> None:
    search = start("puct", roots_of(Position(get_variant("gardner"))), 5)
    with pytest.raises(InputError, match="move number 65535 is not legal"):
        search.advance([65535])


def test_repetitions_and_clocks_are_right_after_many_moves() -> None:
    """Rows of whole trees against games replayed by Position, kings walking to and fro."""
    variant = get_variant("gardner")
    position = Position(variant, "k4/5/p4/P4/K4 w - - 3 9")
    config = PuctConfig(simulations=300)
    search = PuctSearch(variant, roots_of(position), WhiteIsWinning(), config, generator())
    repeated = inherited = 0
    for text in ("a1b1", "a5b5", "b1a1", "b5a5", "a1b1"):
        search.run()
        move = position.parse_uci(text)
        position.push(move)
        search.advance([move])
        inherited += int(search.result().reused_visits[0])
        search.run()
        trees, replayed = search.trees, {0: position}
        for node in range(1, int(trees.counters[0, NODES_USED])):
            record = trees.nodes[0, node]
            game = replayed[int(record["parent"])].copy()
            game.push(int(trees.edges[0, record["parent_edge"]]["move"]))
            replayed[node] = game
            np.testing.assert_array_equal(trees.rows[0, node], game.row)
            outcome = game.outcome()
            if outcome is not None:
                repeated += outcome.termination.name == "REPETITION"
                assert record["proven"] == outcome.value(game.turn) == 0
    assert repeated > 10
    assert inherited > 100


def test_noise_is_drawn_anew_and_only_at_the_root() -> None:
    variant = get_variant("gardner")
    roots = roots_of(Position(variant))
    config = PuctConfig(simulations=60, noise_fraction=0.25)
    search = PuctSearch(variant, roots, UniformEvaluator(), config, generator())
    search.run()
    first = search.result()
    move = int(first.moves[first.choices[0]])
    clean = search.trees.edges[
        0, search.trees.nodes[0, child_of(search.trees, 0, 0, move)]["edge_start"]
    ]
    assert clean["prior"] == pytest.approx(1 / 7, abs=0.1)
    search.advance([move])
    noisy = search.result().priors
    assert noisy.std() > 0.01
    assert noisy.sum() == pytest.approx(1, abs=1e-5)
    assert noisy.min() >= 0.75 / len(noisy) - 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_proofs_go_on(kind: str) -> None:
    for position in unfinished("hexapawn")[:20]:
        game = Position.from_row(position.row, position.variant)
        search = start(kind, roots_of(game), 400, "hexapawn")
        search.run()
        while game.outcome() is None:
            result = search.result()
            assert result.proven.tolist() == [exact_value(game)]
            move = int(result.moves[result.choices[0]])
            value = exact_value(game)
            game.push(move)
            assert -value == exact_value(game) if game.outcome() is None else True
            search.advance([move])
            search.run()


def players(kind: str, leaves: int = 1, noise: float = 1.0) -> TreePlayer:
    evaluator = ScatteredEvaluator(get_variant("gardner"))
    if kind == "puct":
        return TreePlayer(evaluator, PuctConfig(simulations=40, leaves=leaves), generator())
    config = GumbelConfig(simulations=40, leaves=leaves, gumbel_scale=noise)
    return TreePlayer(evaluator, config, generator())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaves", [1, 8])
def test_the_same_seed_gives_the_same_game(kind: str, leaves: int) -> None:
    games = []
    for _ in range(2):
        player, position = players(kind, leaves), Position(get_variant("gardner"))
        for _ in range(12):
            choice = player.choose(position)
            assert choice.nodes == 40
            position.push(choice.move)
        games.append(position.move_stack)
    assert games[0] == games[1]


def test_a_player_reuses_its_tree() -> None:
    """A later move of the same game reuses the tree; another game does not."""
    player, position = players("puct"), Position(get_variant("gardner"))
    player.choose(position)
    later = position.copy()
    search = player._single._search
    assert search is not None
    line = search.principal_variation()
    for move in line[:2]:
        later.push(move)
    player.choose(later)
    assert player._single._search is search
    assert search.result().reused_visits[0] > 0
    # Another game, and a game with the same position and another past, are new to it.
    player.choose(Position.from_row(later.row, later.variant))
    assert player._single._search is not search


class FailsOnce:
    """Raises at its tenth question, as a network does that runs out of memory."""

    def __init__(self) -> None:
        self.asked = 0

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See Evaluator."""
        self.asked += 1
        if self.asked == 10:
            raise MemoryError
        return UniformEvaluator().evaluate(positions, moves, offsets)


def test_an_interrupted_search_is_dropped() -> None:
    position = Position(get_variant("gardner"))
    player = TreePlayer(FailsOnce(), PuctConfig(simulations=40), generator())
    with pytest.raises(MemoryError):
        player.choose(position)
    sound = TreePlayer(UniformEvaluator(), PuctConfig(simulations=40), generator())
    assert player.choose(position) == sound.choose(position)


@pytest.mark.parametrize("kind", KINDS)
def test_games_side_by_side_may_come_and_go(kind: str) -> None:
    """Each gets the answer that a player of its own would give, in whatever order they are."""
    together = players(kind, noise=0.0)
    positions = openings("gardner", 5)
    alone = {id(position): players(kind, noise=0.0) for position in positions}
    for turn in range(4):
        choices = together.choose_batch(positions)
        for position, choice in zip(positions, choices, strict=True):
            assert choice == alone[id(position)].choose_batch([position])[0]
            position.push(choice.move)
            position.push(position.legal_moves[turn % len(position.legal_moves)])
        positions = positions[::-1][: 5 - turn]

"""Tokens of moves, games of tokens, training sets, and the games held out of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from engine.network.language.move_tokens import (
    BLACK_WINS,
    DRAW,
    FIRST_MOVE,
    NO_TOKEN,
    SPECIAL,
    START,
    WHITE_WINS,
    Codes,
    MoveTokenizer,
    next_tokens,
    token_of,
)
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import MAX_MOVES
from engine.rules.variant import BUILT_IN, Variant, get_variant
from search.evaluator import Evaluation, Moves, Offsets, Rows
from tests.support.rules.random_games import random_games, replayed
from tests.support.rules.variant_lists import EVERY, HEXAPAWNS
from tests.support.training.move_language_cases import random_token_games
from training.language import play as language_play
from training.language.held_out import (
    PrefixHashes,
    SeenPrefixes,
    distinct_held_out,
    held_out_games,
)
from training.language.play import CHUNK, play_by_policy, play_randomly, usual_context
from training.language.sources import fixed_source, random_source
from training.language.token_games import (
    TokenGames,
    batches,
    join_games,
    load_token_games,
    save_token_games,
)

RESULTS = {"1-0": WHITE_WINS, "1/2-1/2": DRAW, "0-1": BLACK_WINS}


@pytest.fixture(scope="module")
def universal() -> MoveTokenizer:
    return MoveTokenizer.of_all()


def assert_round_trip(tokenizer: MoveTokenizer, positions: Iterable[Position]) -> None:
    """In positions of one variant every legal move has its own token, with its UCI text."""
    codes: Codes | None = None
    moves, tokens = np.empty(MAX_MOVES, np.uint16), np.empty(MAX_MOVES, np.int32)
    for position in positions:
        variant = position.variant
        codes = tokenizer.codes(variant) if codes is None else codes
        count = next_tokens(variant.tables, codes, position.row, moves, tokens)
        assert count == len(position.legal_moves)
        assert len(set(tokens[:count].tolist())) == count
        for move, token in zip(moves[:count].tolist(), tokens[:count].tolist(), strict=True):
            text = tokenizer.texts[token]
            assert text == position.uci(move)
            assert tokenizer.token(text) == token
            assert token_of(variant.tables, codes, position.row, np.uint16(move)) == token


@pytest.mark.parametrize("name", [*EVERY, *HEXAPAWNS])
def test_every_move_of_every_variant_has_a_token(name: str, universal: MoveTokenizer) -> None:
    variant = get_variant(name)
    tokenizer = MoveTokenizer.of(variant)
    positions = [
        position for game in random_games(variant, 2, 50, seed=7) for position in replayed(game)
    ]
    assert_round_trip(tokenizer, positions)
    if name in (*BUILT_IN, *HEXAPAWNS):
        assert set(tokenizer.texts) <= set(universal.texts)
        assert_round_trip(universal, positions)


@pytest.mark.parametrize(
    ("name", "fen", "castling"),
    [
        ("chess", "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", {"e1g1", "e1c1"}),
        ("chess", "r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", {"e8g8", "e8c8"}),
        # Here the king's move to e1 is also an ordinary one.
        ("diana", "r2k1r/6/6/6/6/R2K1R w KQkq - 0 1", {"d1f1", "d1b1"}),
    ],
)
def test_castling_has_its_usual_text(name: str, fen: str, castling: set[str]) -> None:
    position = Position(get_variant(name), fen)
    assert_round_trip(MoveTokenizer.of(position.variant), [position])
    texts = {position.uci(move) for move in position.legal_moves if position.is_castling(move)}
    assert texts == castling


def test_the_vocabulary_of_a_tiny_game_by_hand() -> None:
    words = MoveTokenizer.of(get_variant("hexapawn")).texts
    pawns = [
        f"{file}{rank}{to}{onward}"
        for file in "abc"
        for rank, onward in (("1", "2"), ("2", "3"), ("2", "1"), ("3", "2"))
        for to in "abc"
        if abs(ord(file) - ord(to)) <= 1
    ]
    assert words == (*SPECIAL, *sorted(pawns))
    assert MoveTokenizer.of(get_variant("gardner")).digest == (
        MoveTokenizer.of(get_variant("baby")).digest
    ), "the same pieces on the same board"


def test_unknown_moves_and_variants_are_refused_by_name() -> None:
    hexapawn = MoveTokenizer.of(get_variant("hexapawn"))
    with pytest.raises(InputError, match="no token 'a7a8q'"):
        hexapawn.token("a7a8q")
    with pytest.raises(InputError, match="lacks the move"):
        hexapawn.codes(get_variant("gardner"))
    with pytest.raises(InputError, match="'a9a8' is not a move"):
        MoveTokenizer(["a2a3", "a9a8"])


def assert_true_games(variant: Variant, tokenizer: MoveTokenizer, games: TokenGames) -> None:
    """Each game is legal, from the start to its result or to the end of the context."""
    for tokens, length in zip(games.tokens, games.lengths.tolist(), strict=True):
        position = Position(variant)
        assert tokens[0] == START
        assert (tokens[length + 1 :] == NO_TOKEN).all()
        for token in tokens[1 : length + 1].tolist():
            outcome = position.outcome()
            if token >= FIRST_MOVE:
                position.push_uci(tokenizer.texts[token])
            else:
                assert outcome is not None
                assert RESULTS[outcome.result] == token
        assert length == games.context or tokens[length] < FIRST_MOVE


@pytest.mark.parametrize("name", EVERY)
def test_random_games_are_played_by_the_rules(name: str) -> None:
    variant = get_variant(name)
    tokenizer, games = random_token_games(variant, 4, 100, seed=3)
    assert_true_games(variant, tokenizer, games)


def test_random_games_have_the_surprisal_of_each_move() -> None:
    variant = get_variant("gardner")
    _, games = random_token_games(variant, 2, 300, seed=5)
    for moves, plies, surprisal in zip(games.moves, games.plies, games.surprisal, strict=True):
        position = Position(variant)
        for ply in range(plies):
            assert np.isclose(surprisal[ply], np.log(len(position.legal_moves)))
            position.push(int(moves[ply]))
        assert (surprisal[plies:] == 0).all(), "a result is certain"


def test_the_same_seed_makes_the_same_games_and_another_does_not() -> None:
    variant = get_variant("gardner")
    first, again, other = (
        random_token_games(variant, 20, 120, seed=seed)[1].tokens for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_random_games_choose_legal_moves_uniformly() -> None:
    variant = get_variant("hexapawn")
    tokenizer, games = random_token_games(variant, 6000, 8, seed=2)
    counts = np.bincount(games.tokens[:, 1], minlength=len(tokenizer))
    assert {tokenizer.texts[token] for token in np.flatnonzero(counts)} == {
        "a1a2",
        "b1b2",
        "c1c2",
    }
    # 2000 expected of each, with a standard deviation of 37.
    assert (np.abs(counts[counts > 0] - 2000) < 150).all()


class FirstMoves:
    """An evaluator with probability 0.9 for the first legal move and 0.1 for the second."""

    def evaluate(self, positions: Rows, moves: Moves, offsets: Offsets) -> Evaluation:
        """See search.evaluator.Evaluator."""
        logits = np.full(len(moves), -1e4, np.float32)
        logits[offsets[:-1]] = np.log(0.9)
        second = offsets[:-1] + 1
        logits[second[second < offsets[1:]]] = np.log(0.1)
        return Evaluation(logits=logits, wdl=np.full((len(positions), 3), 1 / 3, np.float32))


def test_policy_games_follow_the_policy_and_have_its_surprisal() -> None:
    variant = get_variant("gardner")
    tokenizer = MoveTokenizer.of(variant)
    rng = np.random.default_rng(0)
    games = play_by_policy(variant, tokenizer.codes(variant), FirstMoves(), 200, 60, 1.0, rng)
    assert_true_games(variant, tokenizer, games.select(np.arange(20)))
    played = games.tokens[:, 1:] >= FIRST_MOVE
    sure = games.surprisal[played] < 0.2
    shares = np.exp(-games.surprisal[played].astype(np.float64))
    assert np.isclose(np.unique(shares.round(3)), [0.1, 0.9, 1.0]).all()
    assert abs(sure.mean() - 0.9) < 0.02
    cold = play_by_policy(variant, tokenizer.codes(variant), FirstMoves(), 20, 60, 0.05, rng)
    assert len(np.unique(cold.tokens, axis=0)) == 1, "a low temperature takes the likeliest"


def test_no_training_set_contains_a_held_out_game() -> None:
    variant = get_variant("hexapawn")
    tokenizer, corpus = random_token_games(variant, 4000, 8, seed=9)
    codes = tokenizer.codes(variant)
    hashes = PrefixHashes(len(tokenizer), 8)

    def make(rng: np.random.Generator) -> TokenGames:
        return play_randomly(variant, codes, 500, 8, rng)

    held = held_out_games(make, hashes, 1000)
    texts = {tuple(game) for game in held.tokens.tolist()}
    assert len(texts) == len(held) > 0
    assert {tuple(game) for game in distinct_held_out(corpus, hashes, 1000).tokens.tolist()} <= (
        texts
    )
    for source in (
        random_source(variant, codes, hashes, games=2000, seed=1),
        fixed_source(corpus, hashes, round_games=2000, seed=1),
    ):
        read = {tuple(game) for number in range(4) for game in source(number).tokens.tolist()}
        assert len(read) > 50
        assert not read & texts


def test_as_many_games_are_held_out_as_are_wanted() -> None:
    """Planted games of random tokens, which are all different."""
    hashes = PrefixHashes(500, 4)

    def make(rng: np.random.Generator) -> TokenGames:
        tokens = rng.integers(FIRST_MOVE, 500, (CHUNK, 5), dtype=np.int32)
        tokens[:, 0] = START
        return TokenGames(
            tokens=tokens,
            lengths=np.full(CHUNK, 4),
            moves=np.zeros((CHUNK, 4), np.uint16),
            surprisal=np.zeros((CHUNK, 4), np.float32),
        )

    held = held_out_games(make, hashes, 9000)
    assert len(held) == len(np.unique(held.tokens, axis=0)) == 9000
    assert hashes.held_out(held).all()
    assert (held_out_games(make, hashes, 100).tokens == held.tokens[:100]).all()


def test_keys_held_out_games_and_the_usual_context_have_seeds_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant = get_variant("hexapawn")
    tokenizer = MoveTokenizer.of(variant)
    drawn = [PrefixHashes(len(tokenizer), 8).keys[0, :4].tolist()]

    def play(rng: np.random.Generator) -> TokenGames:
        drawn.append(rng.integers(0, 2**64, 4, dtype=np.uint64).tolist())
        return play_randomly(variant, tokenizer.codes(variant), CHUNK, 8, rng)

    held_out_games(play, PrefixHashes(len(tokenizer), 8), 1)
    monkeypatch.setattr(language_play, "play_randomly", lambda *args: play(args[-1]))
    usual_context(variant, 8)
    assert len(drawn) == 3
    assert len(np.unique(drawn)) == 12


def test_a_variant_with_too_few_games_is_refused() -> None:
    variant = get_variant("hexapawn1x3")
    tokenizer = MoveTokenizer.of(variant)
    codes = tokenizer.codes(variant)
    hashes = PrefixHashes(len(tokenizer), 8)
    with pytest.raises(InputError, match="too small"):
        held_out_games(lambda rng: play_randomly(variant, codes, 8, 8, rng), hashes, 5)


def test_a_fixed_source_gives_every_game_once_an_epoch() -> None:
    variant = get_variant("gardner")
    tokenizer, corpus = random_token_games(variant, 64, 40)
    hashes = PrefixHashes(len(tokenizer), 40)
    kept = int((~hashes.held_out(corpus)).sum())
    source = fixed_source(corpus, hashes, round_games=kept // 3, seed=4)
    epoch = np.concatenate([source(number).tokens for number in range(3)])
    assert len(np.unique(epoch, axis=0)) == kept // 3 * 3
    assert (source(0).tokens != source(3).tokens).any()


def test_shared_prefixes_are_exactly_those_that_training_has_seen() -> None:
    variant = get_variant("gardner")
    tokenizer, games = random_token_games(variant, 400, 30, seed=1)
    hashes = PrefixHashes(len(tokenizer), 30)
    held, read = games.select(np.arange(50)), games.select(np.arange(50, 400))
    # A planted prefix: training sees the first held-out game up to its tenth move.
    planted = held.select(np.array([0]))
    planted.tokens[0, 11:] = NO_TOKEN
    seen = SeenPrefixes(held, hashes)
    assert not seen.shared().any()
    seen.mark(read)
    seen.mark(planted)
    begun = {
        tuple(row[: place + 1])
        for row in join_games([read, planted]).tokens.tolist()
        for place in range(31)
        if row[place] != NO_TOKEN
    }
    expected = [
        [row[place] != NO_TOKEN and tuple(row[: place + 1]) in begun for place in range(30)]
        for row in held.tokens.tolist()
    ]
    inside = held.tokens[:, :-1] != NO_TOKEN
    assert (seen.shared() == np.array(expected))[inside].all()
    assert seen.shared()[0, :11].all()
    assert not seen.shared()[0, 11:29].any()


def test_batches_have_every_game_once_and_little_padding() -> None:
    _, games = random_token_games(get_variant("gardner"), 100, 200, seed=8)
    parts = batches(games, 10, np.random.default_rng(0))
    everything = np.concatenate([part.tokens for part in parts])
    assert sorted(everything.tolist()) == sorted(games.tokens.tolist())
    assert 8 <= len(parts) <= 12
    padded = sum(len(part) * int(part.lengths.max()) for part in parts)
    assert padded < 1.5 * games.token_count < len(games) * int(games.lengths.max())


def test_saved_games_come_back_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "games.safetensors"
    variant = get_variant("hexapawn")
    tokenizer, games = random_token_games(variant, 5, 8)
    save_token_games(path, games, variant, tokenizer.digest)
    loaded = load_token_games(path, variant, tokenizer.digest)
    assert (loaded.tokens == games.tokens).all()
    assert (loaded.surprisal == games.surprisal).all()
    with pytest.raises(InputError, match="variant is"):
        load_token_games(path, get_variant("gardner"), tokenizer.digest)
    with pytest.raises(InputError, match="tokenizer is"):
        load_token_games(path, variant, "0123")

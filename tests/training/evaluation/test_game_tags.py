"""What the PGN of a game says of its players."""

import pytest

from training.evaluation.games.tags import HUMAN, PROGRAM, PlayerTags, game_tags, time_control


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("uci:stockfish:movetime=500", "1/0.5"),
        ("uci:stockfish --book a:b:movetime=2000", "1/2"),
        ("uci:stockfish:nodes=500", ""),
        ("uci:stockfish", ""),
        ("mcts:64:movetime=500", ""),
    ],
)
def test_the_time_of_a_player(spec: str, expected: str) -> None:
    assert time_control(spec) == expected


def test_players_of_one_time_share_its_tag() -> None:
    quick, slow = (PlayerTags(PROGRAM, time_control=f"1/{seconds}") for seconds in (1, 2))
    person = PlayerTags(HUMAN, "a\nb")
    types = {"WhiteType": "program", "BlackType": "program"}
    assert game_tags(quick, quick) == {**types, "TimeControl": "1/1"}
    assert game_tags(quick, slow) == {**types, "WhiteTimeControl": "1/1", "BlackTimeControl": "1/2"}
    assert game_tags(person, quick) == {
        "WhiteType": "human",
        "BlackType": "program",
        "WhiteSettings": "a b",
        "BlackTimeControl": "1/1",
    }

"""A dull second opinion: any variant's rules, played on a dictionary straight from its ini text.

Nothing here comes from `engine`. The ini text is read anew, a board is a dict from (file, rank) to
a letter (capital for White), a move is its UCI text. To find the legal moves every pseudo-legal
move is made on a copy and the king looked for. Slow, and meant to be.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from tests.support.rules.naive_variant import Rules, Square, file_number

Board = dict[Square, str]


def side_of(piece: str) -> str:
    return "w" if piece.isupper() else "b"


def other(side: str) -> str:
    return "b" if side == "w" else "w"


def text_of(square: Square) -> str:
    return "abcdefgh"[square[0]] + str(square[1] + 1)


@dataclass(frozen=True)
class Step:
    """One pseudo-legal move: what the text is, and what it does to the board."""

    text: str
    board: Board
    irreversible: bool
    passed: Square | None = None
    castling: bool = False


@dataclass(frozen=True)
class Game:
    """A position with its past; every method is a question, `play` answers with a new Game."""

    rules: Rules
    board: Board
    side: str
    rights: str
    passed: Square | None
    clock: int
    number: int
    past: tuple[object, ...] = field(default=())

    def attacked(self, board: Board, target: Square, by: str) -> bool:
        """Whether a piece of `by` could capture on the square."""
        for square, piece in board.items():
            if side_of(piece) == by:
                for reached, modes in self.reach(board, square, piece):
                    if reached == target and "c" in modes:
                        return True
        return False

    def reach(self, board: Board, square: Square, piece: str) -> Iterator[tuple[Square, str]]:
        """Squares along all lines up to and including the first piece in the way."""
        forward = 1 if piece.isupper() else -1
        for x, y, rides, modes in self.rules.pieces[piece.lower()]:
            file, rank = square[0] + x, square[1] + y * forward
            while 0 <= file < self.rules.width and 0 <= rank < self.rules.height:
                yield (file, rank), modes
                if not rides or (file, rank) in board:
                    break
                file, rank = file + x, rank + y * forward

    def steps(self) -> Iterator[Step]:
        """Pseudo-legal moves; some come up twice where a piece has two ways to a square."""
        for square, piece in list(self.board.items()):
            if side_of(piece) != self.side:
                continue
            pawn = piece.lower() == self.rules.pawn
            for target, modes in self.reach(self.board, square, piece):
                taken = self.board.get(target, "")
                if taken and (side_of(taken) == self.side or "c" not in modes):
                    continue
                if not taken and "m" not in modes:
                    if pawn and target == self.passed and "c" in modes:
                        board = self.moved(square, target)
                        del board[target[0], square[1]]
                        yield Step(text_of(square) + text_of(target), board, True)
                    continue
                yield from self.arrivals(square, target, pawn, bool(taken) or pawn)
            if pawn:
                yield from self.double_step(square)
        yield from self.castles()

    def moved(self, square: Square, target: Square) -> Board:
        board = dict(self.board)
        board[target] = board.pop(square)
        return board

    def arrivals(
        self, square: Square, target: Square, pawn: bool, irreversible: bool
    ) -> Iterator[Step]:
        text = text_of(square) + text_of(target)
        board = self.moved(square, target)
        if not pawn or target not in self.rules.promotion_region[self.side]:
            yield Step(text, board, irreversible)
            return
        for letter in self.rules.promotes_to:
            promoted = letter.upper() if self.side == "w" else letter
            yield Step(text + letter, board | {target: promoted}, True)

    def double_step(self, square: Square) -> Iterator[Step]:
        forward = 1 if self.side == "w" else -1
        between = (square[0], square[1] + forward)
        target = (square[0], square[1] + 2 * forward)
        if (
            square in self.rules.double_step[self.side]
            and 0 <= target[1] < self.rules.height
            and not {between, target} & set(self.board)
        ):
            for step in self.arrivals(square, target, True, True):
                promoted = len(step.text) > 4
                yield replace(step, passed=None if promoted else between)

    def castles(self) -> Iterator[Step]:
        rules = self.rules
        for right in self.rights:
            if side_of(right) != self.side:
                continue
            rank = rules.home[self.side]
            king = next(s for s, p in self.board.items() if p == self.own(rules.king))
            towards = 1 if right.lower() == "k" else -1
            rook = self.castling_rook(right)
            king_to = rules.castling_files[right.lower()]
            rook_to = king_to - towards
            files = [king[0], rook[0], king_to, rook_to]
            crossed = {(file, rank) for file in range(min(files), max(files) + 1)} - {king, rook}
            walked = range(min(king[0], king_to), max(king[0], king_to) + 1)
            if crossed & set(self.board) or any(
                self.attacked(self.board, (file, rank), other(self.side)) for file in walked
            ):
                continue
            board = {s: p for s, p in self.board.items() if s not in (king, rook)}
            board |= {(king_to, rank): self.own(rules.king), (rook_to, rank): self.own(rules.rook)}
            target = (king_to, rank)
            # Where the king could simply step there, the text names the rook instead.
            plain = max(abs(target[0] - king[0]), abs(target[1] - king[1])) == 1
            free = target not in self.board
            text = text_of(king) + text_of(rook if plain and free else target)
            yield Step(text, board, False, castling=True)

    def own(self, letter: str) -> str:
        return letter.upper() if self.side == "w" else letter

    def castling_rook(self, right: str) -> Square:
        """The outermost rook on that side of the king."""
        rank = self.rules.home[side_of(right)]
        rook = self.rules.rook.upper() if right.isupper() else self.rules.rook
        files = [f for f in range(self.rules.width) if self.board.get((f, rank)) == rook]
        return (max(files) if right.lower() == "k" else min(files), rank)

    def in_check(self, board: Board, side: str) -> bool:
        king = self.rules.king.upper() if side == "w" else self.rules.king
        return any(
            self.attacked(board, square, other(side))
            for square, piece in board.items()
            if king and piece == king
        )

    @cached_property
    def legal(self) -> dict[str, Step]:
        """Legal moves by their text; none where the game is over by flag or extinction."""
        return {} if self.special_end() is not None else self.movable

    @cached_property
    def movable(self) -> dict[str, Step]:
        """Legal moves, were the game not over."""
        return {s.text: s for s in self.steps() if not self.in_check(s.board, self.side)}

    def play(self, text: str) -> "Game":
        step = self.legal[text]
        rights = ""
        for right in self.rights:
            king, rook = self.castling_homes(right)
            gone = step.castling and side_of(right) == self.side
            if not gone and all(
                step.board.get(square) == self.board[square] for square in (king, rook)
            ):
                rights += right
        return replace(
            self,
            board=step.board,
            side=other(self.side),
            rights=rights,
            passed=step.passed,
            clock=0 if step.irreversible else self.clock + 1,
            number=self.number + (self.side == "b"),
            past=(*self.past, self.key()),
        )

    def castling_homes(self, right: str) -> tuple[Square, Square]:
        king = self.rules.king.upper() if right.isupper() else self.rules.king
        square = next(s for s, p in self.board.items() if p == king)
        return square, self.castling_rook(right)

    def key(self) -> object:
        """What must be equal for a position to count as repeated."""
        return (frozenset(self.board.items()), self.side, self.rights, self.useful_passed())

    def useful_passed(self) -> Square | None:
        """The square passed over, where a pawn may lawfully take on it."""
        if self.passed is not None:
            target = text_of(self.passed)
            for text in self.movable:
                square = (file_number(text[0]), int(text[1]) - 1)
                piece = self.board[square].lower()
                if text[2:4] == target and piece == self.rules.pawn and text[0] != text[2]:
                    return self.passed
        return None

    def special_end(self) -> tuple[str, int] | None:
        """('extinction' or 'flag', value for the side to move)."""
        rules = self.rules
        lost = rules.values["extinction"]
        if lost is not None:
            for side in (other(self.side), self.side):
                for letter in rules.extinct_types:
                    if self.count(side, letter) <= rules.extinct_count:
                        return "extinction", lost if side == self.side else -lost
        enemy = other(self.side)
        for square in rules.flag_region[enemy]:
            piece = self.board.get(square, "")
            if piece and side_of(piece) == enemy and piece.lower() in rules.flag_types:
                return "flag", -1
        return None

    def count(self, side: str, letter: str) -> int:
        """How many pieces; `*` counts all."""
        return sum(
            side_of(piece) == side and letter in ("*", piece.lower())
            for piece in self.board.values()
        )

    def end(self) -> tuple[str, int] | None:
        """How the game has ended and what that is worth to the side to move, or None."""
        special = self.special_end()
        if special is not None:
            return special
        if not self.legal:
            how = "checkmate" if self.in_check(self.board, self.side) else "stalemate"
            value = self.rules.values[how]
            assert value is not None
            return how, value
        if self.cannot_mate("w") and self.cannot_mate("b"):
            return "insufficient material", 0
        if self.rules.clock and self.clock >= self.rules.clock:
            return "move rule", 0
        if self.rules.fold and Counter(self.past)[self.key()] >= self.rules.fold - 1:
            return "repetition", 0
        return None

    def cannot_mate(self, side: str) -> bool:
        """Whether no sequence of moves mates, as Fairy-Stockfish judges it."""
        rules, names = self.rules, self.rules.names
        if not rules.king or rules.values["extinction"] is not None:
            return False
        if any(
            side_of(p) == side and rules.flag_region[side] and p.lower() in rules.flag_types
            for p in self.board.values()
        ):
            return False
        strong = {
            letter
            for name, letter in names.items()
            if name in ("rook", "queen") or name.startswith("custom")
        }
        own = Counter(p.lower() for p in self.board.values() if side_of(p) == side)
        everyone = Counter(p.lower() for p in self.board.values())
        if any(own[letter] for letter in strong):
            return False
        if own[rules.pawn] and strong & set(rules.promotes_to):
            return False
        bishop = names.get("bishop", "")
        shades = {(s[0] + s[1]) % 2 for s, p in self.board.items() if p.lower() == bishop}
        others = sum(n for letter, n in everyone.items() if letter not in (rules.king, bishop))
        drawn_stalemate = rules.values["stalemate"] == 0
        if bishop and own[bishop] and (len(shades) == 2 or others or not drawn_stalemate):
            return False
        unbound = sum(n for letter, n in own.items() if letter not in (rules.king, bishop))
        helpers = sum(n for letter, n in everyone.items() if letter != rules.king)
        return not (unbound and (helpers >= 2 or not drawn_stalemate))

    def fen(self) -> str:
        rows = []
        for rank in reversed(range(self.rules.height)):
            row = ""
            for file in range(self.rules.width):
                row += self.board.get((file, rank), ".")
            for length in range(self.rules.width, 0, -1):
                row = row.replace("." * length, str(length))
            rows.append(row)
        passed = self.useful_passed()
        return " ".join(
            [
                "/".join(rows),
                self.side,
                self.rights or "-",
                text_of(passed) if passed else "-",
                str(self.clock),
                str(self.number),
            ]
        )

    def perft(self, depth: int) -> int:
        if depth == 0:
            return 1
        return sum(self.play(text).perft(depth - 1) for text in self.legal)


def start(rules: Rules, fen: str | None = None) -> Game:
    """A game from a FEN with six fields (fewer are taken as `w - - 0 1`)."""
    fields = (fen or rules.start_fen).split()
    fields += ["w", "-", "-", "0", "1"][len(fields) - 1 :]
    board: Board = {}
    for index, row in enumerate(fields[0].split("/")):
        file = 0
        for sign in row:
            if sign.isdigit():
                file += int(sign)
            else:
                board[file, rules.height - 1 - index] = sign
                file += 1
    rights = fields[2] if rules.castling and fields[2] != "-" else ""
    passed = None if fields[3] == "-" else (file_number(fields[3][0]), int(fields[3][1]) - 1)
    return Game(rules, board, fields[1], rights, passed, int(fields[4]), int(fields[5]))

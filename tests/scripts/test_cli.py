"""The command line: which words it takes, and how it says what is wrong."""

import errno
import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from engine.rules.errors import InputError
from engine.system.termination import Terminated
from scripts import cli
from scripts.commands import compile
from scripts.options import print_json

ROOT = Path(__file__).resolve().parents[2]


def start(*words: str, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line, or `code`, in a process of its own."""
    program = ["-c", code] if code else ["-m", "scripts.cli"]
    return subprocess.run(
        [sys.executable, *program, *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module of a command `planted`, to be given a `main`."""
    module = types.ModuleType("scripts.planted")
    monkeypatch.setitem(sys.modules, "scripts.planted", module)
    command = cli.Command(module="scripts.planted", help="", kernels=False)
    monkeypatch.setitem(cli.COMMANDS, "planted", command)
    return module


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error; nothing may stand on standard output."""
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith("compiling")]
    assert len(lines) == 1
    return lines[0]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in cli.COMMANDS)


def test_help_imports_no_library() -> None:
    code = "import sys; from scripts.cli import main; main(['--help']); print(*sys.modules)"
    loaded = set(start(code=code).stdout.split("traceback of an error.")[1].split())
    assert "scripts.cli" in loaded
    assert not {"matplotlib", "numba", "numpy", "torch", "tyro"} & loaded


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_served(name: str) -> None:
    module = cli.COMMANDS[name].module or f"scripts.commands.{name}"
    assert callable(importlib.import_module(module).main)


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("tran", "did you mean train?"),
        ("trian", "did you mean train?"),
        ("Solve", "did you mean solve?"),
        ("xyzzy", "see pawnscope --help"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(
    word: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    line = complaint(capsys)
    assert repr(word) in line
    assert advice in line


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("FEN 'x y': bad"), 2, "pawnscope: FEN 'x y': bad"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.ini"), 2, "No such file: a.ini"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "pawnscope: No space left on device"),
        (KeyError("lost"), 1, "internal error: KeyError: 'lost'"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
    ],
)
def test_an_error_is_one_line_and_with_debug_a_traceback(
    error: BaseException,
    status: int,
    line: str,
    planted: types.ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(arguments: list[str]) -> int:
        raise error

    planted.__dict__["main"] = main
    assert cli.main(["planted"]) == status
    assert line in complaint(capsys)
    for words in (["--debug", "planted"], ["planted", "--debug"]):
        with pytest.raises(type(error)):
            cli.main(words)


def test_figures_are_json_whatever_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [1.5, -math.inf, (2, {"c": math.inf})], "d": None, "e": True})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": None, "b": [1.5, None, [2, {"c": None}]], "d": None, "e": True}


def test_a_command_gets_its_words_and_gives_its_status(planted: types.ModuleType) -> None:
    seen = []

    def main(arguments: list[str]) -> int:
        seen.append(arguments)
        return 3

    planted.__dict__["main"] = main
    assert cli.main(["planted", "a", "--debug", "--b=c"]) == 3
    assert seen == [["a", "--b=c"]]


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(buffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": buffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


def test_the_first_compilation_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(
        "from engine.rules.compilation.decorators import kernel\n"
        "@kernel\ndef one(x: float) -> float:\n    return x + 1\n"
        "@kernel\ndef two(x: float) -> float:\n    return one(x) + 1\n"
        "def main(arguments):\n    print(two(1), two(1.5))\n    return 0\n"
    )
    code = (
        "import sys; from scripts import cli\n"
        "cli.COMMANDS['planted'] = cli.Command(module='planted', help='', serves=True)\n"
        "sys.exit(cli.main(['planted']))\n"
    )
    surroundings = {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "NUMBA_DISABLE_JIT": "0",
        "PYTHONPATH": str(tmp_path),
    }
    first, second = (start(code=code, **surroundings) for _ in range(2))
    assert first.stdout == second.stdout == "3.0 3.5\n"
    assert first.stderr.count("compiling kernels") == 1
    assert second.stderr == ""


def test_what_runs_no_kernels_waits_for_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(compile, "ensure_compiled", lambda: begun.append("compiling"))
    assert cli.main(["language", "--gpt2-sizes"]) == 0
    assert cli.main(["language", "--gpt2=no-such-folder", "--prompt", "a"]) == 2
    assert "no-such-folder" in capsys.readouterr().err
    assert not begun


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        ("perft", "VARIANT, DEPTH"),
        ("perft gardner", "DEPTH"),
        ("perft gardner x", "DEPTH 'x' is not a whole number from 0 to 1000"),
        ("perft gardner -1", "DEPTH -1 is not a whole number from 0 to 1000"),
        ("match random random hexapawn --variant x", "'--variant' (did you mean --variants?)"),
        ("perft --fne x", "'--fne' (did you mean --fen?)"),
        ("train hexapawn --teacher nobody", "--teacher is 'nobody', not one of solver"),
        ("train hexapawn --form x", "'--form' (did you mean --from?)"),
        ("train hexapawn --out x", "unknown option '--out';"),
        ("train hexapawn --minuts=1", "'--minuts=1' (did you mean --minutes?)"),
        ("match random random hexapawn --games x", "--games 'x' is not a whole number of"),
        ("match random random hexapawn --games 0", "--games 0 is not"),
        ("match random random hexapawn --seed -1", "--seed -1 is not"),
        ("match random random hexapawn --sprt 1", "--sprt takes 2 numbers, not '1';"),
        ("match random random hexapawn --sprt 0 x --games 2", "2 numbers, not '0', 'x';"),
        ("match random random hexapawn --alpha 2", "--alpha 2 is not a number above 0 and below"),
        ("train hexapawn --minutes abc", "--minutes 'abc' is not a number of at least 0;"),
        ("train hexapawn --minutes=abc", "--minutes 'abc' is not a number of at least 0;"),
        ("train hexapawn --minutes -1", "--minutes -1 is not a number of at least 0;"),
        ("train hexapawn --minutes nan", "--minutes nan is not a number"),
        ("train hexapawn --minutes 1,5", "'1,5' is not a number of at least 0; did you mean 1.5?"),
        ("train hexapawn --minutes", "--minutes needs a value"),
        ("train hexapawn --actors -3", "--actors -3 is not a whole number from 0 to 256"),
        ("train hexapawn --actors 2.5", "--actors 2.5 is not a whole number from 0 to 256"),
        ("train hexapawn --simulations 0", "--simulations 0 is not a whole number from 1 to"),
        ("train hexapawn --seed 9999999999999999999", "--seed 9999999999999999999 is not"),
        ("study sizes --minutes inf", "--minutes inf is not a finite number above 0"),
        (
            "evaluate x --games 1e3",
            "--games 1e3 is not a whole number of at least 0; did you",
        ),
        ("evaluate x --games 1,000", "did you mean 1000?"),
        ("language train hexapawn --rounds -1", "--rounds -1 is not a whole number"),
        ("language train hexapawn --seed 9999999999999999999", "--seed 9999999999999999999 is"),
        ("language continue hexapawn --temperature hot", "--temperature 'hot' is not a number"),
        ("language continue hexapawn --top_p 0", "--top-p 0 is not a number above 0 and up to 1"),
        ("language --gpt2 x --tokens -1", "--tokens -1 is not a whole number"),
        ("solve gardner --men -1", "--men -1 is not a whole number of at least 2"),
        ("perft gardner 1e400", "DEPTH 1e400 is not a whole number from 0 to 1000;"),
        ("solve hexapawn -q --verbose", "--quiet and --verbose: only one of them"),
        ("solve hexapawn --json=yes", "'yes'"),
        ("perft gardner 1 extra", "'extra'"),
        ("perft gardner 1 --fne x", "--fen"),
        ("perft gardner 1 --fen", "--fen"),
        ("perft gardner 1 --fen 5/5", "5/5"),
        ("perft gardener 1", "gardner"),
        ("perft tests/scripts 1", "there is a folder of that name, and a variant's name is needed"),
        ("perft runs/hexapawn/ 1", "unknown variant 'runs/hexapawn/' (did you mean hexapawn?)"),
        ("match gardner random mcts:9", "'mcts:9'; no loaded file defines it; it is a player"),
        ("study ablatoin", "NAME is 'ablatoin', not one of ablation"),
        ("study ablatoin", "(did you mean ablation?)"),
        ("bench --only peers", "--only peers: there is nothing here that it could measure"),
        ("evaluate no-such-run", "no-such-run: there is no such run"),
        ("evaluate README.md", "README.md: a file, and a run's directory is needed"),
        ("language --gpt2 README.md", "README.md: a file, not a folder"),
        ("perft gardner 1 --variants no-such-file.ini", "no-such-file.ini"),
    ],
)
def test_bad_options_are_quoted_in_one_line(
    words: str,
    quoted: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(words.split()) == 2
    assert quoted in complaint(capsys)


@pytest.mark.parametrize("command", [*cli.COMMANDS, "language train", "language continue"])
def test_every_command_may_say_less_or_more(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for word, meant in (("--quite", "--quiet"), ("--verbos", "--verbose")):
        assert cli.main([*command.split(), word]) == 2
        assert f"unknown option '{word}' (did you mean {meant}?)" in complaint(capsys)


@pytest.mark.nojit
def test_perft_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["perft", "hexapawn", "3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"nodes", "seconds", "nodes_per_second"}
    assert figures["nodes"] == 28  # golden/perft.txt
    assert figures["nodes_per_second"] == pytest.approx(figures["nodes"] / figures["seconds"])


@pytest.mark.nojit
def test_perft_divide_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["perft", "hexapawn", "3", "--divide"]) == 0
    *moves, total = capsys.readouterr().out.splitlines()
    behind = {move: int(count) for move, count in (line.split(": ") for line in moves)}
    assert set(behind) == {"a1a2", "b1b2", "c1c2"}
    assert behind["a1a2"] == behind["c1c2"]
    assert re.match(rf"{sum(behind.values())} nodes in [\d.]+ m?s, ", total)


def test_perft_counts_from_a_given_position(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["perft", "hexapawn", "1", "--json", "--fen", "p1p/PpP/3 w - - 0 1"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"] == 0


def test_variants_lists_board_and_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["variants"]) == 0
    printed = capsys.readouterr().out
    assert "ppp/3/PPP w - - 0 1" in next(
        line for line in printed.splitlines() if line.startswith("hexapawn ")
    )
    assert cli.main(["variants", "--json"]) == 0
    games = json.loads(capsys.readouterr().out)
    assert games["gardner"] == {
        "width": 5,
        "height": 5,
        "start_fen": "rnbqk/ppppp/5/PPPPP/RNBQK w - - 0 1",
    }


def test_a_person_brings_variants_of_their_own(tmp_path: Path) -> None:
    own = tmp_path / "own.ini"
    own.write_text("[lonely:hexapawn]\nstartFen = 1p1/3/P1P w - - 0 1\n")
    done = start("perft", "lonely", "1", "--json", "--variants", str(own))
    assert json.loads(done.stdout)["nodes"] == 2
    listed = start("variants", "--variants", str(own))
    assert "lonely" in listed.stdout


def test_mistakes_and_notes_of_a_variant_file_are_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.ini"
    own.write_text("[bad:chess]\nmaxRank = x\npass = true\n" + "what\n" * 30)
    assert cli.main(["variants", "--variants", str(own)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 21
    assert all(line.startswith(f"pawnscope: {own}:") for line in lines[:-1])
    assert lines[-1] == "pawnscope: and 12 more mistakes"
    own.write_text("[drawncli:chess]\npieceToCharTable = PNBRQ\n")
    assert cli.main(["variants", "--json", "--variants", str(own)]) == 0
    printed = capsys.readouterr()
    assert "drawncli" in json.loads(printed.out)
    assert printed.err == f"{own}:2: pieceToCharTable: changes no rule, ignored\n"


CLOSED = """
import os, sys
for number in map(int, sys.argv.pop(1).split(",")):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "scripts.cli", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("closed", "words", "status", "printed"),
    [
        ("1", "variants", 0, ""),
        ("2", "perft gardener 3", 2, ""),
        ("2", "match random random hexapawn --games 2 --json", 0, '{"games": 2'),
        ("0,1,2", "variants", 0, ""),
    ],
)
def test_closed_streams_lead_nowhere(closed: str, words: str, status: int, printed: str) -> None:
    done = start(closed, *words.split(), code=CLOSED)
    assert done.returncode == status
    assert done.stdout.startswith(printed)
    # What was meant for one stream does not go to another.
    assert done.stdout.count("\n") <= 1
    assert "Error" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("latin-1", "--help"),
        ("ascii", "--help"),
        ("ascii", "variants --help"),
        ("ascii", "language --help"),
    ],
)
def test_any_terminal_can_show_help(encoding: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *words.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.decode(encoding)) > 300
    assert b"\\u" not in done.stdout


@pytest.mark.parametrize("words", ["--help", "variants", "variants --help"])
def test_an_output_that_takes_nothing_is_one_line(words: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.cli", *words.split()],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "pawnscope: No space left on device: standard output\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_ends_prints_nothing(number: int) -> None:
    code = (
        "import atexit, sys, time; from scripts import cli\n"
        "atexit.register(lambda: (print('ending', flush=True), time.sleep(60)))\n"
        "sys.exit(cli.main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "perft", "no-such-game", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ending\n"
        process.send_signal(number)
        assert process.stderr.read().count("\n") == 1
    assert process.returncode == -number


def test_names_of_files_are_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")
    assert cli.main(["train", "hexapawn", "--run", named]) == 2
    assert r"r\xff': not a name in UTF-8" in complaint(capsys)
    assert not list(tmp_path.iterdir())


def test_a_complaint_that_nobody_can_hear_keeps_its_status() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "perft", "gardener", "3"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=write,
    )
    os.close(write)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_user_without_a_home_has_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 0x7FFFFFF0)
    assert cli.main(["variants", "--json"]) == 0
    assert Path.home() == Path("/nonexistent")

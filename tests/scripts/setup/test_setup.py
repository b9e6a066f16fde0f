"""The set-up: made once, redone after a kill, never by two at once, and pinned."""

import ast
import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.setup import checks
from scripts.setup.checks import QUICK, plan
from scripts.setup.environment import Environment, SetupError, check_python, run_quietly

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("engine", "pawnscope", "scripts", "search", "training")
STAMP = ".venv/pawnscope-stamp"


class Steps:
    """Stands in for the commands of a set-up, remembers them, and fails where it is told to."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.failure: BaseException | None = None
        self.fails_at = ""
        self.at_work = 0
        self.most_at_work = 0

    def __call__(self, command: Sequence[str], folder: Path, lock: int) -> None:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        step = "venv" if "venv" in command else command[-1]
        self.said.append(step)
        if step == "venv":
            made = Path(command[-1])
            (made / "bin").mkdir()
            (made / "pyvenv.cfg").touch()
            (made / "bin" / "python").touch()
        time.sleep(0.02)
        self.at_work -= 1
        if self.failure is not None and self.fails_at == step:
            raise self.failure


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


def test_the_second_start_does_nothing(root: Path) -> None:
    steps = Steps()
    # Whether something was installed, after which the kernels are compiled.
    assert [Environment(root, steps).prepare(()) for _ in range(2)] == [True, False]
    assert steps.said == ["venv", "."]


def test_an_extra_comes_on_top_and_both_starts_stay_valid(root: Path) -> None:
    steps = Steps()
    for extras in ((), ("test",), (), ("test",)):
        Environment(root, steps).prepare(extras)
    assert steps.said == ["venv", ".", ".[test]"]


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_new_pins_are_installed_into_the_same_environment(root: Path, name: str) -> None:
    steps = Steps()
    Environment(root, steps).prepare(("test",))
    (root / name).write_text("# other\n")
    Environment(root, steps).prepare(())
    assert steps.said == ["venv", ".[test]", ".[test]"]


@pytest.mark.parametrize("step", ["venv", "."])
def test_a_killed_set_up_is_begun_anew(root: Path, step: str) -> None:
    steps = Steps()
    steps.failure, steps.fails_at = KeyboardInterrupt(), step
    with pytest.raises(KeyboardInterrupt):
        Environment(root, steps).prepare(())
    half_written = root / ".venv" / "half"
    half_written.touch()
    steps.failure, steps.said = None, []
    Environment(root, steps).prepare(())
    assert steps.said == ["venv", "."]
    assert not half_written.exists()


@pytest.mark.parametrize("left", [[], ["bin/python"], ["pawnscope-stamp", "pyvenv.cfg"]])
def test_whatever_a_kill_leaves_is_begun_anew(root: Path, left: list[str]) -> None:
    for name in left:
        path = root / ".venv" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    environment = Environment(root, Steps())
    environment.prepare(())
    assert environment.is_ready(())


def test_what_pip_refuses_leaves_the_old_state(root: Path) -> None:
    steps = Steps()
    Environment(root, steps).prepare(())
    steps.failure, steps.fails_at = SetupError("no network"), ".[test]"
    with pytest.raises(SetupError, match="no network"):
        Environment(root, steps).prepare(("test",))
    environment = Environment(root, steps)
    assert environment.is_ready(())
    assert not environment.is_ready(("test",))


def test_an_environment_of_someone_else_is_left_alone(root: Path) -> None:
    kept = root / ".venv" / "pyvenv.cfg"
    kept.parent.mkdir()
    kept.write_text("home = elsewhere\n")
    with pytest.raises(SetupError, match=r"\.venv"):
        Environment(root, Steps()).prepare(())
    assert kept.read_text() == "home = elsewhere\n"


def test_a_moved_folder_gets_an_environment_of_its_own(root: Path) -> None:
    Environment(root, Steps()).prepare(())
    shutil.copytree(root, root / "copy")
    assert Environment(root, Steps()).is_ready(())
    assert not Environment(root / "copy", Steps()).is_ready(())


def test_two_at_once_install_once(root: Path) -> None:
    steps = Steps()
    starts = [threading.Thread(target=Environment(root, steps).prepare, args=((),)) for _ in "ab"]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert steps.said == ["venv", "."]
    assert steps.most_at_work == 1


def test_the_lock_outlives_a_killed_set_up_as_long_as_its_step(tmp_path: Path) -> None:
    code = (
        "import fcntl, pathlib, sys; from scripts.setup.environment import run_quietly\n"
        "lock = open('lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        'step = \'import sys; open("started", "w").close(); sys.stdin = open("end")\'\n'
        "run_quietly([sys.executable, '-c', step], pathlib.Path('.'), lock.fileno())\n"
    )
    os.mkfifo(tmp_path / "end")
    setup = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while not (tmp_path / "started").exists():
        assert setup.poll() is None
        time.sleep(0.01)
    setup.kill()
    setup.wait()
    with open(tmp_path / "lock") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The step waits for a writer of its pipe; then it ends, and the lock with it.
        (tmp_path / "end").write_text("")
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_a_failed_step_shows_its_last_lines(tmp_path: Path) -> None:
    code = "for i in range(50): print('line', i)\nprint('WARNING: of others')\nraise SystemExit(3)"
    with pytest.raises(SetupError) as caught:
        run_quietly([sys.executable, "-c", code], tmp_path, 0)
    what_failed, said = str(caught.value).split(" after saying\n")
    assert what_failed.endswith("ended with status 3")
    assert [line.strip() for line in said.splitlines()] == [f"line {i}" for i in range(38, 50)]


def test_steps_may_write_byte_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run_quietly(
        [sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"], tmp_path, 0
    )
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14), (4, 0)])
def test_other_pythons_are_refused_in_one_line(version: tuple[int, int]) -> None:
    with pytest.raises(
        SetupError, match=rf"3\.11 to 3\.13 .* {version[0]}\.{version[1]} "
    ) as caught:
        check_python(version)
    assert "\n" not in str(caught.value)


def test_supported_pythons_pass() -> None:
    for version in ((3, 11), (3, 12), (3, 13)):
        check_python(version)
    assert sys.version_info[:2] in ((3, 11), (3, 12), (3, 13))


def test_a_start_imports_next_to_nothing() -> None:
    code = "import scripts.setup.environment, sys; print(*sys.modules)"
    bare = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"]
    loaded = subprocess.run(bare, capture_output=True, text=True, check=True).stdout.split()
    assert "scripts.setup.environment" in loaded
    assert not {"dataclasses", "json", "numpy", "shutil", "subprocess", "typing"} & set(loaded)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a start reads, without an environment."""
    root = tmp_path_factory.mktemp("sources")
    for name in ("engine", "scripts", "constraints.txt", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    return root


def test_run_hands_over_to_an_environment_that_stands(tmp_path: Path, sources: Path) -> None:
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)

    def make(command: Sequence[str], folder: Path, lock: int) -> None:
        if "venv" in command:
            venv.create(command[-1], symlinks=True)
            for packages in Path(command[-1]).glob("lib/python*/site-packages"):
                (packages / "pawnscope.pth").write_text(f"{tmp_path}\n")

    Environment(tmp_path, make).prepare(())
    done = subprocess.run(
        [sys.executable, tmp_path / "scripts" / "run.py", "no-such-command"],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "pawnscope: no command 'no-such-command'; see pawnscope --help\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("test.py --help", 0, "usage: scripts/test.py"),
        ("test.py --quick -h", 0, "usage: scripts/test.py"),
        ("test.py --qiuck", 2, "scripts/test.py: unknown option '--qiuck' (did you mean --quick?)"),
        ("run.py --help", 0, "usage: pawnscope COMMAND"),
        ("run.py", 2, "usage: pawnscope COMMAND"),
        ("run.py --version", 0, "pawnscope 0."),
        ("run.py trian hexapawn", 2, "no command 'trian'; did you mean train?"),
    ],
)
def test_what_needs_no_library_is_answered_before_the_set_up(
    words: str, status: int, said: str, sources: Path
) -> None:
    script, *rest = words.split()
    done = subprocess.run(
        # Without any installed package.
        [sys.executable, "-S", sources / "scripts" / script, *rest],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert not (sources / ".venv").exists()
    assert not (sources / ".venv.lock").exists()


@pytest.mark.parametrize("script", ["run.py", "test.py"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_help_is_one_line(
    script: str, unbuffered: str, sources: Path
) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-S", sources / "scripts" / script, "--help"],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == "pawnscope: No space left on device: standard output\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["-k"], "argument -k: expected one argument"),
        (["tests/nowhere.py"], "file or directory not found: tests/nowhere.py"),
    ],
)
def test_what_pytest_refuses_is_said_before_any_check(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun: list[checks.Check] = []
    monkeypatch.setattr(checks, "run", begun.append)
    monkeypatch.setattr(sys, "argv", ["scripts/test.py", *words])
    assert checks.main() == 2
    assert capsys.readouterr().err == f"scripts/test.py: {said}\n"
    assert not begun
    monkeypatch.setattr(sys, "argv", ["scripts/test.py", "-x", "-k", "nothing"])
    checks.main()
    assert begun


def pins() -> dict[str, str]:
    """Version by name (lower case, hyphens) of all that constraints.txt pins."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
            assert match, f"{line!r} is not NAME==VERSION"
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def test_everything_asked_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    names = {re.split(r"[<>=~]", requirement)[0] for requirement in asked}
    assert {name for name in names if not name.startswith("pawnscope[")} <= set(pins())


def test_every_module_can_be_imported_by_a_default_install() -> None:
    """What an extra brings is imported inside functions, after a check that names the extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    default = {re.split(r"[<>=~]", requirement)[0] for requirement in project["dependencies"]}
    bringing = importlib.metadata.packages_distributions()
    packages = {"engine", "scripts", "search", "training"}
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            if path.name == "peer_pgx.py":  # runs in the peers' environment
                continue
            names = {
                name.split(".")[0]
                for node in ast.parse(path.read_text()).body
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [str(node.module)]
                )
            }
            libraries = (
                names - sys.stdlib_module_names - {"engine", "scripts", "search", "training"}
            )
            for library in libraries:
                found = {name.lower().replace("_", "-") for name in bringing[library]}
                assert found & default, f"{path}: {library}"


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {
        distribution.name.lower().replace("_", "-"): distribution.version.split("+")[0]
        for distribution in importlib.metadata.distributions()
    }
    common = installed.keys() & pins().keys()
    assert "torch" in common
    assert {name: installed[name] for name in common} == {name: pins()[name] for name in common}


def test_the_packages_are_found_by_rule() -> None:
    """setuptools finds every folder with an `__init__.py`, and every folder with code has one."""
    from setuptools import find_packages

    rule = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert rule["find"].pop("namespaces") is False
    found = set(find_packages(str(ROOT), **rule["find"]))
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert found == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_packages_hold_their_data() -> None:
    """Files that the code reads, and the markers of types, are installed with it."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    everywhere = rules["package-data"].pop("*")
    installed = {
        path for package in PACKAGES for each in everywhere for path in (ROOT / package).glob(each)
    }
    for package, patterns in rules["package-data"].items():
        folder = ROOT / package.replace(".", "/")
        installed |= {path for pattern in patterns for path in folder.glob(pattern)}
    assert {ROOT / package / "py.typed" for package in PACKAGES} <= installed
    kinds = {".css", ".ini", ".j2", ".safetensors", ".toml"}
    data = {
        path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in kinds
    }
    assert len(data) >= 5
    assert data <= installed


def test_hooks_of_a_commit_need_no_network() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    hooks = text.count("- id:")
    assert text.count("- repo:") == text.count("- repo: local") == 1
    assert hooks == text.count("entry: .venv/bin/python -m ") == text.count("language: system")


def test_quick_checks_are_some_of_all() -> None:
    everything, quick = (plan(["-x"], cores=2, quick=quick) for quick in (False, True))
    assert [check.name for check in quick] == [
        check.name for check in everything if "nojit" not in check.name
    ]
    assert all((ROOT / name).exists() for name in QUICK)
    assert set(QUICK) <= set(quick[-1].arguments)
    assert "-x" in quick[-1].arguments

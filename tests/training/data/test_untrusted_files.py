"""Files that a stranger wrote: they are taken as they are, or refused in one line; nothing else."""

import copy
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.network.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_universal,
    read_description,
)
from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.network.language.checkpoint import load_language
from engine.network.language.gpt2 import end_of_text, load_gpt2, save_gpt2
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.network.stored_json import LARGEST_TEXT, parse_json
from engine.rules.errors import InputError, NotFiniteError
from engine.rules.kernels import generate_batch
from search.evaluator import evaluate
from tests.support.network.language_cases import lively_model
from tests.support.training.untrusted_cases import (
    GARDNER,
    games_file,
    language_file,
    network_file,
    read,
    universal_file,
    write,
)
from training.data.shards import describe_games, load_games


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """Two gigabytes more than now: code that believes a header's sizes fails here."""
    page = resource.getpagesize()
    now = int(Path("/proc/self/statm").read_text().split()[0]) * page
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def use_network(path: Path) -> None:
    network, metadata = load_checkpoint(path, variant=GARDNER)
    assert type(metadata.get("step", 0)) is int
    rows = GARDNER.start_row[None]
    evaluate(NetworkEvaluator(network), rows, *generate_batch(GARDNER.tables, rows))


def use_universal(path: Path) -> None:
    load_universal(path)
    use_network(path)


def use_language(path: Path) -> None:
    model = load_language(path, variant=GARDNER).model
    model(torch.zeros(1, 1).long())


def use_games(path: Path) -> None:
    rows = load_games(path, GARDNER)
    assert describe_games(path)["positions"] >= 0
    assert len(generate_batch(GARDNER.tables, rows.positions)[0]) == len(rows.moves)


def use_gpt2(folder: Path) -> None:
    end_of_text(folder)
    logits = load_gpt2(folder)(torch.zeros(1, 1).long())
    assert logits.shape[:2] == (1, 1)


FILES: Final[dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]]] = {
    "network": (network_file, use_network),
    "universal": (universal_file, use_universal),
    "language": (language_file, use_language),
    "games": (games_file, use_games),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file of every kind."""
    made = tmp_path_factory.mktemp("files")
    for kind, (make, use) in FILES.items():
        make(made / kind)
        use(made / kind)
    return made


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a header."""
    if way:
        yield way
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            yield from places(part, (*way, name))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


WRONG: Final[list[Any]] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    7,
    8,
    9,
    255,
    16384,
    1 << 31,
    1 << 63,
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "gardner",
    "chess",
    "x" * 5000,
    "\n\x00\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    [],
    [1, 1],
    [16],
    [[]],
    {},
    {"a": {}},
    nested(70),
]


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
def test_a_changed_header_is_taken_or_refused(kind: str, data: st.DataObject, folder: Path) -> None:
    tensors, header = read(folder / kind)
    changed: Any = copy.deepcopy(header)
    for _ in range(data.draw(st.integers(1, 2), label="changes")):
        ways = list(places(changed))
        way = data.draw(st.sampled_from(ways), label="where")
        inner = changed
        for name in way[:-1]:
            inner = inner[name]
        wrong = data.draw(
            st.sampled_from(["drop", "nest", "add", *range(len(WRONG))]), label="what"
        )
        if wrong == "drop":
            del inner[way[-1]]
        elif wrong == "nest":
            inner[way[-1]] = [inner[way[-1]]]
        elif wrong == "add" and isinstance(inner, dict):
            inner["unheard"] = 1
        elif isinstance(wrong, int):
            # A second change may reach into the first one's.
            inner[way[-1]] = copy.deepcopy(WRONG[wrong])
        if not changed:
            break
    path = folder / f"{kind}-changed"
    write(path, tensors, changed)
    problem = fault_of(FILES[kind][1], path)
    assert problem is None or is_one_line_about(path, problem)


def fault_of(use: Callable[[Path], None], path: Path) -> InputError | None:
    """Why the file was refused; None where it was taken, which `use` checks."""
    try:
        use(path)
    except InputError as problem:
        return problem
    return None


def is_one_line_about(path: Path, problem: InputError) -> bool:
    message = str(problem)
    # Finite weights with products that are not finite fail at the first evaluation.
    overflown = isinstance(problem, NotFiniteError) and "an evaluation of" in message
    named = overflown or message.startswith(str(path))
    return named and len(message) < 1000 and "\n" not in message


def refusal_of(kind: str, path: Path) -> str:
    """What is said of a file that must be refused."""
    problem = fault_of(FILES[kind][1], path)
    assert problem is not None
    assert is_one_line_about(path, problem)
    return str(problem)


DTYPES: Final = [torch.float64, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.uint16]


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
def test_changed_tensors_are_taken_or_refused(kind: str, data: st.DataObject, folder: Path) -> None:
    tensors, header = read(folder / kind)
    name = data.draw(st.sampled_from(sorted(tensors)), label="which")
    tensor = tensors[name]
    change = data.draw(
        st.sampled_from(["drop", "rename", "flat", "longer", "empty", "kind", "value"]),
        label="what",
    )
    if change == "drop":
        del tensors[name]
    elif change == "rename":
        tensors["x" + name] = tensors.pop(name)
    elif change == "flat":
        tensors[name] = tensor.flatten()[None]
    elif change == "longer":
        tensors[name] = torch.cat([tensor, tensor])
    elif change == "empty":
        tensors[name] = tensor[:0]
    elif change == "kind":
        tensors[name] = tensor.to(data.draw(st.sampled_from(DTYPES), label="kind"))
    else:
        flat = tensor.reshape(-1)
        bad = [float("nan"), float("-inf"), 1e38] if tensor.is_floating_point() else [0, 1, 127]
        place = data.draw(st.integers(0, len(flat) - 1), label="place")
        flat[place] = data.draw(st.sampled_from(bad), label="value")
        tensors[name] = flat.view(tensor.shape)
    path = folder / f"{kind}-tensors"
    write(path, tensors, header)
    problem = fault_of(FILES[kind][1], path)
    assert problem is None or is_one_line_about(path, problem)


@pytest.mark.parametrize("kind", FILES)
def test_a_header_that_is_nested_without_end_is_refused(kind: str, folder: Path) -> None:
    tensors, header = read(folder / kind)
    for depth in (65, 5000, 200_000):
        text = json.dumps(header)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"
        path = folder / f"{kind}-deep"
        write(path, tensors, text)
        assert refusal_of(kind, path).startswith(f"{path}: damaged metadata (nested")


def test_json_is_bounded() -> None:
    for text, problem in (
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": [-Infinity]}', "-Infinity is not a finite number"),
        ('{"a": 1e999}', "1e999 is not a finite number"),
        ("[" * 200_000, "nested too deep"),
        ('"' + " " * LARGEST_TEXT + '"', f"longer than {LARGEST_TEXT} characters"),
        ('{"a": ' + "9" * 5000 + "}", "integer"),
        ("{", "Expecting"),
    ):
        with pytest.raises(ValueError, match=problem):
            parse_json(text)
    assert parse_json('{"a": [1, 2.5, {"b": null}]}') == {"a": [1, 2.5, {"b": None}]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 4),
        ("height", 6),
        ("promotion_types", [5, 4, 3]),
        ("promotion_types", [5, 4, 2, 3]),
        ("promotion_types", []),
        ("clock_rule", 0),
        ("clock_rule", 37),
    ],
)
def test_a_network_is_that_of_its_rules_board(field: str, value: Any, folder: Path) -> None:
    """Tensors of the shapes that the header says, so that nothing else is wrong."""
    _, header = read(folder / "network")
    header["network"][field] = value
    network = PolicyValueNet(NetworkConfig.from_dict(header["network"]))
    path = folder / "network-board"
    write(path, dict(network.state_dict()), header)
    said = tuple(value) if isinstance(value, list) else value
    problem = f"{path}: {field} = {said!r}, gardner has "
    assert refusal_of("network", path).startswith(problem)
    with pytest.raises(CheckpointError, match=f"{field} = "):
        read_description(path)


def test_a_network_names_the_rules_that_it_brings(folder: Path) -> None:
    tensors, header = read(folder / "network")
    header["network"]["variant"] = "baby"
    write(folder / "network-name", tensors, header)
    message = refusal_of("network", folder / "network-name")
    assert message.endswith("a network for 'baby' with the rules of 'gardner'")


@pytest.mark.parametrize(
    ("kind", "table", "field"),
    [
        ("network", "network", "hidden"),
        ("network", "network", "policy_channels"),
        ("network", "network", "value_channels"),
        ("universal", "universal", "hidden"),
        ("language", "language", "hidden"),
        ("language", "language", "context"),
    ],
)
def test_a_size_is_compared_with_a_tensor_before_memory_is_asked_for(
    kind: str, table: str, field: str, folder: Path
) -> None:
    tensors, header = read(folder / kind)
    header[table][field] = 1 << 14
    write(folder / "huge", tensors, header)
    assert "16384" in refusal_of(kind, folder / "huge")


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("positions", 0, 31),
        ("positions", 25, 2),
        ("positions", 26, 16),
        ("positions", 27, 25),
        ("endings", 3, 7),
        ("offsets", 0, 1),
        ("offsets", -1, 1 << 40),
        ("moves", 0, 0),
        ("replies", 0, 0xFFFF),
        ("policy", 0, -1.0),
        ("proven", 0, 7),
        ("outcomes", 0, -128),
        ("games", 0, 1 << 20),
        ("surprise", 0, -1.0),
    ],
)
def test_rows_that_cannot_be_are_refused_by_the_array(
    name: str, place: int, value: float, folder: Path
) -> None:
    tensors, header = read(folder / "games")
    array = tensors[name].numpy().reshape(-1)
    array[place] = value
    write(folder / "rows", tensors, header)
    assert f"the array '{name}'" in refusal_of("games", folder / "rows")


@given(data=st.data())
def test_a_changed_gpt2_configuration_is_taken_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "gpt2"
    if not path.exists():
        save_gpt2(lively_model(), path)
        (path / "kept.json").write_bytes((path / "config.json").read_bytes())
    values = json.loads((path / "kept.json").read_text())
    name = data.draw(st.sampled_from(sorted(values)), label="where")
    values[name] = data.draw(st.sampled_from(WRONG), label="what")
    (path / "config.json").write_text(json.dumps(values))
    problem = fault_of(use_gpt2, path)
    assert problem is None or isinstance(problem, CheckpointError)
    assert problem is None or is_one_line_about(path, problem)

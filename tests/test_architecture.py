"""The rules of the code base: who imports whom, who prints, and what no file may name."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "search", "training", "scripts", "pawnscope", "tests")
ARROWS = {
    "engine/system": ("engine.system",),
    "engine/rules": ("engine.system", "engine.rules"),
    "engine/network": ("engine.system", "engine.rules", "engine.settings", "engine.network"),
    "engine/network/inference": (
        "backends openvino avx512 network_evaluator parity backend_evaluator evaluator export"
    ),
    "engine/probing": ("engine.system", "engine.rules", "engine.network", "engine.probing"),
    "engine/player.py": ("engine.rules",),
    "engine/settings.py": ("engine.rules.errors",),
    "engine/uci.py": ("engine.rules", "engine.player"),
    "search": ("engine.system", "engine.rules", "engine.player", "engine.settings", "search"),
    "training": ("engine", "search", "training"),
    "scripts": ("engine", "search", "training", "scripts"),
    "pawnscope": ("engine", "search", "training", "scripts", "pawnscope"),
    "tests": PACKAGES,
}
"""What of ours each place may import."""
LIBRARIES = {
    "engine/system": {"numpy"},
    "engine/rules": {"llvmlite", "numba", "numpy"},
    "search": {"numba", "numpy", "safetensors"},
}
"""What of others the places may import that must start fast and run without torch."""
ORDER = {
    "engine": "system rules player uci network probing",
    "engine/rules": (
        "errors betza compilation tables attacks outcome kernels history moves geometry notation"
        " variant_file variant position pgn perft"
    ),
    "engine/rules/pgn": "record lexer reader writer",
    "engine/network": "stored_json model finite checkpoint language inference",
    "engine/probing/analyses": (
        "positions lens attention piece_values openings play analyse sections"
    ),
    "engine/probing/concepts": "board truth positions registry facts beyond_rules",
    "engine/probing": (
        "data concepts activations probes controls analyses report surface fit_probe"
    ),
    "search": "randomness scores evaluator limits cache exact mcts minimax players",
    "pawnscope": (
        "own_packages tables threads positions games evaluations networks searches solutions runs"
        " probes probing matches"
    ),
    "training": "config data learner selfplay evaluation run studies language",
    "scripts": "terminal benchmarks plots experiments commands cli setup run test",
}
"""What stands in a folder, lowest first: imports between these lead to the left."""
MOST_MODULES = 13
"""In one folder, `__init__.py` apart."""

Graph = dict[str, set[str]]
"""A module, `/` between its parts, and those of ours that it imports."""


def sources(*packages: str) -> list[Path]:
    """Python files of the packages, relative to the root."""
    return sorted(
        path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py")
    )


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that a source imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                # `from engine import rules` names a module, too.
                yield f"{node.module}.{alias.name}"


def wrong_imports(place: str, tree: ast.AST) -> list[str]:
    """What `place` imports and may not."""
    wrong = []
    for name in imports(tree):
        top = name.split(".")[0]
        if top in PACKAGES:
            allowed = any(f"{name}.".startswith(f"{package}.") for package in ARROWS[place])
        else:
            allowed = (
                place not in LIBRARIES or top in LIBRARIES[place] or top in sys.stdlib_module_names
            )
        if not allowed:
            wrong.append(name)
    return wrong


def import_graph(texts: dict[str, str]) -> Graph:
    """The imports among modules of these names and sources, those inside functions included."""
    graph: Graph = {}
    for module, text in texts.items():
        names = (name.replace(".", "/") for name in imports(ast.parse(text)))
        found = {name if name in texts else name.rpartition("/")[0] for name in names}
        graph[module] = found & texts.keys() - {module}
    return graph


def inside(graph: Graph, folder: str) -> Graph:
    """The imports among the modules and folders that stand in a folder."""
    children: Graph = {}

    def child(module: str) -> str:
        return module.removeprefix(f"{folder}/").split("/")[0]

    for module in graph:
        if module.startswith(f"{folder}/"):
            used = {child(name) for name in graph[module] if name.startswith(f"{folder}/")}
            children.setdefault(child(module), set()).update(used - {child(module)})
    return children


def circle(graph: Graph) -> list[str]:
    """A circle of imports, empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def against(order: list[str], graph: Graph) -> list[str]:
    """Imports that lead to the right in an order; what it does not name is free."""
    return [
        f"{upper} <- {lower}"
        for place, lower in enumerate(order)
        for upper in order[place + 1 :]
        if upper in graph.get(lower, ())
    ]


def crowded(paths: list[Path]) -> list[str]:
    """Folders that hold more than `MOST_MODULES` of these modules."""
    counts = Counter(path.parent.as_posix() for path in paths if path.name != "__init__.py")
    return [folder for folder, count in counts.items() if count > MOST_MODULES]


def place_of(path: Path) -> str | None:
    """The entry of ARROWS that governs a source; None for an `__init__.py` above all of them."""
    return next((place for place in ARROWS if path.as_posix().startswith(place)), None)


def printed_json(tree: ast.AST) -> list[str]:
    """Where a source prints JSON by itself, which may then hold NaN."""
    return [
        f"line {node.lineno}: print(json.dumps(...))"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if "json.dumps(" in ast.unparse(node) and "allow_nan=False" not in ast.unparse(node)
    ]


def in_the_locale(tree: ast.AST) -> list[str]:
    """Where a source reads or writes text in the encoding of whoever runs it."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func).split(".")
        named = {str(keyword.arg): ast.unparse(keyword.value) for keyword in node.keywords}
        # The built-in function takes a path first, a path's method does not.
        place = node.args[len(function) == 1 :]
        mode = named.get("mode") or (ast.unparse(place[0]) if place else "'r'")
        opens = function[-1] == "open" and function[0] != "os" and re.fullmatch(r"'[^b]*'", mode)
        whole = function[-1] in ("read_text", "write_text")
        if (opens or whole or named.get("text") == "True") and "encoding" not in named:
            found.append(f"line {node.lineno}: {function[-1]}")
    return found


def printing(tree: ast.AST) -> list[str]:
    """What in a source writes to the person's terminal by itself."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                found.append(f"line {node.lineno}: print")
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
                found.append(f"line {node.lineno}: sys.{node.attr}")
    return found + ["tqdm" for name in imports(tree) if name.split(".")[0] == "tqdm"]


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=str)
def test_imports_follow_the_arrows(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text())
    place = place_of(path)
    if place is None:
        assert path.name == "__init__.py", f"{path} is in no package"
        assert not list(imports(tree))
    else:
        assert not wrong_imports(place, tree)


@pytest.mark.parametrize(
    ("place", "source", "wrong"),
    [
        ("search", "import torch", ["torch"]),
        ("search", "def f():\n    from torch import nn", ["torch.nn"]),
        ("search", "from engine import network", ["engine.network"]),
        ("search", "import engine.rules.position, math", []),
        ("engine/rules", "from search.tree import Tree", ["search.tree.Tree"]),
        ("engine/network", "import torch, engine.rules", []),
        ("engine/network", "import engine.probing.probes.design", ["engine.probing.probes.design"]),
        ("training", "import scripts.cli", ["scripts.cli"]),
    ],
)
def test_a_planted_import_is_judged(place: str, source: str, wrong: list[str]) -> None:
    assert wrong_imports(place, ast.parse(source)) == wrong


GRAPH = import_graph(
    {
        path.with_suffix("").as_posix().removesuffix("/__init__"): (ROOT / path).read_text()
        for path in sources(*PACKAGES)
    }
)
FOLDERS = sorted({path.parent.as_posix() for path in sources(*PACKAGES)} | {"engine"})


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circle(GRAPH)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_one_way(folder: str) -> None:
    graph = inside(GRAPH, folder)
    assert not circle(graph)
    order = ORDER.get(folder, "").split()
    assert not against(order, graph)
    folders = {path.name for path in (ROOT / folder).iterdir() if (path / "__init__.py").exists()}
    assert not order or folders <= set(order), "a folder has no place in ORDER"


def test_a_folder_holds_few_modules() -> None:
    assert not crowded(sources(*PACKAGES))


def test_a_planted_folder_of_too_many_modules_is_found() -> None:
    paths = [Path(f"package/folder/m{number}.py") for number in range(MOST_MODULES)]
    assert not crowded([*paths, Path("package/folder/__init__.py"), Path("package/m.py")])
    assert crowded([*paths, Path("package/folder/one_more.py")]) == ["package/folder"]


def test_planted_circles_are_found() -> None:
    texts = {
        "package/a": "import package.low.b",
        "package/low/b": "def f():\n    from package.low import c",
        "package/low/c": "",
        "package/high/d": "from package.a import f\nfrom package.low.c import g",
    }
    straight = import_graph(texts)
    assert straight["package/low/b"] == {"package/low/c"}
    assert not circle(straight)
    assert not circle(inside(straight, "package"))
    assert not against(["low", "a", "high"], inside(straight, "package"))
    assert against(["a", "low"], inside(straight, "package")) == ["low <- a"]
    changed = import_graph(
        texts | {"package/low/c": "from package.high import e", "package/high/e": ""}
    )
    assert not circle(changed)
    assert circle(inside(changed, "package"))
    assert circle(import_graph(texts | {"package/low/c": "import package.high.d"}))


@pytest.mark.parametrize("path", sources("engine", "search", "training"), ids=str)
def test_nothing_below_scripts_prints(path: Path) -> None:
    assert not printing(ast.parse((ROOT / path).read_text()))


@pytest.mark.parametrize("source", ["print(1)", "import sys\nsys.stderr.write('')", "import tqdm"])
def test_planted_printing_is_found(source: str) -> None:
    assert printing(ast.parse(source))


@pytest.mark.parametrize("path", sources("scripts"), ids=str)
def test_commands_print_json_by_the_function_that_knows_no_nan(path: Path) -> None:
    assert not printed_json(ast.parse((ROOT / path).read_text()))


def test_planted_json_is_found() -> None:
    assert printed_json(ast.parse("import json\nprint(json.dumps({'a': 1}) if 1 else 2)"))
    assert not printed_json(ast.parse("import json\nprint(json.dumps({}, allow_nan=False))"))


def test_files_are_utf8_in_any_locale() -> None:
    for path in sources("engine", "pawnscope", "search", "training", "scripts"):
        assert not in_the_locale(ast.parse((ROOT / path).read_text())), path


@pytest.mark.parametrize(
    "source",
    [
        "open(p)",
        "open(p, 'w')",
        "p.open('a')",
        "p.read_text(errors=e)",
        "p.write_text(t)",
        "run(text=True)",
    ],
)
def test_a_planted_locale_is_found(source: str) -> None:
    assert in_the_locale(ast.parse(source))
    assert not in_the_locale(ast.parse(source.replace(")", ", encoding='utf-8')")))


def test_one_place_loads_openvino_and_makes_its_core() -> None:
    """Elsewhere its telemetry would be loaded, and a second Core breaks ^C: see that place."""
    place = "engine/network/inference/openvino/core.py"
    for path in sources(*PACKAGES):
        tree = ast.parse((ROOT / path).read_text())
        assert not any(name.split(".")[0] == "openvino" for name in imports(tree)), path
        makes = any(
            isinstance(node, ast.Attribute) and node.attr == "Core" for node in ast.walk(tree)
        )
        assert makes == (str(path) == place), path


def test_the_avx512_kernels_are_imported_through_their_backend() -> None:
    """Their README says why; their own tests and benchmark may look inside."""
    inside = "engine.network.inference.avx512."
    for path in sources(*PACKAGES):
        if "avx512" not in path.as_posix():
            for name in imports(ast.parse((ROOT / path).read_text())):
                assert not name.startswith(inside) or name.startswith(f"{inside}backend"), path


def test_rules_search_and_light_commands_load_without_torch() -> None:
    modules = ["scripts.commands.uci", "scripts.commands.perft", "scripts.commands.solve"]
    modules += [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in sources("engine/system", "engine/rules", "search")
    ]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def written_files() -> list[Path]:
    """Text files of the repository, as far as git does not ignore them; without the licence."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    paths = [Path(name) for name in listed if name != "LICENSE" and (ROOT / name).is_file()]
    return [path for path in paths if b"\0" not in (ROOT / path).read_bytes()]


MACHINE_PATH = re.compile(r"(?<![\w.~*/-])/(?:root|home|Users|work|opt|tmp|mnt)/")
REGISTRY = re.compile(
    r"--(?:extra-)?index-url|--find-links|pypi\.org/simple|download\.pytorch\.org"
)


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["path", "registry"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path}: {match[0]}"
        for path in written_files()
        if path != Path(__file__).relative_to(ROOT)
        for match in pattern.finditer((ROOT / path).read_text())
    ]
    assert not found


def test_planted_addresses_are_found() -> None:
    assert MACHINE_PATH.search('open("/home/ada/x")')
    assert not MACHINE_PATH.search("runs/home/x and https://example.org/home/")
    assert REGISTRY.search("--index-url https://example.org")


def test_the_readme_names_only_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(
        r"^(?: {4}|\$ )?(?:python3 scripts/run\.py|pawnscope) (\w+)", text, re.MULTILINE
    )
    assert named
    assert set(named) <= set(COMMANDS)

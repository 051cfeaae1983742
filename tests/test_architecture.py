"""The rules for the code: sizes, types, style, layers, imports, and access to the environment."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
FILE_LINES, FUNCTION_LINES = 300, 50
MEDIAN_FILE_LINES, MEDIAN_FUNCTION_LINES = 96, 6  # over all files, the empty __init__.py among them, and all functions
SHARED_NAMES: dict[str, str] = {}  # names of public classes and types that stand for two things -> why
UNCLEAR_WORDS = {
    "found",
    "known",
    "said",
    "aside",
    "told",
}  # in names: they do not say what a value is
UNCLEAR_NAMES = {  # allowed nevertheless -> why
    "NotFound": "HTTP's own term for status 404",
    "model_not_found": "makes the error with the code model_not_found",
}
ENVIRONMENT_PASSERS = {
    "app/launcher/launcher.py",
    "app/cli/serve.py",
    "app/worker/__main__.py",
    "app/files/preview.py",
    "app/jobs/estimates.py",
    "app/process_tuning.py",  # passes settings to OpenMP
    "app/training/run/sandbox.py",  # lets programs read the folders of LD_LIBRARY_PATH
}  # pass it to child processes
PLAIN_MODELS = ("catalog", "choices", "config", "constraints", "cost", "fields", "parameters", "weight_format")
MODELS_WITHOUT_TORCH = {f"models/{name}.py" for name in PLAIN_MODELS}
OF_MANY_ROOMS = {"contracts", "e2e", "cases", "security", "clients"}  # folders of tests that do not mirror a module
OF_THE_PROJECT = {"test_architecture", "test_compose", "test_fakes", "test_readme"}  # not about app/ or models/
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, ast.Module]:
    paths = sorted(path for room in ("app", "models") for path in (ROOT / room).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.lineno} {node.name}", node


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def modules_imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, also in functions. `from a import b` yields `a.b`, even if b is not a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_is_a_tree_to_look_at() -> None:
    assert len(sources()) > 50


def test_files_are_short() -> None:
    lines = {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in sources()}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}
    assert median(lines.values()) <= MEDIAN_FILE_LINES, "split a long file by noun"


def test_functions_are_short_and_say_what_they_return() -> None:
    lines = {where: (f.end_lineno or f.lineno) - f.lineno + 1 for where, f in functions()}
    assert {where: count for where, count in lines.items() if count > FUNCTION_LINES} == {}
    assert median(lines.values()) <= MEDIAN_FUNCTION_LINES, "split a long function"
    assert {where for where, f in functions() if f.returns is None} == set()


def test_packages_are_empty_at_the_top() -> None:
    assert [name for name in sources() if name.endswith("__init__.py") and (ROOT / name).stat().st_size] == []


def test_every_module_says_what_it_is() -> None:
    generated = "app/db/migrations/"
    silent = [n for n, t in sources().items() if t.body and not ast.get_docstring(t) and not n.startswith(generated)]
    assert silent == []


def mirrored(test: Path) -> bool:
    """Whether tests/x/test_y.py or tests/x/test_y_aspect.py has a module x/y.py."""
    room = test.parent.relative_to(ROOT / "tests")
    if room.parts[:1] and room.parts[0] in OF_MANY_ROOMS:
        return True
    if not room.parts and test.stem in OF_THE_PROJECT:
        return True
    module = test.stem.removeprefix("test_")
    folder = ROOT / room if room.parts[:1] == ("models",) else ROOT / "app" / room
    names = {path.stem.strip("_") for path in folder.glob("*.py") if path.name != "__init__.py"}
    return any(module == name or module.startswith(f"{name}_") for name in names)


def test_tests_mirror_the_tree() -> None:
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if not mirrored(path)]
    assert [path.relative_to(ROOT).as_posix() for path in tests] == []


def test_tests_of_attacks_carry_the_number_of_the_attack() -> None:
    """Every attack has a row in docs/security.md. The row lists its tests, or explains why there are none."""
    tests = [path.name for path in (ROOT / "tests" / "security").glob("test_*.py")]
    assert [name for name in tests if not re.fullmatch(r"test_sec_\d\d_\w+\.py", name)] == []
    rows = dict(re.findall(r"^\| (SEC-\d\d) \|(.*)$", (ROOT / "docs" / "security.md").read_text("utf-8"), re.MULTILINE))
    assert list(rows) == [f"SEC-{number:02}" for number in range(1, len(rows) + 1)]
    for name in tests:
        assert f"tests/security/{name}" in rows[f"SEC-{name[9:11]}"], f"docs/security.md does not name {name}"


def public_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for name, tree in sources().items():
        yield from ((name, node) for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")


def test_every_public_class_has_a_docstring() -> None:
    assert [f"{name} {node.name}" for name, node in public_classes() if not ast.get_docstring(node)] == []


def public_types() -> Iterator[tuple[str, str]]:
    """The names of the types that modules define.

    Leaves out type variables, because they are used only in signatures, and the options and arguments of commands,
    because users type their names.
    """
    local = r"TypeVar\(|Annotated\[.*typer\.(Option|Argument)\("
    for module, tree in sources().items():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                is_public = isinstance(target, ast.Name) and re.fullmatch(r"[A-Z]\w*[a-z]\w*", target.id)
                if is_public and not re.match(local, ast.unparse(node.value), re.DOTALL):
                    yield module, ast.unparse(target)


def test_no_two_public_classes_or_types_share_a_name() -> None:
    names = Counter([*(node.name for _, node in public_classes()), *(name for _, name in public_types())])
    assert {name for name, count in names.items() if count > 1} == set(SHARED_NAMES)


def defined_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a module gives to variables, arguments, attributes, functions, classes and imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield node.lineno, name


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_names_are_split_into_words() -> None:
    assert words_of("of_known_N") == {"of", "known", "n"}
    assert words_of("_NotFound") == {"not", "found"} and words_of("unknown_founder") == {"unknown", "founder"}


def test_names_say_what_a_value_is() -> None:
    """Names of tests are sentences, and may contain any word."""
    unclear = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for room in ("app", "models", "tests", "benchmarks")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, name in defined_names(ast.parse(path.read_text(encoding="utf-8")))
        if words_of(name) & UNCLEAR_WORDS and name not in UNCLEAR_NAMES and not name.startswith("test_")
    ]
    assert unclear == []


def test_paths_in_the_documents_exist() -> None:
    pages = (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "security.md")
    for page in (*pages, *(ROOT / "docs" / "decisions").glob("*.md")):
        for path in re.findall(r"`((?:app|models|tests|benchmarks)/[\w./]*)`", page.read_text(encoding="utf-8")):
            assert "/x/" in path or (ROOT / path).exists(), f"{page.name}: {path}"  # x: any package


def test_names_in_the_documents_are_in_the_files_that_they_name() -> None:
    for page in (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"):
        text = " ".join(page.read_text(encoding="utf-8").split())
        for names, path in re.findall(r"((?:`\w+`(?:,| and)? )+)(?:in|of) `([\w/]+\.py)`", text):
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (
                    f"{page.name}: {name}, {path}"
                )


def test_the_environment_is_read_in_one_place() -> None:
    readers = set()
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
                readers.add(name)
    assert readers <= {"app/settings.py"} | ENVIRONMENT_PASSERS


def test_networks_need_torch_and_the_standard_library_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"torch", "models"}
    for name, tree in sources().items():
        if name.startswith("models/"):
            assert imported(tree) <= allowed - ({"torch"} if name in MODELS_WITHOUT_TORCH else set()), name


def test_no_package_or_module_imports_in_a_circle() -> None:
    """At each level of the tree, the imports among sibling packages and modules form no cycle."""
    paths = {path.removesuffix(".py").removesuffix("/__init__"): tree for path, tree in sources().items()}
    names = {path.replace("/", "."): tree for path, tree in paths.items()}
    siblings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))  # package -> importer -> imported
    for name, tree in names.items():
        for target in modules_imported(tree):
            mine, theirs = name.split("."), (target if target in names else target.rpartition(".")[0]).split(".")
            shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(mine, theirs, strict=False))))
            if 0 < shared < min(len(mine), len(theirs)):
                siblings[".".join(mine[:shared])][mine[shared]].add(theirs[shared])
    assert len(siblings) > 20
    for package, graph in siblings.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"{package}: {' -> '.join(error.args[1])}")


def test_nothing_unpickles() -> None:
    """No module imports pickle or a similar library, or calls `torch.load`."""
    for name, tree in sources().items():
        assert not imported(tree) & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, name
        for node in ast.walk(tree):
            loads = isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name)
            assert not (loads and node.value.id == "torch"), name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "module", ["app.cli.__main__", "app.api.application", "app.worker.worker", "app.launcher.launcher"]
)
def test_the_light_programs_never_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_heavy_libraries() -> None:
    heavy = "{'torch', 'sqlalchemy', 'httpx', 'fastapi', 'numpy', 'obstore'}"
    code = f"import sys, app.cli.__main__; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "command",
    [["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"]],
    ids=lambda command: "-".join(command[:2]),
)
def test_the_tools_are_content(command: list[str]) -> None:
    program, *arguments = command
    done = subprocess.run([BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_page_is_up_to_date() -> None:
    from app.cli.local import reference

    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == reference(), (
        "docs/settings.md is out of date; run: ostinato settings --markdown > docs/settings.md"
    )

"""The house rules, read from the source text: who imports whom, who prints, what never appears.

From the text and not from sys.modules: grain itself imports jax, so what is loaded says little.
"""

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("configs", "data_pipeline", "mypt_jax", "scripts")

HALVES = ("data_pipeline", "mypt_jax")

# Packages, and modules that stand alone, from the top: each imports its own row and rows below.
ROWS = {
    "mypt_jax": (
        "cli __main__",
        "main adapt chain sweep frontier plan report merge sample generate interop stages "
        "first_light manage",
        "continuation",
        "train",
        "evaluate foretell",
        "checkpoint monitor",
        "model optim distributed storage",
        "runs schema",
        "guide exits redact console shipped",
    ),
    "data_pipeline": (
        "picture commands",
        "prepare",
        "corpus batches",
        "readers tokens",
        "similarity document hashing digests atomic arguments",
        "errors western",
    ),
}
# metrics.py shows progress; main.py and errors.py end a command with one line on stderr.
MAY_PRINT = ("mypt_jax/monitor/metrics.py", "mypt_jax/main.py", "data_pipeline/errors.py")
EXECUTES_DATA = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
# Distribution names that differ from what is imported.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "ml_collections": "ml-collections",
    "orbax": "orbax-checkpoint",
    "tensorflow_datasets": "tensorflow-datasets",
    "markdown_it": "markdown-it-py",
    "lm_eval": "lm-eval",
    "mkdocs": "mkdocs-material",  # which brings it
    "griffe": "mkdocstrings",  # too
    "pptx": "python-pptx",
    "detect_secrets": "detect-secrets",
    "stdnum": "python-stdnum",
}


@cache
def files(*tops: str) -> tuple[Path, ...]:
    return tuple(path for top in tops for path in sorted((ROOT / top).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def imports(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Dotted names of everything imported, `from a import b` as a.b."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where(path, node)}: relative import"
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def dotted(node: ast.AST) -> str:
    """a.b.c of a name or attribute; "" for what is neither."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Dotted names of everything called by name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


@cache
def modules() -> dict[str, Path]:
    """Every module of both halves by its dotted name."""
    found = {}
    for path in files(*HALVES):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def edges() -> tuple[tuple[str, str, str], ...]:
    """(module, module of the same half that it imports, where it says so)."""
    found = []
    for here, path in modules().items():
        for name, node in imports(path):
            there = name if name in modules() else name.rpartition(".")[0]
            if there in modules() and there.split(".")[0] == here.split(".")[0]:
                found.append((here, there, where(path, node)))
    return tuple(found)


def row_of(module: str) -> int:
    half, name = module.split(".")[:2]
    return next(i for i, row in enumerate(ROWS[half]) if name in row.split())


def test_every_package_has_a_row():
    for half in HALVES:
        inside = {m.split(".")[1] for m in modules() if m.startswith(f"{half}.")}
        assert inside == set(" ".join(ROWS[half]).split())


def test_imports_go_downwards():
    upwards = [e for e in edges() if row_of(e[1]) < row_of(e[0])]
    assert upwards == []


@pytest.mark.parametrize("depth", [2, None], ids=["packages", "modules"])
def test_imports_make_no_circle(depth):
    """Imports in functions and for types count: what knows each other is one thing."""
    graph: dict[str, set[str]] = {}
    for here, there, _ in edges():
        one, other = (".".join(m.split(".")[:depth]) for m in (here, there))
        if one != other:
            graph.setdefault(one, set()).add(other)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_packages_are_neither_drawers_nor_attics():
    """Three modules make a package, fewer are a file; more than sixteen are two packages."""
    counts: dict[str, int] = {}
    for path in modules().values():
        folder = str(path.parent.relative_to(ROOT))
        counts[folder] = counts.get(folder, 0) + (not path.name.startswith("__"))
    assert {folder for folder, n in counts.items() if n < 3} == set()
    assert [folder for folder, n in counts.items() if n > 16] == []


def test_packages_do_nothing_by_being_imported():
    inits = [path for path in files(*HALVES) if path.name == "__init__.py"]
    assert [str(path) for path in inits if tree(path).body] == []
    everywhere = [name for path in files(*PRODUCT, "tests") for name, _ in imports(path)]
    assert [n for n in everywhere if n.split(".")[0] in HALVES and "__main__" in n] == []


def test_tests_lie_beside_what_they_test():
    packages = {path.name for half in HALVES for path in (ROOT / half).iterdir() if path.is_dir()}
    folders = {path.parent.name for path in files("tests") if path.name.startswith("test_")}
    assert folders - packages <= {"tests", "scripts", "docs", "faults"}


@pytest.mark.parametrize(
    ("top", "forbidden"),
    [
        ("configs", ("jax", "flax", "optax", "orbax", "numpy", "mypt_jax", "data_pipeline")),
        ("data_pipeline", ("jax", "jaxlib", "flax", "optax", "orbax", "mypt_jax", "configs")),
        ("mypt_jax", ("configs",)),
    ],
)
def test_halves_do_not_know_each_other(top, forbidden):
    forbidden = (*forbidden, "scripts", "tests")
    wrong = [
        where(path, node)
        for path in files(top)
        for name, node in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_configs_import_ml_collections_only():
    allowed = {"ml_collections", "configs", *sys.stdlib_module_names}
    assert {name.split(".")[0] for path in files("configs") for name, _ in imports(path)} <= allowed


def test_nothing_imports_scripts():
    everywhere = files(*PRODUCT, "tests")
    wrong = [p for p in everywhere for name, _ in imports(p) if name.split(".")[0] == "scripts"]
    assert wrong == []


def test_every_import_is_in_a_requirements_file():
    text = "\n".join(path.read_text() for path in ROOT.glob("requirements*.txt"))
    named = {re.sub(r"[-_.]+", "-", n).lower() for n in re.findall(r"^[A-Za-z0-9_.-]+", text, re.M)}
    own = {path.stem for top in ("tests", "scripts") for path in (ROOT / top).rglob("*")}
    known = {*sys.stdlib_module_names, *PRODUCT, "tests", *own}
    for path in files(*PRODUCT, "tests"):
        for name, node in imports(path):
            top = name.split(".")[0]
            distribution = DISTRIBUTIONS.get(top, top).replace("_", "-").lower()
            assert top in known or distribution in named, f"{where(path, node)}: {top}"


def test_print_only_where_it_belongs():
    wrong = []
    for path in files("configs", "data_pipeline", "mypt_jax"):
        if str(path.relative_to(ROOT)) in MAY_PRINT:
            continue
        mains = [n for n in tree(path).body if isinstance(n, ast.FunctionDef) and n.name == "main"]
        allowed = {id(node) for main in mains for node in ast.walk(main)}
        for name, node in calls(path):
            if name in ("print", "sys.stdout.write") and id(node) not in allowed:
                wrong.append(where(path, node))
    assert wrong == []


def test_flags_are_main_s_and_parsers_stand_in_functions():
    wrong, readers = [], ("mypt_jax/main.py", "mypt_jax/schema/overrides.py")
    for path in files("mypt_jax", "data_pipeline"):
        if str(path.relative_to(ROOT)) not in readers:
            wrong += [where(path, n) for name, n in imports(path) if name.startswith("absl.flags")]
    for path in files(*PRODUCT):
        functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        wrong += [
            where(path, node)
            for name, node in calls(path)
            if name.endswith("ArgumentParser") and id(node) not in inside
        ]
    assert wrong == []


def _true(node: ast.Call, keyword: str) -> bool:
    values = [k.value for k in node.keywords if k.arg == keyword]
    return any(not (isinstance(v, ast.Constant) and v.value is False) for v in values)


def test_nothing_executes_data():
    wrong = []
    for path in files(*PRODUCT):
        for name, node in imports(path):
            # torch.load(weights_only=True) refuses a payload with this exception.
            if name.split(".")[0] in EXECUTES_DATA and name != "pickle.UnpicklingError":
                wrong.append(f"{where(path, node)}: {name}")
        for name, node in calls(path):
            forbidden = name in ("eval", "exec", "input", "os.system", "os.popen")
            forbidden |= name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
            forbidden |= _true(node, "shell") or _true(node, "allow_pickle")
            forbidden |= name == "torch.load" and not _true(node, "weights_only")
            if forbidden:
                wrong.append(f"{where(path, node)}: {name}")
    assert wrong == []


def _calls_outside(names: set[str], guards: tuple[str, ...]) -> list[str]:
    """Calls of these methods or functions, by their last two names, outside of the guards."""
    return [
        f"{where(path, node)}: {name}"
        for path in files(*PRODUCT)
        if str(path.relative_to(ROOT)) not in guards
        for name, node in calls(path)
        if {name.rpartition(".")[2], ".".join(name.split(".")[-2:])} & names
    ]


def test_archives_and_xml_go_through_their_guards():
    """No archive unpacks itself, and no XML is parsed without the limits of xmlsafe."""
    archives = {"extractall", "unpack_archive", "tarfile.extract", "zipfile.extract"}
    assert _calls_outside(archives, ()) == []
    xml = {"ElementTree.parse", "ElementTree.fromstring", "ElementTree.iterparse"}
    xml |= {"ElementTree.XML", "XMLParser", "minidom.parse", "sax.parse"}
    assert _calls_outside(xml, ("data_pipeline/readers/xmlsafe.py",)) == []


def test_files_of_arrays_say_that_they_hold_no_objects():
    wrong = [
        where(path, node)
        for path in files(*PRODUCT)
        for name, node in calls(path)
        if name in ("np.load", "numpy.load")
        and not any(k.arg == "allow_pickle" for k in node.keywords)
    ]
    assert wrong == []


def test_no_connection_goes_unverified():
    assert _calls_outside({"_create_unverified_context", "tempfile.mktemp"}, ()) == []
    text = "".join(path.read_text() for path in files(*PRODUCT))
    assert "CERT_NONE" not in text and "verify=False" not in text


def test_no_broad_except_that_swallows():
    wrong = []
    for path in files(*PRODUCT):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else ""
            broad = not caught or re.search(r"\b(Base)?Exception\b", caught)
            # A handler that hands the exception on, by raise or to the thread that waits for it,
            # hides nothing.
            passes_on = any(isinstance(n, ast.Raise) for n in ast.walk(node)) or (
                node.name
                and any(isinstance(n, ast.Name) and n.id == node.name for n in ast.walk(node))
            )
            if broad and not passes_on:
                wrong.append(where(path, node))
    assert wrong == []


def test_modules_say_what_they_are_for():
    product = [path for path in files(*PRODUCT) if path.name != "__init__.py"]
    assert [str(p) for p in product if not ast.get_docstring(tree(p))] == []

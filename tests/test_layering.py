"""The house rules, read from the source text: who imports whom, who prints, what never appears.

From the text and not from sys.modules: grain itself imports jax, so what is loaded says little.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("configs", "data_pipeline", "mypt_jax", "scripts")

# Rows of mypt_jax from the top; a row imports rows below it. Within a row: only as in WITHIN.
# A new module gets its place here.
ROWS = tuple(
    tuple(row.split())
    for row in (
        "main plan generate report interop",
        "train opening result inheritance forgetting session record memory step",
        "sampling evaluate scorer checkpoint retention config guard optim metrics"
        " interrupt watchdog lease goodput storage mirror checkpointer pulse",
        "model layers attention loss sharding run lineage stage_file trackers flops hosts agreement"
        " profiler length drawn self_test cluster",
        "integrity exits redact bucket processor",
    )
)
WITHIN = {
    "interop": ("generate",),
    "train": ("opening", "result", "inheritance", "forgetting", "session", "step"),
    "opening": ("session", "record", "memory", "step"),
    "result": ("session", "record"),
    "inheritance": ("session",),
    "forgetting": ("session",),
    "record": ("step",),
    "memory": ("step",),
    "session": ("step",),
    "evaluate": ("checkpoint", "scorer"),  # the command scores a run; inside main()
    "checkpoint": ("storage",),
    "checkpointer": ("checkpoint", "retention"),
    "scorer": ("checkpoint", "evaluate"),
    "config": ("optim", "guard"),
    "metrics": ("goodput",),
    "model": ("layers", "attention", "loss"),
    "layers": ("attention", "flops"),
    "attention": ("sharding",),
    "self_test": ("attention", "layers"),
    "run": ("lineage",),
    "bucket": ("exits",),
    "sharding": ("flops",),  # the width of an MLP
    "stage_file": ("lineage",),
    "length": ("drawn",),
    "drawn": (),
    "hosts": ("agreement", "cluster", "lineage"),
    "storage": ("mirror",),
    "mirror": ("lease",),  # which files are the lease and not the run
    "profiler": ("run",),
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


def module_of(path: Path) -> str:
    """The name that ROWS uses: tables.py and interop/mypt.py count as report and interop."""
    first = path.relative_to(ROOT / "mypt_jax").parts[0].removesuffix(".py")
    return placed(first)


def placed(name: str) -> str:
    known = [module for row in ROWS for module in row]
    return next((m for m in known if name == m or name.startswith(f"{m}_")), name)


def row_of(module: str) -> int:
    return next(i for i, row in enumerate(ROWS) if module in row)


def test_every_module_has_a_row():
    modules = {module_of(path) for path in files("mypt_jax")} - {"__init__"}
    assert modules - {module for row in ROWS for module in row} == set()


def test_mypt_jax_imports_downwards():
    wrong = []
    for path in files("mypt_jax"):
        here = module_of(path)
        for name, node in imports(path):
            if not name.startswith("mypt_jax.") or here == "__init__":
                continue
            there = placed(name.split(".")[1])
            lower = row_of(there) > row_of(here)
            if there != here and not lower and there not in WITHIN.get(here, ()):
                wrong.append(f"{where(path, node)}: {here} imports {there}")
    assert wrong == []


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
    own = {path.stem for path in (ROOT / "tests").iterdir()}
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
    wrong = []
    for path in files("mypt_jax", "data_pipeline"):
        if path != ROOT / "mypt_jax" / "main.py":
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

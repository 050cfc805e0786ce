"""Python's own documentation: pydoc's topics and the docstrings of the standard library.

Both are read from source text with ast: nothing is imported, so the result depends on the files
of the installation only, not on what happens to be loaded.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import document

# Not documentation of an interface: tests, vendored wheels, generated build settings.
_SKIPPED_DIRS = frozenset(
    "test tests idle_test site-packages dist-packages __pycache__ lib-dynload ensurepip".split()
)
_SKIPPED_FILES = ("_sysconfigdata", "__phello__", "antigravity", "this.py")
_TOPICS = "pydoc_data/topics.py"


def topics(stdlib: Path) -> Iterator[document.Document]:
    """Yields one document per topic of pydoc's help(), in alphabetical order."""
    tree = _parse(stdlib / _TOPICS, _TOPICS)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            found = ast.literal_eval(node.value)
            for name in sorted(found):
                text = found[name].strip("\n")
                yield document.Document(id=f"topic/{name}", text=text, path=_TOPICS)


def docstrings(stdlib: Path) -> Iterator[document.Document]:
    """Yields one document per module that has docstrings, in path order."""
    for path in sorted(_modules(stdlib)):
        name = path.relative_to(stdlib).as_posix()
        try:
            tree = _parse(path, name)
        except document.ReadError:
            continue  # lib2to3 and idlelib ship sample files that are not valid Python
        text = _module_text(tree)
        if text:
            module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            yield document.Document(id=f"module/{module}", text=f"{module}\n\n{text}", path=name)


def _modules(stdlib: Path) -> Iterator[Path]:
    for path in stdlib.rglob("*.py"):
        parts = path.relative_to(stdlib).parts
        if _SKIPPED_DIRS.intersection(parts) or parts[-1].startswith(_SKIPPED_FILES):
            continue
        # Directories such as config-3.11-x86_64-linux-gnu hold the build's settings.
        if all(part.removesuffix(".py").isidentifier() for part in parts):
            yield path


def _parse(path: Path, name: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in someone else's source
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise document.ReadError("unparsable", f"{name}: {error}") from error


def _module_text(tree: ast.Module) -> str:
    blocks = []
    head = ast.get_docstring(tree)
    if head:
        blocks.append(head)
    for node in tree.body:
        blocks += _described(node, indent=0)
    return "\n\n".join(blocks)


def _described(node: ast.stmt, *, indent: int) -> list[str]:
    """Signature and docstring of a function or class, its members below it, indented."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    text = ast.get_docstring(node)
    members = []
    if isinstance(node, ast.ClassDef):
        for member in node.body:
            members += _described(member, indent=indent + 1)
    if not text and not members:
        return []
    pad = "    " * indent
    lines = [pad + _signature(node)]
    for line in (text or "").splitlines():
        lines.append(f"{pad}    {line}" if line.strip() else "")
    return ["\n".join(lines).rstrip(), *members]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{word} {node.name}({ast.unparse(node.args)})"

"""Measures the house: sizes, comments, docstrings, types and imports of a tree, as a table's row.

python scripts/measure_house.py
python scripts/measure_house.py --root=../other --tops=src
"""

import argparse
import ast
import graphlib
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOPS = ["configs", "data_pipeline", "mypt_jax", "scripts"]
TRAINING = ("mypt_jax/train", "mypt_jax/monitor", "mypt_jax/main.py")
Function = ast.FunctionDef | ast.AsyncFunctionDef
HEADER = (
    "files/lines", "files > 300", "fn p95", "fn > 60", "comments/100", "public docstrings",
    "typed returns", "broad except", "fan-out max", "circles", "depth", "fullest folder",
)  # fmt: skip


def comments(text: str) -> int:
    """Comments that say something to a reader, and not to a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT]
    return sum(not one.startswith(("noqa", "fmt:", "type:", "!")) for one in said)


def logic(text: str, tree: ast.Module) -> int:
    """Lines with code: neither blank nor a comment nor part of a docstring."""
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*skip, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    return bool({"Exception", "BaseException"} & set(caught.strip("()").split(", ")))


def imported(tree: ast.Module, modules: set[str]) -> set[str]:
    """Modules of the tree that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names & modules


def circles(graph: dict[str, set[str]]) -> int:
    """How many imports have to go until none leads in a circle; removes them."""
    count = 0
    while True:
        try:
            graphlib.TopologicalSorter(graph).prepare()
            return count
        except graphlib.CycleError as error:
            after, before = error.args[1][:2]
            graph[before].discard(after)
            count += 1


def depth(graph: dict[str, set[str]]) -> int:
    """Modules in the longest chain of imports."""
    deep: dict[str, int] = {}
    for module in graphlib.TopologicalSorter(graph).static_order():
        deep[module] = 1 + max((deep[one] for one in graph[module]), default=0)
    return max(deep.values())


def measure(root: Path, tops: list[str]) -> list[str]:
    """The cells of the table's row, in the order of HEADER."""
    paths = [path for top in tops for path in sorted((root / top).rglob("*.py"))]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items() if text.strip()}
    lines = {path: texts[path].count("\n") for path in trees}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, Function)]
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for node in functions)
    said = [bool(ast.get_docstring(one)) for one in functions if not one.name.startswith("_")]
    typed = [node.returns is not None for node in functions]
    code = sum(logic(texts[path], tree) for path, tree in trees.items())
    noted = sum(comments(texts[path]) for path in trees)
    broad = sum(is_broad(node) for node in nodes if isinstance(node, ast.ExceptHandler))
    names = {".".join(path.relative_to(root).with_suffix("").parts): path for path in trees}
    graph = {name: imported(trees[path], set(names)) - {name} for name, path in names.items()}
    folders = [path.parent for path in trees if not path.name.startswith("__")]
    fan_out = max(map(len, graph.values()))
    return [
        f"{len(trees)}/{sum(lines.values()) / 1000:.1f}k",
        f"{sum(n > 300 for n in lines.values()) / len(lines):.1%}",
        str(lengths[int(0.95 * len(lengths))]),
        f"{sum(n > 60 for n in lengths) / len(lengths):.1%}",
        f"{100 * noted / code:.1f}",
        f"{sum(said) / len(said):.0%}",
        f"{sum(typed) / len(typed):.0%}",
        str(broad),
        str(fan_out),
        str(circles(graph)),
        str(depth(graph)),
        str(max(map(folders.count, folders))),
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--tops", nargs="+", default=TOPS)
    args = parser.parse_args(argv)
    for cells in (HEADER, ["---"] * len(HEADER), measure(args.root, args.tops)):
        print(f"| {' | '.join(cells)} |")
    found = [args.root / place for place in TRAINING]
    paths = [path for one in found for path in ([one] if one.is_file() else one.rglob("*.py"))]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    print(f"training path ({', '.join(TRAINING)}): ", end="")
    print(f"{sum(logic(text, ast.parse(text)) for text in texts):,} lines of logic")


if __name__ == "__main__":
    main()

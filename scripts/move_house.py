"""Moves modules into packages by the table beside this file, and rewrites whatever names them.

    python scripts/move_house.py              moves, rewrites, formats; commits nothing
    python scripts/move_house.py --check      only says which modules have no place in the table

It may run again on any tree: what has moved already is left alone, so that a branch that was begun
before the move can follow it. Rewritten are imports in all their forms, the names that they bind
(where a new name would shadow another the old one stays, by `as`), dotted names and paths in
strings, comments, documentation, scripts and settings, and the depth of `__file__`. What no rule
can find stands in the table under "text".
"""

import argparse
import ast
import collections
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
MOVE: dict[str, str] = TABLE["move"]
OWN = ("scripts/move_house.py", "scripts/move_house.json")
LATE = "# noqa: E402"
PROSE = (".md", ".sh", ".txt", ".toml", ".ipynb", ".html", ".js", ".css")


def dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


MODULES = {dotted(old): dotted(new) for old, new in MOVE.items() if old.endswith(".py")}
LOCAL = {dotted(path): name for path, name in TABLE["local"].items()}
PACKAGES = {dotted(path) for path in TABLE["packages"]}


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


def tracked() -> list[str]:
    """Paths that git knows or would add."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted({path for path in listed if path and (ROOT / path).is_file()} - set(OWN))


def without_place(paths: list[str]) -> list[str]:
    """Modules in the two flat folders, and tests of them, that the table does not name."""
    wrong = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        stays = TABLE["flat"].get(folder, "").split()
        if folder in TABLE["flat"] and name.endswith(".py") and name != "__init__.py":
            if path not in MOVE and name.removesuffix(".py") not in stays:
                wrong.append(path)
    return wrong


# --- What a name in a file means -------------------------------------------------------------


class Scope:
    """One module, class, function or comprehension, with the names that it binds."""

    def __init__(self, parent: "Scope | None", is_class: bool = False):
        self.parent, self.is_class = parent, is_class
        self.bound: set[str] = set()

    def lookup(self, name: str) -> "Scope | None":
        """The scope that binds `name` as seen from here; None for a built-in."""
        scope, inside = self, True
        while scope is not None:
            if name in scope.bound and (inside or not scope.is_class):
                return scope
            scope, inside = scope.parent, False
        return None


class Names(ast.NodeVisitor):
    """Every name that is used or bound in a file, each with its scope."""

    def __init__(self, tree: ast.Module):
        self.module = self.scope = Scope(None)
        self.uses: list[tuple[ast.Name, Scope]] = []
        self.quoted: dict[int, ast.JoinedStr] = {}  # id of a name -> the f-string that it is in
        self._quote: ast.JoinedStr | None = None
        self.imports: list[tuple[ast.Import | ast.ImportFrom, Scope]] = []
        self.idents: set[str] = set()  # all but what imports bind
        self.visit(tree)

    def bind(self, name: str) -> None:
        self.scope.bound.add(name)
        self.idents.add(name)

    def within(self, nodes, is_class: bool = False, names=()) -> None:
        self.scope = Scope(self.scope, is_class)
        for name in names:
            self.bind(name)
        for node in nodes:
            self.visit(node)
        self.scope = self.scope.parent

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.append((node, self.scope))
        self.idents.add(node.id)
        if self._quote:
            self.quoted[id(node)] = self._quote
        if not isinstance(node.ctx, ast.Load):
            self.scope.bound.add(node.id)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value or not self.scope.is_class:
            self.generic_visit(node)
        else:  # a field without a value is no name: `step: step.Program` means the module
            self.visit(node.annotation)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        outermost, self._quote = self._quote, self._quote or node
        self.generic_visit(node)
        self._quote = outermost

    def visit_function(self, node) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a]
        outside = [*arguments.defaults, *(d for d in arguments.kw_defaults if d)]
        outside += [a.annotation for a in every if a.annotation]
        if isinstance(node, ast.Lambda):
            body = [node.body]
        else:
            self.bind(node.name)
            outside += [*node.decorator_list, *([node.returns] if node.returns else [])]
            body = node.body
        for part in outside:
            self.visit(part)
        self.within(body, names=[a.arg for a in every])

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bind(node.name)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self.within(node.body, is_class=True)

    def visit_generators(self, node) -> None:
        self.visit(node.generators[0].iter)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for number, generator in enumerate(node.generators):
            parts += [generator.target, *generator.ifs, *([generator.iter] if number else [])]
        self.within(parts)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_generators

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def visit_import(self, node) -> None:
        self.imports.append((node, self.scope))
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.scope.bound.add(name)

    visit_Import = visit_ImportFrom = visit_import


def bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


# --- Python ------------------------------------------------------------------------------------


class Edits:
    """Replacements in a text by (line, byte column), applied from the end."""

    def __init__(self, text: str):
        self.data = text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.edits: dict[tuple[int, int], bytes] = {}

    def at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def add(self, start: int, end: int, text: str) -> None:
        self.edits[start, end] = text.encode()

    def apply(self) -> str:
        data = self.data
        for (start, end), text in sorted(self.edits.items(), reverse=True):
            data = data[:start] + text + data[end:]
        return data.decode()


def _statement(package: str, name: str, local: str) -> str:
    return f"from {package} import {name}" + (f" as {local}" if local != name else "")


def rewrite_python(path: str, text: str) -> str:
    """Imports and the names that they bind; `path` is where the file lies now."""
    tree = ast.parse(text, path)
    names = Names(tree)
    edits = Edits(text)
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }

    # Which local name each moved module gets: the same everywhere in a file.
    wanted: dict[str, set[str]] = {}  # new module: its local names so far
    kept = set()  # local names of imports that do not change
    for node, _ in names.imports:
        for alias in node.names:
            full = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else ""
            if full in MODULES and not is_new(node.module, alias.name):
                wanted.setdefault(MODULES[full], set()).add(bound_by(alias))
            else:
                kept.add(bound_by(alias))
    old_locals = {name for olds in wanted.values() for name in olds}
    others = (names.idents - old_locals) | kept  # an old local that only names the module is free
    others |= {name for name in old_locals if not only_imported(names, name)}
    chosen: dict[str, str] = {}
    for module, olds in sorted(wanted.items()):
        last = LOCAL.get(module, module.rpartition(".")[2])
        if len(olds) == 1 and last != next(iter(olds)):
            renamed = MODULES_BACK[module].rpartition(".")[2] != module.rpartition(".")[2]
            # An alias that someone chose stays where the module keeps its name.
            if not renamed and module not in LOCAL:
                last = next(iter(olds))
        if last in olds:
            pass
        elif last in others or last in chosen.values() or last in old_locals:
            last = min(olds)
        chosen[module] = last

    renames: dict[tuple[int, str], str] = {}  # (scope, old local): new local
    for node, scope in names.imports:
        if isinstance(node, ast.ImportFrom):
            lines = _from_import(node, chosen, renames, scope)
        else:
            lines = _plain_import(node)
        if lines is None:
            continue
        start, end = (
            edits.at(node.lineno, node.col_offset),
            edits.at(node.end_lineno, node.end_col_offset),
        )
        inner = [comments[n] for n in range(node.lineno, node.end_lineno + 1) if n in comments]
        indent = " " * node.col_offset
        if node.end_lineno in comments:  # the comment goes with what is replaced
            end = edits.starts[node.end_lineno] - 1
        lines[0] += "".join(f"  {comment}" for comment in inner)
        edits.add(start, end, f"\n{indent}".join(lines))

    quoted: dict[ast.JoinedStr, dict[str, str]] = collections.defaultdict(dict)
    for node, scope in names.uses:
        home = scope.lookup(node.id)
        new = renames.get((id(home), node.id))
        if new and new != node.id and id(node) in names.quoted:
            quoted[names.quoted[id(node)]][node.id] = new
        elif new and new != node.id:
            start = edits.at(node.lineno, node.col_offset)
            edits.add(start, start + len(node.id.encode()), new)
    for string, inside in quoted.items():
        _rename_in_string(edits, string, inside)
    for node in ast.walk(tree):  # a.b.c after `import a.b`
        if isinstance(node, ast.Attribute) and (chain := _chain(node)) in MODULES:
            if chain.partition(".")[0] in names.module.bound:
                start = edits.at(node.lineno, node.col_offset)
                edits.add(start, edits.at(node.end_lineno, node.end_col_offset), MODULES[chain])
    if not edits.edits:
        return text
    return re.sub(rf"  {LATE}$", "", edits.apply(), flags=re.M)  # ruff says it again


MODULES_BACK = {new: old for old, new in MODULES.items()}


def is_new(package: str, name: str) -> bool:
    """Whether `from package import name` is said in the new house already."""
    return package in PACKAGES and f"{package}.{name}" in MODULES_BACK


def only_imported(names: Names, name: str) -> bool:
    """Whether nothing but imports binds `name` in this file."""
    return not any(
        node.id == name and not isinstance(node.ctx, ast.Load) for node, _ in names.uses
    ) and not any(name in scope.bound for scope in _other_scopes(names, name))


def _other_scopes(names: Names, name: str) -> Iterator[Scope]:
    importing = {id(s) for n, s in names.imports for a in n.names if bound_by(a) == name}
    seen = {id(scope): scope for _, scope in names.uses}
    for scope in seen.values():
        while scope is not None:
            if id(scope) not in importing:
                yield scope
            scope = scope.parent


def _chain(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        head = _chain(node.value)
        return f"{head}.{node.attr}" if head else ""
    return node.id if isinstance(node, ast.Name) else ""


def _from_import(node, chosen, renames, scope) -> list[str] | None:
    lines, together, stays, changed = [], {}, [], False
    module = node.module or ""
    for alias in node.names:
        full = f"{module}.{alias.name}"
        if full in MODULES and not is_new(module, alias.name):
            new = MODULES[full]
            package, _, last = new.rpartition(".")
            if chosen[new] == last:
                together.setdefault(package, []).append(last)
            else:
                lines.append(_statement(package, last, chosen[new]))
            renames[id(scope), bound_by(alias)] = chosen[new]
            changed = True
        elif module in MODULES and not is_new(module, alias.name):
            lines.append(_statement(MODULES[module], alias.name, bound_by(alias)))
            changed = True
        else:
            stays.append(alias.name + (f" as {alias.asname}" if alias.asname else ""))
    if not changed:
        return None
    if stays:
        together.setdefault(module, []).extend(stays)
    return [f"from {package} import {', '.join(n)}" for package, n in together.items()] + lines


def _plain_import(node) -> list[str] | None:
    if not any(alias.name in MODULES for alias in node.names):
        return None
    return [
        "import "
        + ", ".join(
            MODULES.get(a.name, a.name) + (f" as {a.asname}" if a.asname else "")
            for a in node.names
        )
    ]


def _rename_in_string(edits: Edits, node: ast.JoinedStr, renames: dict[str, str]) -> None:
    """Before Python 3.12 the names inside an f-string have no place of their own."""
    start = edits.at(node.lineno, node.col_offset)
    end = edits.at(node.end_lineno, node.end_col_offset)
    text = edits.data[start:end].decode()
    old = re.compile(rf"(?<![\w.])({_alternatives(renames)})(?!\w)")

    def expression(match: re.Match) -> str:
        return old.sub(lambda m: renames[m[1]], match[0])

    text = re.sub(r"\{\{|(?<!\{)\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", expression, text)
    edits.add(start, end, text)


# --- Strings, comments, prose --------------------------------------------------------------------


def _alternatives(words) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


PATHS = re.compile(rf"(?<!\w)({_alternatives(MOVE)})(?![\w.]*\w)")
# The name of a command stays what it was.
_DOTTED = set(MODULES) - set(TABLE["commands"])
DOTTED = re.compile(rf"(?<![\w./])({_alternatives(_DOTTED)})(?!\w|\.py)")
FROM = re.compile(r"(?<![\w.])from ((?:data_pipeline|mypt_jax)[\w.]*) import (\w+(?:, \w+)*)")


def _file_names() -> dict[str, str]:
    """What a bare file name became, where only one module had it."""
    found: dict[str, set[str]] = {}
    for old, new in MOVE.items():
        if old.endswith(".py"):
            found.setdefault(PurePosixPath(old).name, set()).add(PurePosixPath(new).name)
    stay = {f"{name}.py" for names in TABLE["flat"].values() for name in names.split()}
    return {
        old: next(iter(news))
        for old, news in found.items()
        if len(news) == 1 and old not in news and old not in stay
    }


FILES = _file_names()
BARE = re.compile(rf"(?<![\w/.*<-])({_alternatives(FILES)})\b")


def _import_in_text(match: re.Match) -> str:
    """`from a import b, c` in a string: the local names stay, by `as`."""
    module, lines, stays = match[1], [], []
    for name in match[2].split(", "):
        full = f"{module}.{name}"
        if full in MODULES and not is_new(module, name):
            package, _, last = MODULES[full].rpartition(".")
            lines.append(_statement(package, last, name))
        elif module in MODULES and not is_new(module, name):
            lines.append(_statement(MODULES[module], name, name))
        else:
            stays.append(name)
    if stays:
        lines.insert(0, f"from {module} import {', '.join(stays)}")
    before = match.string[: match.start()].rpartition("\n")[2]
    if before.strip(' "'):
        return "; ".join(lines)  # inside a line
    # A line of its own; with a quote before it, a line of a notebook.
    return (('\\n",\n' if '"' in before else "\n") + before).join(lines)


def rewrite_text(text: str) -> str:
    text = PATHS.sub(lambda m: MOVE[m[1]], text)
    text = DOTTED.sub(_dotted_in_text, text)
    text = FROM.sub(_import_in_text, text)
    return BARE.sub(lambda m: FILES[m[1]], text)


def _dotted_in_text(match: re.Match) -> str:
    """A name that is a package today means the old module only where an attribute follows."""
    name = match[1]
    after = re.match(r"(?:\.| import )(\w+)", match.string[match.end() :])
    if name in PACKAGES and (not after or is_new(name, after[1])):
        return name
    return MODULES[name]


def rewrite_strings(text: str) -> str:
    """Strings and comments of a Python file."""
    edits = Edits(text)
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            new = rewrite_text(token.string)
            if new != token.string:
                (line, column), (end_line, end_column) = token.start, token.end
                start = edits.at(line, len(lines[line - 1][:column].encode()))
                end = edits.at(end_line, len(lines[end_line - 1][:end_column].encode()))
                edits.add(start, end, new)
    return edits.apply()


def rewrite_depth(text: str, deeper: int) -> str:
    """`__file__` in a file that now lies `deeper` folders further down."""
    head = r"Path\(__file__\)\.resolve\(\)"
    text = re.sub(rf"({head})\.parent\.parent\b(?!\.parent)", r"\1.parents[1]", text)
    return re.sub(rf"({head}\.parents)\[(\d+)\]", lambda m: f"{m[1]}[{int(m[2]) + deeper}]", text)


def remove_main(text: str) -> str:
    return re.sub(r'\n+if __name__ == "__main__":\n.*\Z', "\n", text, flags=re.S)


MAIN = '''"""python -m {package}"""

import sys

from data_pipeline import errors
from {package} import {module}

sys.exit(errors.run({module}.main))
'''


# --- The move ---------------------------------------------------------------------------------


def move() -> dict[str, str]:
    """Renames by the table; returns {new path: old path} of what moved now."""
    moved = {new: old for old, new in MOVE.items() if (ROOT / old).exists()}
    for new, old in moved.items():
        if (ROOT / new).exists():
            raise SystemExit(f"{old} and {new} both exist: one of them must go")
        (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / old).rename(ROOT / new)
    for package in TABLE["packages"]:
        if any((ROOT / package).glob("*.py")):
            (ROOT / package / "__init__.py").touch()
    return moved


def make_commands(moved: dict[str, str]) -> list[str]:
    """package/__main__.py for the commands that became packages."""
    made = []
    for package in TABLE["commands"]:
        module = MODULES[package]
        path = ROOT / f"{module.replace('.', '/')}.py"
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            path.write_text(remove_main(text), encoding="utf-8")
            made.append(str(path))
        main = ROOT / package.replace(".", "/") / "__main__.py"
        if not main.exists():
            text = MAIN.format(package=package, module=module.rpartition(".")[2])
            main.write_text(text, encoding="utf-8")
    return made


def rewrite(paths: list[str], moved: dict[str, str]) -> int:
    changed = 0
    for path in paths:
        file = ROOT / path
        if file.suffix != ".py" and file.suffix not in PROSE and path != ".ci/run":
            continue
        before = text = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            text = rewrite_strings(rewrite_python(path, text))
            if path in moved:
                text = rewrite_depth(text, path.count("/") - moved[path].count("/"))
        else:
            text = rewrite_text(text)
        for where, old, new in TABLE["text"]:
            if path in (where, MOVE.get(where)):
                text = text.replace(old, new)
        if text != before:
            file.write_text(text, encoding="utf-8")
            changed += 1
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only look for what has no place")
    args = parser.parse_args()
    wrong = without_place(tracked())
    for path in wrong:
        print(f"{path}: no place in {TABLE_NAME}", file=sys.stderr)
    if wrong or args.check:
        return 2 if wrong else 0
    moved = move()
    changed = rewrite(tracked(), moved)
    commands = make_commands(moved)
    ruff = [sys.executable, "-m", "ruff"]
    code = ["--exclude=*.ipynb", "."]
    if commands:  # what only the removed lines used
        subprocess.run([*ruff, "check", "-q", "--fix", "--select=F401", *commands], cwd=ROOT)
    subprocess.run([*ruff, "check", "-q", "--fix", "--select=I", *code], cwd=ROOT)
    subprocess.run([*ruff, "check", "-q", "--add-noqa", "--select=E402", *code], cwd=ROOT)
    subprocess.run([*ruff, "format", "-q", *code], cwd=ROOT)
    git("add", "-A")
    print(f"{len(moved)} files moved, {changed} rewritten")
    return 0


TABLE_NAME = OWN[1]

if __name__ == "__main__":
    sys.exit(main())

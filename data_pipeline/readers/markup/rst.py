"""reStructuredText, Sphinx's dialect included -> plain text through docutils' parser.

docutils knows no Sphinx directive or role. Here every unknown directive is parsed as a container
of its content, so that nothing below `.. function::` is lost, and every unknown role shows its
text. Files are never included and raw HTML is never read.
"""

import contextlib
import csv
import functools
import re
from collections.abc import Iterator
from typing import BinaryIO

import docutils.frontend
import docutils.parsers.rst
import docutils.statemachine
import docutils.transforms.references
import docutils.utils
from docutils import nodes
from docutils.parsers.rst import directives, roles, states

from data_pipeline import document
from data_pipeline.readers.markup import rst_text

# docutils takes quadratic time for some input: no hand-written page is longer.
MAX_CHARS = 1024 * 1024
MAX_LINE_CHARS = 100_000
MAX_INDENT = 60

# Directives without text for a reader.
_DROPPED = frozenset(
    """toctree index highlight module currentmodule py:module py:currentmodule image figure-md
    include literalinclude contents sectnum default-role default-domain title meta tabularcolumns
    raw sectionauthor codeauthor automodule autoclass autofunction kernel-doc kernel-include
    kernel-figure kernel-render audit-event-table impl-detail-table highlightlang date
    rst-class cssclass canonical-doc canonical-pypa-spec canonical-typing-spec
    target-notes header footer restructuredtext-test-directive
    miscnews graphviz digraph inheritance-diagram role""".split()
)
# Directives whose content is code or laid out by hand.
_VERBATIM = frozenset(
    """code code-block sourcecode parsed-literal doctest testcode testoutput testsetup
    productionlist math highlight-code ipython console prompt shell""".split()
)
_NOTES = {
    "note": "Note", "warning": "Warning", "caution": "Caution", "danger": "Danger", "tip": "Tip",
    "important": "Important", "attention": "Attention", "hint": "Hint", "error": "Error",
    "seealso": "See also", "impl-detail": "CPython implementation detail", "todo": "To do",
}  # fmt: skip
_VERSIONS = {
    "versionadded": "Added in version", "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version", "versionremoved": "Removed in version",
    "deprecated-removed": "Deprecated since version", "soft-deprecated": "Deprecated since version",
}  # fmt: skip
# Tables that are no drawing: rows of a nested list, or of comma-separated values.
_TABLES = frozenset(("csv-table", "list-table", "flat-table", "table"))
_CONTINUED = re.compile(r"\s*\\\n\s*")
_ROLE_TARGET = re.compile(r"\s*<[^<>]*>\s*\Z", re.DOTALL)
_NUMBERED = {
    "pep": "PEP",
    "rfc": "RFC",
    "cve": "CVE",
    "cwe": "CWE",
    "issue": "issue",
    "gh": "issue",
}
_PEP_HEADER = re.compile(r"\A(?:PEP|Title|Author|Status)\s*:.*?(?:\n[ \t]*\n|\Z)", re.DOTALL)
_PEP_FIELD = re.compile(r"^(PEP|Title):[ \t]*(.+(?:\n[ \t]+.+)*)$", re.MULTILINE)


def read(stream: BinaryIO, *, path: str) -> Iterator[document.Document]:
    """Yields the file as one document."""
    raw = document.read_text(stream, path=path, encodings=document.WESTERN, max_bytes=MAX_CHARS)
    text = convert(raw, path=path)
    if text:
        yield document.Document(id=path, text=text, path=path)


def convert(raw: str, *, path: str = "") -> str:
    """Returns the text of a reST document, blocks separated by a blank line.

    Raises ReadError for nesting or a line that no hand-written page has.
    """
    head, raw = _pep_header(raw)
    _check_depth(raw, path)
    if max(map(len, raw.split("\n"))) > MAX_LINE_CHARS:
        raise document.ReadError(
            "rest_long_line", f"{path}: a line over {MAX_LINE_CHARS} characters"
        )
    tree = docutils.utils.new_document("", _settings())
    tree.reporter.stream = None
    try:
        with _everything_known():
            docutils.parsers.rst.Parser().parse(raw, tree)
        docutils.transforms.references.Substitutions(tree).apply()
        text = rst_text.render(tree)
    except RecursionError as error:
        raise document.ReadError("rest_deep", f"{path}: nested too deeply") from error
    except (docutils.utils.SystemMessage, docutils.ApplicationError, *_PARSER_BUGS) as error:
        raise document.ReadError("rest_broken", f"{path}: {type(error).__name__}") from error
    return f"{head}\n\n{text}".strip("\n")


# What docutils itself raises on some malformed input (its open bugs), found by the fuzz test.
_PARSER_BUGS = (docutils.statemachine.StateMachineError, IndexError, AssertionError)


@functools.cache
def _settings():
    settings = docutils.frontend.get_default_settings(docutils.parsers.rst.Parser)
    settings.report_level = 5
    settings.halt_level = 6
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.smart_quotes = False
    settings.line_length_limit = MAX_LINE_CHARS
    settings.warning_stream = ""
    settings.syntax_highlight = "none"
    return settings


def _pep_header(raw: str) -> tuple[str, str]:
    """Turns the mail-like header of a PEP into its title line."""
    match = _PEP_HEADER.match(raw)
    fields = dict(_PEP_FIELD.findall(match.group())) if match else {}
    if "PEP" not in fields or "Title" not in fields:
        return "", raw
    title = " ".join(fields["Title"].split())
    return f"PEP {fields['PEP'].strip()}: {title}", raw[match.end() :]


def _check_depth(raw: str, path: str) -> None:
    """Refuses stairs of indentation: each step is a nested parser with its copy of the text."""
    steps: list[int] = []
    for line in raw.split("\n"):
        stripped = line.lstrip()
        if not stripped:
            continue
        indent = len(line) - len(stripped)
        while steps and steps[-1] >= indent:
            steps.pop()
        # "- - - x" opens a list in a list in a list without indentation.
        opened = len(stripped) - len(stripped.lstrip("-*+ ")) if stripped[1:2] == " " else 0
        steps.append(indent)
        if len(steps) + opened // 2 > MAX_INDENT:
            raise document.ReadError("rest_deep", f"{path}: more than {MAX_INDENT} indentations")


@contextlib.contextmanager
def _everything_known():
    """Lets docutils find a directive and a role under every name, for the time of one parse."""
    saved = directives.directive, roles.role, states.RSTState.nested_sm
    directives.directive = lambda name, language, document: (_directive(name), [])
    roles.role = lambda name, language, lineno, reporter: (_role, [])
    states.RSTState.nested_sm = _LazyMachine
    try:
        yield
    finally:
        directives.directive, roles.role, states.RSTState.nested_sm = saved


class _LazyMachine(states.NestedStateMachine):
    """Makes a state when it is entered: every list item else builds all fifteen anew."""

    def add_states(self, state_classes):
        self.states = _LazyStates(self, {each.__name__: each for each in state_classes})


class _LazyStates(dict):
    def __init__(self, machine, classes):
        super().__init__()
        self.machine, self.classes = machine, classes

    def __missing__(self, name):
        state = self.classes[name](self.machine, self.machine.debug)
        if hasattr(self.machine, "memo"):  # else the machine does so itself when it starts
            state.runtime_init()
        self[name] = state
        return state


def _role(name, rawtext, text, lineno, inliner, options=None, content=None):
    text = text.replace("\0", "\\") if "\0" in text else text
    base = name.lower().rpartition(":")[2]
    if base in ("cspan", "rspan"):
        return [], []  # of the kernel's tables: how many columns or rows a cell takes
    shown = _ROLE_TARGET.sub("", text).strip()
    if not shown:
        shown = text.strip("<> ")
    elif shown == text.strip():
        if base in _NUMBERED and shown.replace("-", "").isdigit():
            shown = f"{_NUMBERED[base]} {shown}"
        elif shown.startswith("~"):
            shown = shown[1:].rpartition(".")[2]
        elif base in ("doc", "any"):
            shown = shown.lstrip("/")
        shown = shown.removeprefix("!")
    if base in ("sup", "superscript"):
        shown = f"^{shown}"
    return [nodes.literal("", shown) if base in ("code", "math") else nodes.inline("", shown)], []


class _Directive(docutils.parsers.rst.Directive):
    """Takes whatever is written: arguments, options and content, checks nothing."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    class _Anything(dict):
        """Accepts every option."""

        def __getitem__(self, key):
            return directives.unchanged

        def __bool__(self):
            return True

    option_spec = _Anything()

    def run(self):
        name = self.name.lower()
        if isinstance(self.state, states.SubstitutionDef) and name in ("replace", "unicode"):
            return self._substitution(name)
        if name in _DROPPED:
            return []
        if name.rpartition(":")[2] in _VERBATIM:
            return self._verbatim(name)
        container = nodes.container()
        heading = self._heading(name)
        content = self.content
        if name == "audit-event":
            # What is written below it is Sphinx's own sentence in other words.
            heading = [] if content else [nodes.paragraph("", self._audit_event())]
        if name in _TABLES:
            heading = self._inline(" ".join(self.arguments)) if self.arguments else []
            container["rows"] = name != "table"
            if name == "csv-table":
                return [*heading, self._csv_rows()]
        container += heading
        if content:
            self.state.nested_parse(content, self.content_offset, container, match_titles=True)
        self._prefix(name, container)
        return [container]

    def _substitution(self, name) -> list[nodes.Node]:
        text = " ".join([*self.arguments, *self.content])
        if name == "replace":
            return self.state.inline_text(text, self.lineno)[0]
        try:
            codes = [directives.unicode_code(each) for each in text.split(" .. ")[0].split()]
        except ValueError as error:
            raise self.error(str(error)) from error
        return [nodes.Text("".join(codes))]

    def _csv_rows(self) -> nodes.container:
        """One list of cells per row, as in a list-table."""
        rows = nodes.container("", nodes.bullet_list(), rows=True)
        lines = (
            [self.options["header"], *self.content] if "header" in self.options else self.content
        )
        try:
            table = list(csv.reader(lines, skipinitialspace=True))
        except csv.Error:
            return nodes.container("", nodes.literal_block("", "\n".join(lines)))
        for row in table:
            cells = [nodes.list_item("", *self._inline(cell)) for cell in row]
            rows[0] += nodes.list_item("", nodes.bullet_list("", *cells))
        return rows

    def _audit_event(self) -> str:
        name, listed = (" ".join(self.arguments).split() + ["", ""])[:2]
        arguments = [each for each in listed.strip('"').split(",") if each]
        if not arguments:
            return f"Raises an auditing event {name} with no arguments."
        noun = "argument" if len(arguments) == 1 else "arguments"
        return f"Raises an auditing event {name} with {noun} {', '.join(arguments)}."

    def _verbatim(self, name):
        lines = list(self.content)
        above = " ".join(self.arguments).splitlines()
        if name in ("math", "productionlist", "console", "shell"):
            lines = above + lines
        elif above[1:]:  # code directly below the language, without a blank line
            lines = above[1:] + ([""] if lines else []) + lines
        return [nodes.literal_block("", "\n".join(lines))] if any(lines) else []

    def _heading(self, name):
        argument = " ".join(self.arguments)
        if name in _NOTES or name in _VERSIONS or name == "only" or not argument:
            return []
        if name in ("figure", "envvar-figure"):
            return []
        if name in ("rubric", "topic", "admonition", "sidebar", "describe", "replace", "unicode"):
            return self._inline(argument)
        # An object's description: its signatures, one a line, as they are written.
        lines = _CONTINUED.sub(" ", argument).replace("\\", "").split("\n")
        return [nodes.literal_block("", "\n".join(line.strip() for line in lines))]

    def _inline(self, text):
        parsed, _ = self.state.inline_text(text, self.lineno)
        return [nodes.paragraph("", "", *parsed)]

    def _prefix(self, name, container):
        if name in _NOTES:
            label = f"{_NOTES[name]}:"
            argument = " ".join(self.arguments)
        elif name in _VERSIONS:
            words = " ".join(self.arguments).split(
                maxsplit=2 if name == "deprecated-removed" else 1
            )
            version = words[0] if words else ""
            argument = words[-1] if len(words) > (2 if name == "deprecated-removed" else 1) else ""
            label = f"{_VERSIONS[name]} {version}:"
        else:
            return
        if argument:
            container.insert(0, self._inline(argument))
        first = container[0] if len(container) else None
        if isinstance(first, nodes.paragraph):
            first.insert(0, nodes.Text(f"{label} "))
        else:
            container.insert(
                0, nodes.paragraph("", label.rstrip(":") + ("." if not first else ":"))
            )


def _directive(name: str):
    return _Directive

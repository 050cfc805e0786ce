"""reStructuredText, Sphinx's dialect included -> plain text through docutils' parser.

docutils knows no Sphinx directive or role. Here every unknown directive is parsed as a container
of its content, so that nothing below `.. function::` is lost, and every unknown role shows its
text. Files are taken in by rst_include.py alone, below the source's root; raw HTML is never read.
"""

import contextlib
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
from docutils.parsers.rst import directives, roles, states, tableparser

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.includes import NOTHING, Includes
from data_pipeline.readers.markup import rst_directives, rst_include, rst_limits, rst_text

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
# What is no text in reST: whose words may be missing from it.
_MARKUP_WORDS = Markup(
    comments=r"^([ \t]*(?:[*+-][ \t]+)*)\.\.(?:[ \t]+(?![\w:.+-]+::|_|\|).*)?\n"
    r"(?:(?:[ \t]*\1[ \t]+.*)?\n)*",
    targets=r"^[ \t]*(?:[*+-][ \t]+)*\.\.[ \t]+_.*(?:\n[ \t]+\S.*)?|<[^<>`]*>`|^[ \t]*__ .*",
    directives=r"^[ \t]*(?:\.\.[ \t]+(?:\|[^|\n]*\|[ \t]*)?|[*+-][ \t]+)?[\w:.+-]+::.*$",
    options=r"^[ \t]+:[\w -]+:.*$|^:(?:orphan|tocdepth|nosearch|nocomments):.*$",
    roles=r":[A-Za-z][\w:.+-]*:(?=`)|~?[\w.]+(?=\.\w+(?:\(\))?`)",
    notes=r"\[[#*\w.-]+\]_|^[ \t]*\.\.[ \t]+\[[#*\w.-]+\]",
    pep_header=r"\A(?:[\w-]+:.*(?:\n[ \t]+.*)*\n)+",
    substitutions=r"\|[^|\n]+\|_{0,2}",
    doctest_flags=r"#[ \t]*doctest:.+$|<BLANKLINE>",
    numbers=r"^[ \t]*(?:\d{1,9}|[A-Za-z]|[ivxlc]+)[.)](?=\s)",
)


def read(
    stream: BinaryIO,
    *,
    path: str,
    includes: Includes = NOTHING,
    account: Account = NONE,
) -> Iterator[document.Document]:
    """Yields the file as one document."""
    raw = document.read_text(
        stream, path=path, encodings=document.WESTERN, max_bytes=rst_limits.MAX_CHARS
    )
    included = rst_include.Included(includes, account.left_out)
    text = convert(raw, path=path, included=included)
    account.read("\n".join([raw, *included.texts]), text, where=path, pieces=_MARKUP_WORDS)
    if text:
        yield document.Document(id=path, text=text, path=path)


def convert(raw: str, *, path: str = "", included: rst_include.Included | None = None) -> str:
    """Returns the text of a reST document, blocks separated by a blank line, code marked.

    Raises ReadError for nesting or a line that no hand-written page has.
    """
    included = included or rst_include.Included(NOTHING, document.uncounted)
    head, raw = _pep_header(raw)
    rst_limits.check(raw, path)
    tree = docutils.utils.new_document(path, _settings())
    tree.reporter.stream = None  # ty: ignore[invalid-assignment]  # it is tested before each use
    tree.included = included  # ty: ignore[missing-attribute]  # for rst_directives
    try:
        with _everything_known():
            docutils.parsers.rst.Parser().parse(raw, tree)
        docutils.transforms.references.Substitutions(tree).apply()
        text = rst_text.render(tree, included.left_out)
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
    settings.line_length_limit = rst_limits.MAX_LINE_CHARS
    settings.warning_stream = ""
    settings.syntax_highlight = "none"
    return settings


def _pep_header(raw: str) -> tuple[str, str]:
    """Turns the mail-like header of a PEP into its title line."""
    match = _PEP_HEADER.match(raw)
    fields = dict(_PEP_FIELD.findall(match.group())) if match else {}
    if match is None or "PEP" not in fields or "Title" not in fields:
        return "", raw
    title = " ".join(fields["Title"].split())
    return f"PEP {fields['PEP'].strip()}: {title}", raw[match.end() :]


@contextlib.contextmanager
def _everything_known():
    """Lets docutils find a directive and a role under every name, for the time of one parse."""
    table = tableparser.SimpleTableParser
    saved = directives.directive, roles.role, states.RSTState.nested_sm, table.setup
    # Each takes another's place, which has a type of its own.
    directives.directive = lambda *_: (rst_directives.Directive, [])  # ty: ignore[invalid-assignment]
    roles.role = lambda *_: (_role, [])  # ty: ignore[invalid-assignment]
    states.RSTState.nested_sm = _LazyMachine  # ty: ignore[invalid-assignment]
    table.setup = functools.partialmethod(_set_up_table, setup=table.setup)  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        directives.directive, roles.role, states.RSTState.nested_sm, table.setup = saved


def _set_up_table(parser, block, *, setup) -> None:
    """Keeps rows at the top of a table whose first cell is blank: docutils loses them."""
    setup(parser, block)
    start, end = parser.parse_columns(parser.block[0], 0)[0]
    is_first = True
    for number, line in enumerate(parser.block):
        if parser.span_pat.match(line):
            is_first = True
        elif is_first and line.strip():
            if not line[start:end].strip():
                parser.block[number] = f"{line[:start]}\\{line[start + 1 :]}"
            is_first = False


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
        return [nodes.superscript("", shown)], []
    return [nodes.literal("", shown) if base in ("code", "math") else nodes.inline("", shown)], []

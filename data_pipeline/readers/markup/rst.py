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
from docutils.parsers.rst import directives, roles, states

from data_pipeline import document
from data_pipeline.readers.includes import NONE, Includes
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


def read(
    stream: BinaryIO,
    *,
    path: str,
    includes: Includes = NONE,
    left_out: document.LeftOut = document.uncounted,
) -> Iterator[document.Document]:
    """Yields the file as one document."""
    raw = document.read_text(
        stream, path=path, encodings=document.WESTERN, max_bytes=rst_limits.MAX_CHARS
    )
    text = convert(raw, path=path, includes=includes, left_out=left_out)
    if text:
        yield document.Document(id=path, text=text, path=path)


def convert(
    raw: str,
    *,
    path: str = "",
    includes: Includes = NONE,
    left_out: document.LeftOut = document.uncounted,
) -> str:
    """Returns the text of a reST document, blocks separated by a blank line, code marked.

    Raises ReadError for nesting or a line that no hand-written page has.
    """
    head, raw = _pep_header(raw)
    rst_limits.check(raw, path)
    tree = docutils.utils.new_document(path, _settings())
    tree.reporter.stream = None
    tree.included = rst_include.Included(includes, left_out)
    try:
        with _everything_known():
            docutils.parsers.rst.Parser().parse(raw, tree)
        docutils.transforms.references.Substitutions(tree).apply()
        text = rst_text.render(tree, left_out)
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
    if "PEP" not in fields or "Title" not in fields:
        return "", raw
    title = " ".join(fields["Title"].split())
    return f"PEP {fields['PEP'].strip()}: {title}", raw[match.end() :]


@contextlib.contextmanager
def _everything_known():
    """Lets docutils find a directive and a role under every name, for the time of one parse."""
    saved = directives.directive, roles.role, states.RSTState.nested_sm
    directives.directive = lambda *_: (rst_directives.Directive, [])
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
        return [nodes.superscript("", shown)], []
    return [nodes.literal("", shown) if base in ("code", "math") else nodes.inline("", shown)], []

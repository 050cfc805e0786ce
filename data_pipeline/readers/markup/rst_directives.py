"""What each directive of reST and of Sphinx shows."""

import csv
import re

import docutils.parsers.rst
from docutils import nodes
from docutils.parsers.rst import directives, states

from data_pipeline.readers.markup import rst_include

# Directives without text for a reader: navigation, settings.
_SETTINGS = frozenset(
    """toctree index highlight module currentmodule py:module py:currentmodule contents sectnum
    default-role default-domain title meta tabularcolumns sectionauthor codeauthor highlightlang
    date rst-class cssclass canonical-doc canonical-pypa-spec canonical-typing-spec
    target-notes role""".split()
)
# Directives whose text is made by a program, is a drawing, of another format, or never shown.
_LEFT_OUT = {
    "raw": "raw", "header": "header", "footer": "header",
    "graphviz": "drawing", "digraph": "drawing", "inheritance-diagram": "drawing",
    "kernel-render": "drawing", "mermaid": "drawing", "uml": "drawing",
    "audit-event-table": "generated", "impl-detail-table": "generated", "miscnews": "generated",
    "kernel-abi": "generated", "kernel-feat": "generated", "kernel-include": "generated",
    "program-output": "generated", "command-output": "generated", "click": "generated",
    "argparse": "generated", "restructuredtext-test-directive": "generated",
    "testsetup": "hidden", "testcleanup": "hidden",
}  # fmt: skip
_GENERATED = re.compile(r"auto\w+|doxygen\w+")
# Directives whose content is code or laid out by hand.
_VERBATIM = frozenset(
    """code code-block sourcecode parsed-literal doctest testcode testoutput
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
_FIGURES = frozenset(("image", "figure", "kernel-image", "kernel-figure", "envvar-figure"))
# Tables that are no drawing: rows of a nested list, or of comma-separated values.
_TABLES = frozenset(("csv-table", "list-table", "flat-table", "table"))
_CONTINUED = re.compile(r"\s*\\\n\s*")


class Directive(docutils.parsers.rst.Directive):
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

    @property
    def _included(self) -> rst_include.Included:
        return self.state.document.included

    def run(self):
        name = self.name.lower()
        if isinstance(self.state, states.SubstitutionDef) and name in ("replace", "unicode"):
            return self._substitution(name)
        if isinstance(self.state, states.SubstitutionDef) and name in _FIGURES:
            return []
        if name in _SETTINGS:
            self._included.left_out("markup/navigation", self.block_text)
            return []
        is_hidden = name in _VERBATIM and "hide" in self.options
        if name in _LEFT_OUT or _GENERATED.fullmatch(name) or is_hidden:
            kind = "hidden" if is_hidden else "generated"
            self._included.left_out(_LEFT_OUT.get(name, kind), self.block_text)
            return []
        if name in rst_include.DIRECTIVES:
            return rst_include.DIRECTIVES[name](self, self._included)
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
        lines = list(self.content)
        if self.options.get("file"):
            lines += self._included.lines(self, self.options["file"]) or []
        if "header" in self.options:
            lines.insert(0, self.options["header"])
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
        block = [nodes.literal_block("", "\n".join(lines))] if any(lines) else []
        return self._caption() + block

    def _caption(self):
        return self._inline(self.options["caption"]) if self.options.get("caption") else []

    def _heading(self, name):
        argument = " ".join(self.arguments)
        if name in _NOTES or name in _VERSIONS or name == "only" or not argument:
            return []
        if name in _FIGURES:
            return self._inline(self.options.get("alt") or "")
        if name in ("rubric", "topic", "admonition", "sidebar", "describe", "replace", "unicode"):
            return self._inline(argument)
        # An object's description: its signatures, one a line, as they are written.
        lines = _CONTINUED.sub(" ", argument).replace("\\", "").split("\n")
        return [nodes.literal_block("", "\n".join(line.strip() for line in lines))]

    def _inline(self, text):
        parsed, _ = self.state.inline_text(text, self.lineno)
        return [nodes.paragraph("", "", *parsed)] if parsed else []

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

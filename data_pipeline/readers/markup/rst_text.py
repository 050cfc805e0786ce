"""docutils tree -> plain text."""

import re

from docutils import nodes

from data_pipeline import document
from data_pipeline.readers import marks, superscripts
from data_pipeline.readers.markup import blocks

_SPACES = re.compile(r"[ \t]*\n[ \t]*")
_DOCTEST_FLAGS = re.compile(r"[ \t]*#[ \t]*doctest:.+$|^[ \t]*<BLANKLINE>[ \t]*$", re.MULTILINE)
_SKIPPED = (
    nodes.comment,
    nodes.substitution_definition,
    nodes.raw,
    nodes.footnote_reference,
    nodes.problematic,
    nodes.pending,
    nodes.decoration,
    nodes.meta,
    nodes.label,
    nodes.colspec,
    nodes.transition,
)


# Fields by which a page speaks to Sphinx.
_SETTINGS = frozenset(("orphan", "tocdepth", "nosearch", "nocomments"))


def render(tree: nodes.document, left_out: document.LeftOut) -> str:
    """Returns the text of a parsed document; blocks are separated by a blank line, code marked."""
    blocks = (superscripts.shown(block, left_out) for block in _blocks(tree))
    return "\n\n".join(blocks).strip("\n")


def _blocks(node: nodes.Node) -> list[str]:
    found: list[str] = []
    for child in node.children:
        found += _block(child)
    return found


def _block(node: nodes.Node) -> list[str]:
    if isinstance(node, _SKIPPED):
        return []
    if isinstance(node, nodes.Text):
        return [_flow(node.astext())] if node.astext().strip() else []
    handler = _HANDLERS.get(type(node))
    if handler:
        return handler(node)
    if isinstance(node, nodes.TextElement):
        text = _inline(node).strip()
        return [text] if text else []
    return _blocks(node)


def _inline(node: nodes.Node) -> str:
    parts: list[str] = []
    for child in node.children:
        if isinstance(child, nodes.Text):
            parts.append(child.astext())
        elif isinstance(child, nodes.problematic):
            # Markup that does not parse is shown as it is written.
            parts.append(child.astext())
        elif isinstance(child, nodes.literal):
            parts.append(marks.code(child.astext()))
        elif isinstance(child, nodes.superscript):
            parts += [superscripts.START, _inline(child), superscripts.END]
        elif isinstance(child, nodes.image):
            parts.append(child.get("alt") or "")
        elif isinstance(child, nodes.footnote_reference):
            # It needs a blank before it, which the text goes without: note [1]_, and.
            parts = ["".join(parts).rstrip()]
        elif not isinstance(child, (nodes.system_message, *_SKIPPED)):
            parts.append(_inline(child))
    return _flow("".join(parts))


def _flow(text: str) -> str:
    return _SPACES.sub("\n", text)


def _verbatim(node) -> list[str]:
    text = node.astext().strip("\n")
    if text.startswith(">>>"):
        text = _DOCTEST_FLAGS.sub("", text)  # as Sphinx shows it
    return [marks.code(text)] if text.strip() else []


def _indented(blocks: list[str], first: str, rest: str) -> str:
    """Joins blocks, the first line after `first`, all others after `rest`."""
    lines = "\n\n".join(blocks).split("\n")
    return "\n".join(
        [first + lines[0]] + [rest + line if line.strip() else "" for line in lines[1:]]
    )


def _list(markers):
    def handler(node):
        items = []
        for number, item in enumerate(node.children):
            blocks = _blocks(item)
            if blocks:
                marker = markers(node, number)
                items.append(_indented(blocks, marker, " " * len(marker)))
        return ["\n".join(items)] if items else []

    return handler


_STYLES = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I"}


def _number(node, offset) -> str:
    style = _STYLES.get(node.get("enumtype"), "1")
    return blocks.item_marker(style, int(node.get("start", 1)) + offset)


def _definition_list(node) -> list[str]:
    found = []
    for item in node.children:
        terms = [
            _inline(child)
            for child in item.children
            if isinstance(child, nodes.term | nodes.classifier)
        ]
        body = [
            block
            for child in item.children
            if isinstance(child, nodes.definition)
            for block in _blocks(child)
        ]
        head = " : ".join(term for term in terms if term)
        found.append(head + ("\n" + _indented(body, "    ", "    ") if body else ""))
    return found


def _field_list(node) -> list[str]:
    lines = []
    for item in node.children:
        if not isinstance(item, nodes.field) or len(item.children) != 2:
            continue
        body = _blocks(item.children[1])
        name = _inline(item.children[0])
        if name in _SETTINGS:
            continue
        lines.append(_indented(body, f"{name}: ", "    ") if body else f"{name}:")
    return ["\n".join(lines)] if lines else []


def _option_list(node) -> list[str]:
    lines = []
    for item in node.children:
        if len(item.children) == 2:
            options = ", ".join(option.astext() for option in item.children[0].children)
            body = _blocks(item.children[1])
            lines.append(options + ("\n" + _indented(body, "    ", "    ") if body else ""))
    return ["\n".join(lines)] if lines else []


def _table(node) -> list[str]:
    found = [_inline(child) for child in node.children if isinstance(child, nodes.title)]
    rows = []
    for row in node.findall(nodes.row):
        cells = ["\n\n".join(_blocks(entry)) for entry in row.children]
        if any(cells):
            rows.append(marks.row(cells))
    return [*found, "\n".join(rows)] if rows else found


def _rows(node) -> list[str]:
    """A list of lists as the rows and cells of a table; anything else as it is."""
    if not isinstance(node, nodes.bullet_list):
        return _block(node)
    lines = []
    for item in node.children:
        cells = [
            "\n\n".join(_blocks(cell))
            for part in item.children
            if isinstance(part, nodes.bullet_list)
            for cell in part.children
        ]
        # An item that is no list of cells: written for another directive, or by mistake.
        lines.append(marks.row(cells or ["\n\n".join(_blocks(item))]))
    return ["\n".join(line for line in lines if line.strip(" |"))] if any(lines) else []


def _unparsed(node) -> list[str]:
    """What docutils could not parse, as it is written; a warning's text stands elsewhere too."""
    if node["level"] < 3:
        return []
    blocks = [child for child in node.children if isinstance(child, nodes.literal_block)]
    # A substitution without text (an image) shows nothing where it is defined.
    return [
        text
        for block in blocks
        for text in _verbatim(block)
        if not block.astext().lstrip().startswith(".. |")
    ]


def _line_block(node) -> list[str]:
    lines = []

    def walk(block, indent):
        for child in block.children:
            if isinstance(child, nodes.line_block):
                walk(child, indent + 1)
            else:
                lines.append("    " * indent + _inline(child))

    walk(node, 0)
    return ["\n".join(lines)]


def _quote(node) -> list[str]:
    blocks = _blocks(node)
    return [_indented(blocks, "    ", "    ")] if blocks else []


def _container(node) -> list[str]:
    """A directive: what follows the signature of a described object is indented below it."""
    if node.get("rows"):
        return [block for child in node.children for block in _rows(child)]
    if not node.children or not isinstance(node.children[0], nodes.literal_block):
        return _blocks(node)
    head = _verbatim(node.children[0])
    body = [block for child in node.children[1:] for block in _block(child)]
    return head + ([_indented(body, "    ", "    ")] if body else [])


_HANDLERS = {
    nodes.literal_block: _verbatim,
    nodes.doctest_block: _verbatim,
    nodes.math_block: _verbatim,
    nodes.bullet_list: _list(lambda node, number: "- "),
    nodes.enumerated_list: _list(_number),
    nodes.definition_list: _definition_list,
    nodes.field_list: _field_list,
    nodes.option_list: _option_list,
    nodes.table: _table,
    nodes.line_block: _line_block,
    nodes.block_quote: _quote,
    nodes.container: _container,
    nodes.system_message: _unparsed,
}

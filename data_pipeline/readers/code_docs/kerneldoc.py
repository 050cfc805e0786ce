"""Linux's kernel-doc comments -> the reStructuredText that stands where a page names their file.

The format is described in Documentation/doc-guide/kernel-doc.rst of the kernel's sources.
"""

import dataclasses
import re
import textwrap
from collections.abc import Callable, Iterator

MAX_CHARS = 4 * 1024 * 1024
_COMMENT = re.compile(r"^[ \t]*/\*\*[ \t]*\n(.*?)\*/", re.DOTALL | re.MULTILINE)
_STAR = re.compile(r"^[ \t]*\*?[ \t]?", re.MULTILINE)
_HEAD = re.compile(
    r"(?:(?P<kind>struct|union|enum|typedef|define)\s+)?(?P<name>(?:\w+\s+)*\w+)\s*(?:\([^)\n]*\))?"
    r"\s*(?:(?:-+|:)\s*(?P<brief>.*))?",
    re.DOTALL,
)
_BODY = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*@)|\Z")
_SECTION = re.compile(
    r"^[ \t]*(?:@(?P<parameter>[\w.*\[\]-]+|\.\.\.)"
    r"|(?P<name>Description|Context|Returns?|Notes?|Examples?))[ \t]*:[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
_EXPORTED = re.compile(r"\bEXPORT_SYMBOL(?:_NS)?(?:_GPL)?(?:_FUTURE)?\s*\(\s*(\w+)")
_MEMBER = re.compile(r"/\*\*[ \t]*@(?P<name>[\w.]+):[ \t]*(?P<said>.*?)\*/|/\*\*[ \t]*\n(?P<body>"
                     r"[ \t]*\*[ \t]*@[\w.]+:.*?)\*/", re.DOTALL)  # fmt: skip
_CONSTANT = re.compile(r"[%$]([A-Za-z_-]\w*)|(?<![\w@])@(\w+(?:\(\))?|\.\.\.)")
_TYPE = re.compile(r"&((?:struct|enum|union|typedef)\s+)?(\w+(?:(?:\.|->)\w+)*)")


@dataclasses.dataclass(frozen=True)
class _Item:
    """One comment: of a function, a type or a macro, or a text of its own (`DOC:`)."""

    kind: str
    name: str
    text: str


def rest(source: str, options: dict[str, str]) -> str:
    """Returns the comments of a C file that a kernel-doc directive's options choose, as reST.

    Options, with names separated by spaces: doc (a title), identifiers, functions, no-identifiers,
    export, internal. Without any of them everything is taken.
    """
    wanted = _choice(source, options)
    found = [item for item in _items(source) if wanted(item)]
    return "\n\n".join(item.text for item in found)


def _choice(source: str, options: dict[str, str]) -> Callable[[_Item], bool]:
    names = (options.get("identifiers", options.get("functions", "")) or "").split()
    without = (options.get("no-identifiers") or "").split()
    exported = set(_EXPORTED.findall(source))

    def wanted(item):
        if "doc" in options:
            return item.kind == "doc" and item.name == " ".join(options["doc"].split())
        if item.name in without:
            return False
        if "identifiers" in options or "functions" in options:
            # Without names: every comment that is not a text of its own.
            return item.name in names if names else item.kind != "doc"
        if "export" in options:
            return item.name in exported
        if "internal" in options:
            return item.kind != "doc" and item.name not in exported
        return True

    return wanted


def _items(source: str) -> Iterator[_Item]:
    for match in _COMMENT.finditer(source[:MAX_CHARS]):
        text = _STAR.sub("", match.group(1)).expandtabs().strip("\n ")
        if text.startswith("DOC:"):
            title, _, body = text.removeprefix("DOC:").partition("\n")
            title = " ".join(title.split())
            yield _Item("doc", title, f"**{_inline(title)}**\n\n{_prose(body)}")
            continue
        body = _BODY.search(text)
        assert body  # at the end, if nowhere before
        head = _HEAD.fullmatch(text[: body.start()].strip())
        if head:
            kind, name = head["kind"] or "function", head["name"].split()[-1]
            following = source[match.end() : match.end() + 8000]
            brief = " ".join((head["brief"] or "").split())
            yield _Item(kind, name, _described(kind, name, brief, text[body.end() :], following))


def _described(kind: str, name: str, brief: str, body: str, following: str) -> str:
    if kind in ("struct", "union", "enum"):
        body = _with_members(body, following)
    marks = list(_SECTION.finditer(body))
    ends = [*(mark.start() for mark in marks), len(body)][1:]
    blocks = [_inline(brief), _prose(body[: marks[0].start()] if marks else body)]
    for mark, end in zip(marks, ends, strict=True):
        said = body[mark.end() : end]
        if mark["parameter"]:
            # What follows a blank line behind a parameter speaks of the whole again.
            said, _, rest_of_body = said.partition("\n\n")
            said = _prose(" ".join(said.split())) or "not described"
            blocks += [f"``{mark['parameter']}``\n    {said}", _prose(rest_of_body)]
        elif mark["name"].lower() == "description":
            blocks.append(_prose(said))
        else:
            said = _prose(said)
            is_one = "\n" not in said
            blocks += [f"{mark['name']}: {said}"] if is_one else [f"{mark['name']}:", said]
    text = "\n\n".join(block for block in blocks if block.strip())
    declaration = _declaration(kind, name, following).replace("\\", "\\\\")
    return f".. c:{kind}:: {declaration}\n\n{textwrap.indent(text, '   ')}"


def _with_members(body: str, following: str) -> str:
    """Adds the comments that stand beside the members of a type."""
    for match in _MEMBER.finditer(following[: max(0, following.find("\n}"))]):
        text = _STAR.sub("", match["body"] or f"@{match['name']}: {match['said']}")
        body = f"{body.rstrip()}\n{text.strip()}\n"
    return body


def _declaration(kind: str, name: str, following: str) -> str:
    if kind != "function":
        return f"{'macro' if kind == 'define' else kind} {name}"
    following = re.sub(r"^[ \t]*#.*\n?", "", following.lstrip(), flags=re.MULTILINE)
    macro = re.match(rf"\s*#\s*define\s+({re.escape(name)}(?:\([^)]*\))?)", following)
    if macro:
        return macro.group(1)
    end = re.search(r"[{;]", following)
    head = " ".join(following[: end.start()].split()) if end else ""
    return head if re.search(rf"\b{re.escape(name)}\b", head) and len(head) < 1000 else f"{name}()"


def _prose(text: str) -> str:
    """Markup of kernel-doc as reST's, a line that ends in a colon before an example as well."""
    return _inline(textwrap.dedent(text.strip("\n"))).strip("\n")


def _inline(text: str) -> str:
    text = _CONSTANT.sub(lambda m: f"``{m.group(1) or m.group(2)}``", text)
    return _TYPE.sub(lambda m: f"{m.group(1) or ''}{m.group(2)}", text)

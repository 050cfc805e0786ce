"""Java sources -> the documentation comments, each above the declaration that it describes."""

import html
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers import marks
from data_pipeline.readers.account import NONE, Account, Markup
from data_pipeline.readers.markup import html as html_reader
from data_pipeline.readers.markup import markdown

MAX_CHARS = 4 * 1024 * 1024
# Strings, character literals and comments: what is inside of them is not Java. First the lines
# of a comment in Markdown (JEP 467).
_TOKEN = re.compile(
    r"(?:(?m:^)[ \t]*///(?!/)[^\n]*(?:\n|\Z))+|"
    r'"""(?:[^\\"]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|//[^\n]*|/\*.*?\*/',
    re.DOTALL,
)
_SLASHES = re.compile(r"^[ \t]*///(?!/)", re.MULTILINE)
# In Markdown code, in fences and spans, an @ begins no tag and a bracket no link.
_MARKDOWN_CODE = re.compile(
    r"^([ \t]*)(```|~~~).*?(?:^\1\2|\Z)|(`+)(?!`).+?(?<!`)\3(?!`)", re.MULTILINE | re.DOTALL
)
_REFERENCE = re.compile(
    r"\[([^\[\]\n]+)\]\[[\w.#$(), \[\]]*\]"
    r"|\[([\w.$/]*#?[\w$]+(?:\([^()\n]*\))?)\](?![\[(:])"
)
# What may follow such a comment: an ordinary comment within a method has a statement below it.
_DECLARES = re.compile(
    r"(?:public|protected|private|static|final|abstract|default|synchronized|native|sealed|"
    r"non-sealed|transient|volatile|class|interface|enum|record|@interface|package|module)\b"
    r"|(?!(?:return|new|throw|else|yield|assert|case)\b)[\w.<>,?&\[\] ]+\s\w+\s*(?:\(|\Z)"
    r"|[A-Z][A-Z0-9_]*\Z"
)
_STARS = re.compile(r"^[ \t]*\*+ ?", re.MULTILINE)
_BLOCK_TAG = re.compile(r"^[ \t]*@([a-zA-Z][\w.]*)", re.MULTILINE)
_LITERAL = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_ANNOTATION = re.compile(
    r"@(?!interface\b)[\w.]+(?:\s*\("
    rf"(?:{_LITERAL}|[^()\"']|\((?:{_LITERAL}|[^()\"']){{0,2000}}\)){{0,2000}}\))?\s*"
)
# {@snippet lang="java" : code}; without a colon the code is in another file.
_SNIPPET = re.compile(
    r"(?:\s*[\w-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s:\"']+))*\s*:[ \t]*\n?(.*)", re.DOTALL
)
_PRE = re.compile(r"<pre\b.{0,20000}?</pre>", re.DOTALL | re.IGNORECASE)
_BRACE = re.compile(r"\{[@\x01](\w+)[ \t]*|[{}]")
_TARGET = re.compile(r"[^\s(]*(?:\([^()]*\))?")
# What is no text in a comment: whose words may be missing from it.
_MARKUP_WORDS = Markup(
    dropped_tags=r"^[ \t]*\*?[ \t]*@"
    r"(?:author|version|hidden|modules|uses|provides|serialField)\b(?:.*\n(?!.*@|.*\*/))*.*",
    tags=r"</?[A-Za-z][^<>]*>|\{?@\w+",
    link_targets=r"\{@link(?:plain)?\b[^{}]*\}|^[ \t]*\*?[ \t]*@see\b.*",
)
_LABELS = {
    "param": "Parameter", "return": "Returns", "throws": "Throws", "exception": "Throws",
    "see": "See also", "since": "Since", "deprecated": "Deprecated", "apiNote": "API note",
    "implSpec": "Implementation requirements", "implNote": "Implementation note", "jls": "See also",
    "serial": "Serial data", "spec": "See also", "jvms": "See also",
}  # fmt: skip
_DROPPED_TAGS = frozenset("author version hidden modules uses provides serialField".split())


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the file's documentation as one document."""
    raw = document.read_text(stream, path=path, encodings=document.WESTERN, max_bytes=MAX_CHARS)
    text = convert(raw)
    account.read(html_reader.unescaped(raw), text, where=path, pieces=lambda _: _pieces(raw))
    if text:
        yield document.Document(id=path, text=text, path=path)


def _pieces(raw: str) -> Iterator[tuple[str, str]]:
    """Code and other comments; of documentation, its tags."""
    code, documentation, start = [], [], 0
    for match in _TOKEN.finditer(raw):
        is_documentation = match.group().startswith("/**") or _SLASHES.match(match.group())
        code.append(raw[start : match.start()])
        (documentation if is_documentation else code).append(match.group())
        start = match.end()
    yield "markup/code", "".join(code) + raw[start:]
    yield from _MARKUP_WORDS("\n".join(documentation))


def convert(raw: str) -> str:
    """Returns every /** comment */ as text below its declaration; a licence header has none."""
    blocks = []
    package = re.search(r"^\s*package\s+([\w.]+)\s*;", raw, re.MULTILINE)
    for match in _TOKEN.finditer(raw):
        comment = match.group()
        if comment.startswith("/**") and len(comment) > 5:
            text = _comment(_hide_at_in_code(_STARS.sub("", comment[3:-2])), _prose)
            declaration = _declaration(raw, match.end()) if text else ""
        elif _SLASHES.match(comment):
            declaration = _declaration(raw, match.end())
            is_one = _DECLARES.match(declaration)
            text = _comment(_markdown_body(comment), _markdown_prose) if is_one else ""
        else:
            continue
        if not text:
            continue
        if declaration.startswith("package "):
            declaration = declaration.rstrip(";")
        blocks.append(f"{declaration}\n\n{_indented(text)}" if declaration else text)
    if blocks and package and not blocks[0].startswith("package "):
        blocks.insert(0, f"package {package.group(1)}")
    return "\n\n".join(blocks)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))


def _declaration(raw: str, start: int) -> str:
    """The declaration that follows a comment, up to its body, on one line."""
    rest = raw[start : start + 4000].lstrip()
    while True:
        annotation = _ANNOTATION.match(rest)
        comment = re.match(r"//[^\n]*\s*|/\*.*?\*/\s*", rest, re.DOTALL)
        if annotation and annotation.end():
            rest = rest[annotation.end() :]
        elif comment:
            if rest.startswith("/**"):
                return ""  # the next comment follows at once: this one stands alone
            rest = rest[comment.end() :]
        else:
            break
    end = re.search(r"[{};]|=(?!=)", rest)
    if not end:
        return ""
    head = _ANNOTATION.sub("", " ".join(rest[: end.start()].split()))
    if not head and rest.startswith("}"):
        return ""
    # Constants of an enum end in a comma or with their arguments.
    constant = re.match(r"([A-Z][A-Z0-9_]*)\s*[,(]", head + ",")
    return constant.group(1) if constant else head.rstrip(",; ")


def _comment(body: str, prose: Callable[[str], str]) -> str:
    parts = _BLOCK_TAG.split(body)
    blocks = [prose(parts[0])]
    for tag, text in zip(parts[1::2], parts[2::2], strict=True):
        if tag in _DROPPED_TAGS or text.strip() == "":
            continue
        if tag in ("param", "throws", "exception"):
            name, said = (text.split(maxsplit=1) + ["", ""])[:2]
            said = prose(said)
            blocks.append(f"{_LABELS[tag]} {name}: {said}" if said else f"{_LABELS[tag]} {name}")
        else:
            blocks.append(f"{_LABELS.get(tag, tag.rpartition('.')[2])}: {prose(text)}")
    return "\n\n".join(block for block in blocks if block.strip())


def _hide_at_in_code(body: str) -> str:
    """An @ inside <pre> or {@code} starts no block tag, even at the start of a line."""

    if "@" not in body:
        return body

    def hide(match):
        return match.group().replace("@", "\x01")

    if "<pre" in body or "<PRE" in body:
        body = _PRE.sub(hide, body)
    parts, start = [], 0
    for begin, end, _, _ in _inline_tags(body):
        parts += [body[start:begin], body[begin:end].replace("@", "\x01")]
        start = end
    return "".join(parts) + body[start:]


def _inline_tags(text: str) -> list[tuple[int, int, str, str]]:
    """Finds {@name content} with balanced braces: (begin, end, name, content), outermost only."""
    if "{@" not in text and "{\x01" not in text:
        return []
    opened: list[re.Match] = []
    spans = []
    for match in _BRACE.finditer(text):
        if match.group() != "}":
            opened.append(match)
        elif opened:
            start = opened.pop()
            if start.group(1):
                content = text[start.end() : match.start()]
                spans.append((start.start(), match.end(), start.group(1), content))
    found: list[tuple[int, int, str, str]] = []
    for span in sorted(spans):
        if not found or span[0] >= found[-1][1]:
            found.append(span)
    return found


def _markdown_body(comment: str) -> str:
    lines = textwrap.dedent(_SLASHES.sub("", comment))
    return _MARKDOWN_CODE.sub(lambda code: code.group().replace("@", "\x01"), lines)


def _markdown_prose(text: str) -> str:
    """Expands inline tags and links to declarations, then Markdown."""
    parts, start = [], 0
    for code in _MARKDOWN_CODE.finditer(text):
        parts += [_REFERENCE.sub(_label, text[start : code.start()]), code.group()]
        start = code.end()
    text = "".join(parts) + _REFERENCE.sub(_label, text[start:])
    return markdown.convert(_expanded(text, code=lambda each: f"`{each}`").replace("\x01", "@"))


def _label(link: re.Match) -> str:
    return link.group(1) or link.group(2).lstrip("#").replace("#", ".")


def _prose(text: str) -> str:
    """Expands inline tags, then HTML; the content of {@code} is never taken for HTML."""
    text = _expanded(text, code=lambda each: marks.code(html.escape(each, quote=False)))
    return html_reader.convert(text.replace("\x01", "@"), fragment=True)


def _expanded(text: str, *, code: Callable[[str], str]) -> str:
    parts, start = [], 0
    for begin, end, name, content in _inline_tags(text):
        parts.append(text[start:begin])
        if name == "snippet":
            snippet = _SNIPPET.fullmatch(content)
            shown = textwrap.dedent(snippet.group(1)).rstrip() if snippet else ""
            parts.append(f"<pre>{html.escape(shown, quote=False)}</pre>" if shown else "")
        elif name == "code":
            parts.append(code(content))
        elif name in ("literal", "systemProperty", "index", "summary", "return"):
            parts.append(html.escape(content, quote=False))
        elif name in ("link", "linkplain", "value"):
            # The target may have spaces between its parentheses: #get(int, int) the getter.
            target = _TARGET.match(content.strip())
            assert target  # the pattern takes nothing, too
            label = content.strip()[target.end() :]
            shown = " ".join(label.split()) or target.group().lstrip("#").replace("#", ".")
            parts.append(html.escape(shown, quote=False))
        elif name not in ("docRoot", "inheritDoc"):
            # Of a tag that only its project knows, what stands behind the address: {@extLink a b}.
            shown = content.partition(" ")[2] if name.endswith("Link") else content
            parts.append(html.escape(shown, quote=False))
        start = end
    return "".join(parts) + text[start:]

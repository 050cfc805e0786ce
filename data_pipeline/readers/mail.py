"""E-mail, one message (.eml) or a mailbox (.mbox) -> subject and body; who wrote to whom goes.

Of a message in several forms the plain one is taken, else the HTML; attachments are counted.
"""

import email
import email.errors
import email.header
import email.message
import html as entities
from collections.abc import Iterator
from typing import BinaryIO

from data_pipeline import document
from data_pipeline.readers.account import NONE, Account
from data_pipeline.readers.markup import html

MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # attachments included
_MAX_PARTS = 1000
_MAX_DEPTH = 20


def read(stream: BinaryIO, *, path: str, account: Account = NONE) -> Iterator[document.Document]:
    """Yields the message; raises ReadError("no_mail") where no line of a header begins it."""
    data = document.read_bytes(stream, path=path, max_bytes=MAX_MESSAGE_BYTES)
    message = email.message_from_bytes(data)
    if not message.keys():  # the parser takes anything: a text without a header is all body
        raise document.ReadError("no_mail", f"{path}: no header of a message, wanted e-mail")
    yield from _document(message, path, path, account)


def read_mailbox(
    stream: BinaryIO, *, path: str, account: Account = NONE
) -> Iterator[document.Document]:
    """Yields the messages of a mailbox, which each begin with a line "From ..."; memory is one."""
    for number, data in enumerate(_messages(stream, path)):
        where = f"{path}#{number}"
        if data is None:
            account.note("message_too_large", where)
        else:
            yield from _document(email.message_from_bytes(data), where, path, account)


def _messages(stream: BinaryIO, path: str) -> Iterator[bytes | None]:
    """Each message as bytes; None for one above the limit."""
    lines: list[bytes] = []
    size, is_after_blank, has_begun = 0, True, False
    while line := stream.readline(MAX_MESSAGE_BYTES + 1):
        if is_after_blank and line.startswith(b"From "):
            if has_begun:
                yield b"".join(lines) if size <= MAX_MESSAGE_BYTES else None
            lines, size, has_begun = [], 0, True
        elif not has_begun and line.strip():
            raise document.ReadError("no_mail", f'{path}: no mailbox, no "From " in its first line')
        else:
            size += len(line)
            # One that is too large is read to its end, where the next one begins.
            if size <= MAX_MESSAGE_BYTES:
                # A line of text that would look like a beginning is written with a >.
                is_quoted = line.startswith(b">") and line.lstrip(b">").startswith(b"From ")
                lines.append(line[1:] if is_quoted else line)
        is_after_blank = not line.strip()
    if has_begun:
        yield b"".join(lines) if size <= MAX_MESSAGE_BYTES else None


def _document(
    message: email.message.Message, where: str, path: str, account: Account
) -> Iterator[document.Document]:
    subject = _header(message.get("Subject", ""))
    parts = list(_bodies(message, where, account, 0))
    shown = "\n\n".join([subject, *(text for _, text in parts if text)]).strip("\n")
    # Read only to be counted: names and addresses of people are in no document.
    headers = "\n".join(_header(value) for name, value in message.items() if name != "Subject")
    raw = "\n".join([subject, headers, *(raw for raw, _ in parts)])
    markup = "\n".join(raw for raw, text in parts if raw != text)
    account.read(
        raw,
        shown,
        where=where,
        pieces=lambda _: [("markup/headers", headers), *html.MARKUP(markup)],
    )
    if shown:
        yield document.Document(id=where, text=shown, path=path, title=subject)


def _header(value) -> str:
    """A header's words on one line, decoded where that is possible."""
    text = str(value)
    try:
        text = str(email.header.make_header(email.header.decode_header(text)))
    except (LookupError, ValueError, email.errors.MessageError):
        pass  # an encoding that is none: as it was written
    return " ".join(_clean(text).split())


def _bodies(
    part: email.message.Message, where: str, account: Account, depth: int
) -> Iterator[tuple[str, str]]:
    """Yields (text as it was sent, text as it is shown) of each part that is no attachment."""
    inner = part.get_payload()
    if part.get_content_maintype() == "multipart" and isinstance(inner, list):
        # A part in a part in a part costs its sender a line each.
        if depth > _MAX_DEPTH or len(inner) > _MAX_PARTS:
            account.note("message_too_deep", where)
            return
        parts = [each for each in inner if isinstance(each, email.message.Message)]
        found = [list(_bodies(each, where, account, depth + 1)) for each in parts]
        if part.get_content_subtype() == "alternative":
            # The forms go from the plainest to the richest; an empty plain one, which some programs
            # send for form's sake, is no text.
            forms = sorted(filter(None, found), key=lambda each: not any(text for _, text in each))
            shown = forms[0] if forms else []
            for each in found:
                if each is not shown:
                    for raw, _ in each:
                        account.skip("markup/other_forms", raw)
            found = [shown]
        for each in found:
            yield from each
        return
    kind = part.get_content_type()
    if part.get_content_disposition() == "attachment" or kind not in ("text/plain", "text/html"):
        account.note("attachments", f"{where}: {kind}")
        for each in part.walk():
            if each.get_content_maintype() == "text":
                account.skip("attachments", _text(each, where, account))
        return
    raw = _text(part, where, account)
    if kind == "text/html":
        text = html.convert(raw, left_out=account.left_out)
        yield entities.unescape(raw), text
    elif raw.strip():
        text = raw.strip("\n")
        yield text, text


def _text(part: email.message.Message, where: str, account: Account) -> str:
    """A part's text; "" for what is none, counted."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    declared = document.charset(part.get_content_charset() or "")
    # Much mail declares what it is not: the others are tried behind it.
    known = (declared,) if declared else ()
    try:
        return _clean(document.decode(data, path=where, encodings=(*known, *document.WESTERN)))
    except document.ReadError:
        account.note("undecodable_part", where)
        return ""


def _clean(text: str) -> str:
    text = text.encode("utf-8", "ignore").decode().replace("\0", "")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")

"""E-mail: subject and body; of several forms one; who wrote to whom, and attachments, counted."""

import email.message
import io
import mailbox

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import document
from data_pipeline.readers import account, mail, marks


def read(data, counted=account.NONE, function=mail.read):
    return list(function(io.BytesIO(data), path="f", account=counted))


def message(subject="Grüße", text="", html=""):
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ann <ann@a.org>", "bob@b.org", subject
    made.set_content(text)
    if html:
        made.add_alternative(html, subtype="html")
    return made


def test_subject_and_body_without_who_wrote_to_whom():
    counted = account.Words()
    (found,) = read(message(text="Straße\n\n    code\n").as_bytes(), counted)
    assert (found.text, found.title) == ("Grüße\n\nStraße\n\n    code", "Grüße")
    assert counted.reasons["markup/headers"] > 5 and counted.total["unaccounted"] == 0


def test_of_several_forms_the_plain_one_is_taken():
    made = message(text="plain", html="<p>rich")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    counted = account.Words()
    (found,) = read(made.as_bytes(), counted)
    assert found.text == "Grüße\n\nplain" and counted.notes == {"attachments": 1}
    made = message(html="<h1>Rich</h1><p>a &amp; <pre>b  c</pre>", text=" ")
    (found,) = read(made.as_bytes())
    assert found.text == f"Grüße\n\nRich\n\na &\n\n{marks.code('b  c')}"


def test_words_of_other_forms_and_of_attachments_are_counted():
    made = message(text="plain", html="<p>rich words</p>")
    made.add_attachment("two words", subtype="x-patch", filename="a.patch")
    made.add_attachment(message(subject="Inner", text="three words more"))
    made.add_attachment(b"%PDF words", maintype="application", subtype="pdf", filename="a.pdf")
    counted = account.Words()
    (found,) = read(made.as_bytes(), counted)
    assert found.text == "Gr\u00fc\u00dfe\n\nplain" and counted.notes == {"attachments": 3}
    assert counted.reasons["markup/other_forms"] == 4  # and two tags
    assert counted.reasons["attachments"] == 5 and counted.total["unaccounted"] == 0


def test_words_of_a_form_that_shows_nothing_are_counted():
    counted = account.Words()
    (found,) = read(message(html="<style>p {}</style>", text=" ").as_bytes(), counted)
    assert found.text == "Gr\u00fc\u00dfe"
    assert counted.reasons["style"] == 1 and counted.reasons["markup/tags"] == 2


@pytest.mark.parametrize(
    ("charset", "data"),
    [("iso-8859-15", b"f\xfcr 5 \xa4"), ("x-unknown", b"f\xc3\xbcr"), ("utf-8", b"f\xfcr")],
)
def test_encodings(charset, data):
    head = b"Subject: =?broken?=\nContent-Type: text/plain; charset=%s\n\n" % charset.encode()
    (found,) = read(head + data)
    assert found.text.split("\n\n") == ["=?broken?=", "für 5 €" if b"5" in data else "für"]


def test_what_is_no_mail():
    for function in (mail.read, mail.read_mailbox):
        with pytest.raises(document.ReadError) as caught:
            read(b"just a text\n", function=function)
        assert caught.value.kind == "no_mail"
    assert read(b"", function=mail.read_mailbox) == []


def test_a_message_above_the_limit_is_counted_and_the_next_one_read(monkeypatch):
    monkeypatch.setattr(mail, "MAX_MESSAGE_BYTES", 60)
    counted = account.Words()
    data = (
        b"From a\nSubject: long\n\n" + 20 * b"word word\n" + b"\nFrom b\nSubject: short\n\ntext\n"
    )
    (found,) = read(data, counted, mail.read_mailbox)
    assert found.text == "short\n\ntext" and counted.notes == {"message_too_large": 1}


@given(st.lists(st.text("aF rom>\n.", max_size=40), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_mailbox_gives_the_messages_that_were_put_in(tmp_path_factory, bodies):
    path = tmp_path_factory.mktemp("box") / "a.mbox"
    box = mailbox.mbox(path)
    for body in bodies:
        box.add(f"Subject: s\n\n{body}".encode())
    box.close()
    found = read(path.read_bytes(), function=mail.read_mailbox)
    # Of lines that begin with >From it cannot be told which were written so.
    got, wanted = (
        [text.replace(">", "").split() for text in texts]
        for texts in ((each.text for each in found), (f"s\n\n{body}" for body in bodies))
    )
    assert got == wanted

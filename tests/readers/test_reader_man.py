# ruff: noqa: E501 (golden texts stand as they are)
import io

import pytest

from data_pipeline import document
from data_pipeline.readers import marks
from data_pipeline.readers.manpage import man


def _shown(reader, raw, **options):
    """The text as it leaves cleaning, without the marks of code."""
    return marks.unmarked(reader.convert(raw, **options))


PAGE = r"""'\" t
.\" Copyright notice that is no text
.TH ACCEPT 2 2021-03-22 "Linux" "Linux Programmer's Manual"
.SH NAME
accept \- accept a connection
.SH SYNOPSIS
.nf
.B #include <sys/socket.h>
.PP
.BI "int accept(int " sockfd ", struct sockaddr *restrict " addr ,
.BI "           socklen_t *restrict " addrlen );
.fi
.SH DESCRIPTION
The
.BR accept ()
call is\-used with
.IR sockfd .
See
.UR https://example.org
.UE .
.TP
.B SOCK_NONBLOCK
Set the
.B O_NONBLOCK
flag.
.IP \(bu 2
First
.IP \(bu
Second
.EX
    if (x)
        y\en;
.EE
.TS
l l.
Interface	Attribute
T{
.BR accept ()
T}	MT-Safe
.TE
"""


def test_man_page():
    assert _shown(man, PAGE) == (
        "ACCEPT(2)\n\nNAME\n\naccept - accept a connection\n\nSYNOPSIS\n\n"
        "#include <sys/socket.h>\n\n"
        "int accept(int sockfd, struct sockaddr *restrict addr,\n"
        "           socklen_t *restrict addrlen);\n\nDESCRIPTION\n\n"
        "The accept() call is-used with sockfd. See https://example.org.\n\n"
        "SOCK_NONBLOCK\n    Set the O_NONBLOCK flag.\n\n"
        "- First\n\n- Second\n\n    if (x)\n        y\\n;\n\n"
        "Interface | Attribute\naccept() | MT-Safe"
    )


def test_no_hyphenation_no_justification_no_header():
    text = _shown(man, ".TH X 1\n.SH A\n" + "implementation-defined behaviour\n" * 40)
    body = text.split("\n\n")[2]
    assert body == " ".join(["implementation-defined behaviour"] * 40)


def test_glyphs_strings_and_conditions():
    raw = (
        ".ds X stored\n.if t nothing\n.if n shown \\*X\n.ie t \\{\nbad\n.\\}\n.el good\n"
        "\\(lqa\\(rq \\[u00E4] \\fBb\\fP\\|c\\s-2d\\s0 x\\h'3n'y\n.de ZZ\nhidden\n..\n.OP -v level\n"
    )
    assert _shown(man, raw) == "shown stored good \u201ca\u201d \u00e4 bcd xy [-v level]"


def test_mdoc_page():
    raw = (
        ".Dd May 1, 2020\n.Dt LS 1\n.Os\n.Sh NAME\n.Nm ls\n.Nd list files\n.Sh SYNOPSIS\n.Nm\n"
        ".Op Fl al\n.Op Ar file ...\n.Sh DESCRIPTION\nSee\n.Xr stat 2 .\n.Bl -tag -width x\n"
        ".It Fl a\nAll of\n.Dq them .\n.El\n.Bd -literal\n  ls -l\n.Ed\n"
    )
    assert _shown(man, raw) == (
        "LS(1)\n\nNAME\n\nls - list files\n\nSYNOPSIS\n\nls [-al] [file ...]\n\nDESCRIPTION\n\n"
        "See stat(2).\n\n-a\n    All of \u201cthem\u201d.\n\n  ls -l"
    )


def test_aliases_are_counted_not_read():
    with pytest.raises(document.ReadError) as caught:
        list(man.read(io.BytesIO(b'.\\" alias\n.so man2/accept.2\n'), path="accept4.2"))
    assert caught.value.kind == "alias"


def test_a_string_that_holds_itself_ends():
    with pytest.raises(document.ReadError) as caught:
        _shown(man, ".ds A \\*A\\*A\\*A\\*A\\*Axxxxxxxxxx\n" + "\\*A\n" * 2000)
    assert caught.value.kind == "roff_bomb"


def test_pod2man_examples_stand_as_laid_out():
    raw = (
        ".de Sp\n.if t .sp .5v\n..\n.de Vb\n.ft CW\n.nf\n.ne \\\\$1\n..\n.de Ve\n.fi\n..\n"
        '.IX Title "X 1"\nBefore\n.Sp\nafter.\n.Vb 3\n\\&    if (x) {\n\\&        y  = 1;\n\\&    }\n.Ve\n.PP\nEnd\nof it.\n'
    )
    assert _shown(man, raw) == (
        "Before\n\nafter.\n\n    if (x) {\n        y  = 1;\n    }\n\nEnd of it."
    )


POD2MAN = r"""
.de Sp \" Vertical space (when we can't use .PP)
.if n .sp
..
.\" Set up some strings.
.tr \(*W-
.ie n \{\
.    ds -- \(*W-
.    ds PI pi
.    if (\n(.H=4u)&(1m=24u) .ds -- \(*W\h'-12u'\(*W\h'-12u'-\" diablo 10 pitch
.    ds C` ""
.    ds L" ""
'br\}
.el\{\
.    ds -- \|\(em\|
.    ds C`
.    ds L" ``
'br\}
.\"
.de IX
..
.IX Title "PERL 1"
.SH "\*(L"strict\*(L" \*(-- and more"
.IP "\*(C`one two\*(C`" 4
A line\*(--even if it isn't \*(PI.
"""


def test_strings_of_pod2man():
    assert _shown(man, POD2MAN) == (
        '"strict" -- and more\n\n"one two"\n    A line--even if it isn\'t pi.'
    )


def test_index_entries_are_counted():
    gone = {}
    _shown(man, POD2MAN, left_out=gone.__setitem__)
    assert gone["markup/index"] == "Title PERL 1"


def test_an_else_belongs_to_its_own_condition():
    raw = ".ie n \\{\na\n.ie t c\n.el d\n.if t b\n.\\}\n.el e\n.el f\n"
    assert _shown(man, raw) == "a d"


def test_asciidoctor_links_show_their_text():
    raw = (
        'See the\n.URL "https://example.org" "user manual" ","\nfor details\n'
        '.URL "https://example.net" "" "."\nWrite to\n.MTO "a\\(atexample.org" "A" "."\n'
    )
    assert _shown(man, raw) == "See the user manual, for details https://example.net. Write to A."


def test_macros_of_the_page_show_what_their_definition_shows():
    raw = ".de Opt\n.B \\\\$1\n..\n.de Idx\n.tm index \\\\$1\n..\n.TP\n.Idx one\n.Opt --foo\nis an option.\n"
    raw += ".de1 INDENT\n. RS \\\\$1\n..\n.INDENT 0.0\n"
    assert _shown(man, raw) == "--foo\n    is an option."


def test_macros_of_the_page_are_read_with_their_arguments():
    # bash(1) and Tcl's pages quote so; the dot of an argument begins no request.
    raw = (
        ".de Q\n.ie \\n(.g \\(lq\\\\$1\\(rq\\\\$2\n.el \\{\\\n.  if t ``\\\\$1''\\\\$2\n"
        '.  if n "\\\\$1"\\\\$2\n.\\}\n..\n.de L\n\\\\$1 and\n.if \\\\n(.$>1 \\fI\\\\$2\\fP,\n'
        '.if \\\\n(.$>2 not\n..\nSee\n.Q "type -t name" .\n.L .profile rc\nEnd.\n'
    )
    assert _shown(man, raw) == 'See "type -t name". .profile and rc, End.'


def test_examples_by_macros_of_the_page_stand_as_laid_out():
    raw = ".de CS\n.RS\n.nf\n..\n.de CE\n.fi\n.RE\n..\nText:\n.CS\na {\n  b\n}\n.CE\nMore\nof it.\n"
    assert _shown(man, raw) == "Text:\n\n    a {\n      b\n    }\n\nMore of it."


def test_a_macro_that_calls_itself_ends():
    with pytest.raises(document.ReadError) as caught:
        _shown(man, ".de A\n.B \\\\$1\n.A \\\\$1 x\n..\n.A y\n")
    assert caught.value.kind == "roff_bomb"


def test_a_backslash_of_an_argument_stays():
    # isalpha(3) and proc(5): a resolved escape begins none.
    raw = ".B \\et\nis a tab,\n.BR \\e000 (\\e0).\n.TP\n.B \\ef\nA feed\\c\ner, \\en.\n"
    assert _shown(man, raw) == "\\t is a tab, \\000(\\0).\n\n\\f\n    A feeder, \\n."
    assert _shown(man, ".Dd x\n.Dt X 3\n.Sh A\n.Ql \\e012\n") == "X(3)\n\nA\n\n'\\012'"


def test_mdoc_references_are_sentences():
    raw = (
        ".Dd May 1, 2020\n.Dt X 3\n.Sh SEE ALSO\n.Xr a 1 ,\n.Xr b 1\n.Rs\n.%A R. Rivest\n.%A H. Dobbertin\n"
        ".%T The MD4 Message-Digest Algorithm\n.%O RFC 1186\n.Re\n.Rs\n.%T Alf\n.%N 1(3):5 .\n.Re\nas in\n.%T Alf ,\ntoo.\n"
    )
    assert _shown(man, raw) == (
        "X(3)\n\nSEE ALSO\n\na(1), b(1)\n\nR. Rivest and H. Dobbertin, The MD4 Message-Digest Algorithm, "
        "RFC 1186.\n\nAlf, 1(3):5. as in Alf, too."
    )


def test_mdoc_links_standard_sentences_and_defaults():
    raw = (
        ".Dd May 1, 2020\n.Dt X 1\n.Sh A\n.Nm cat\n.Op Ar\nsee\n.Lk https://example.org name .\n"
        ".Lk https://example.net .\n.An -nosplit\n.Ex -std\n.Sh B\n.Rv -std cat\n.Sh C\n"
        ".St -p1003.1-2008 .\n.Sh D\n.Fo open\n.Fa path\n.Fa flags\n.Fc\n"
    )
    assert _shown(man, raw).split("\n\n", 2)[2] == (
        "cat [file ...] see name. https://example.net. The cat utility exits 0 on success, and >0 if an error occurs.\n\n"
        "B\n\nThe cat() function returns the value 0 if successful; otherwise the value -1 is returned"
        " and the global variable errno is set to indicate the error.\n\n"
        "C\n\nIEEE Std 1003.1-2008.\n\nD\n\nopen(path, flags)"
    )


def test_a_page_in_the_encoding_that_it_names():
    page = '.\\" -*- coding: koi8-r -*-\n.TH A 1\n\u0418\u043c\u044f\n'
    for data in (page.encode("koi8-r"), page.encode()):
        (found,) = man.read(io.BytesIO(data), path="a.1")
        assert found.text == "A(1)\n\n\u0418\u043c\u044f"

# ruff: noqa: E501 (golden texts stand as they are)
"""Perl's POD: pages, and what stands in modules."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.readers import account, marks, table
from data_pipeline.readers.code_docs import pod, pod_codes

PAGE = """=encoding utf8

=head1 NAME

Some::Module - does I<things>

=head1 SYNOPSIS

  use Some::Module;


  my %h = (a => C<b>);

  E<lt> stands

=head2 Codes

B<bold> F</etc/x> C<a b> C<< $x->{y} >> C<<< a >> b >>> S<a
b> Z<>X<index>E<lt>E<0x20AC>E<0251>E<181>E<eacute>E<unknown>, x > y and E<verbar>.

Links: L<perlfunc>, L<perlfunc/open>, L</Codes>, L</"Codes">, L<the text|perlop/"Quote">,
L<http://perl.org/>, L<site|http://perl.org>, L<crontab(5)>, L<some section>, L<B<a>E<verbar>b|x>.

=over 4

=item *

a bullet

    code(1);

=item * another

=back

=over

=item 1.

one

=item 2

two

=back

=over 8

=item open FILE

=item open FILE, MODE

Opens.

=over

=item nested

is below

=back

=item close

Closes.

=back

=over

A quotation.

=back

=for html <b>x</b>

=begin man

.x

=end man

=begin text

drawn B<so>

=end text

=for :text B<shown>

=cut
"""

TEXT = """NAME

Some::Module - does things

SYNOPSIS

  use Some::Module;


  my %h = (a => C<b>);

  E<lt> stands

Codes

bold /etc/x a b $x->{y} a >> b a b <\u20ac\u00a9\u00b5\u00e9E<unknown>, x > y and |.

Links: perlfunc, "open" in perlfunc, "Codes", "Codes", the text, http://perl.org/, site, crontab(5), "some section", a|b.

- a bullet

      code(1);
- another

1. one
2. two

open FILE
open FILE, MODE
    Opens.

    nested
        is below

close
    Closes.

A quotation.

drawn B<so>

shown"""


def test_a_page():
    left_out = []
    found = pod.convert(PAGE, left_out=lambda kind, text: left_out.append((kind, text)))
    assert marks.unmarked(found) == TEXT
    assert left_out == [
        ("markup/index", "index"),
        ("markup/link_targets", '|perlop/"Quote"'),
        ("markup/link_targets", "|http://perl.org"),
        ("markup/link_targets", "|x"),
        ("raw", "<b>x</b>"),
        ("raw", ".x"),
    ]


def test_code_is_marked_and_kept_to_the_character():
    found = pod.convert("=pod\n\nText C<a  |\n b>.\n\n\tx\n\n\n\t  y  \n z\n")
    assert marks.set_aside(found)[1] == ["a | b", "\tx\n\n\n\t  y\n z"]


MODULE = """package A;
# A comment.
sub f { 1 }

=head1 NAME

A - module A

=item stray

text

=cut
sub g { 2 }
=cut

=pod

More.

=for comment unseen

=nothing like it

B<open
"""


def test_a_module_gives_its_documentation_and_counts_its_code():
    counted = account.Words()
    (found,) = pod.read(io.BytesIO(MODULE.encode()), path="A.pm", account=counted)
    assert found.text == "NAME\n\nA - module A\n\nstray\n    text\n\n    More.\n\n    open"
    assert found.title == "A - module A"
    gone = {kind: n for kind, n in counted.reasons.items() if n}
    assert gone.pop("other_comments") == 2 and gone.pop("unknown_commands") == 2
    assert gone.pop("markup/code") == 9 and all(kind.startswith("markup/") for kind in gone)
    assert not counted.total["unaccounted"]


def test_encodings():
    for raw, data in (
        ("\u00e9\u20ac", "=pod\n\n\u00e9\u20ac\n".encode("cp1252")),
        ("\u0438", "=encoding KOI8-R\n\n\u0438\n".encode("koi8-r")),
        ("\u0438", "=encoding koi8-r\n\n\u0438\n".encode()),
    ):
        (found,) = pod.read(io.BytesIO(data), path="a.pod")
        assert found.text == raw


def test_pages_are_pod_and_modules_stay_source_code():
    assert table.named_for("perlop.pod.gz") == "pod"
    assert table.named_for("A.pm") == table.named_for("a.pl") == "code"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("I<a C<b> c>", "a b c"),
        ("C<< a > b >>", "a > b"),
        ("C<a-E<gt>b>", "a->b"),
        ("L<<< text | x >>>", "text"),
        ("U<x> A<b", "x b"),
        ("a<b>c X <Y>", "a<b>c X <Y>"),
        ("B<< a>> >>", "a>>"),
        ("L<IO::File/new>'s", '"new" in IO::File\'s'),
    ],
)
def test_formatting_codes(raw, shown):
    assert marks.unmarked(pod_codes.shown(raw)) == shown


@given(st.lists(st.sampled_from(["=pod", "=cut", "=head1 a", "b", " c", "", "=cutter x"])))
def test_each_line_is_pod_or_code(lines):
    counted = account.Words()
    raw = "\n".join(lines)
    list(pod.read(io.BytesIO(raw.encode()), path="f", account=counted))
    assert counted.total["in"] == account.count(raw)

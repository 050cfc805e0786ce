"""MediaWiki markup -> prose: what has no sentence in it goes first, then the markup."""

import functools
import re

import mwparserfromhell
from mwparserfromhell import nodes

from data_pipeline import document
from data_pipeline.readers.account import Markup
from data_pipeline.readers.wikipedia import (
    wikitext_sections,
    wikitext_source,
    wikitext_templates,
)

# [[de:Foo]] stands for an article in another language, beside the text; [[:de:Foo]] is a link.
_PREFIX = re.compile(r"\s*([a-z]{2,3}(?:-[a-z]{2,8}){0,2}|simple)\s*:")
_LANGUAGES = frozenset(
    """aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv
    cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht
    hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la
    lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj
    om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv
    sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    ace ady als ami ang anp arc ary arz ast atj avk awa azb ban bar bat-smg bbc bcl bdr be-
    tarask be-x-old bew bjn blk bpy btm bug bxr cbk-zam cdo ceb cho chr chy ckb crh csb dag dga
    din diq dsb dtp dty eml ext fat fiu-vro fon frp frr fur gag gan gcr glk gom gor got gpe gsw
    guc gur guw hak haw hif hsb hyw iba igl ilo inh jam jbo kaa kab kbd kbp kcg kge koi krc ksh
    kus lad lbe lez lfn lij lld lmo lrc ltg mad mai map-bms mdf mhr min mni mnw mos mrj mus mwl
    myv mzn nah nan nap nds nds-nl new nia nov nqo nrm nso nup olo pag pam pap pcd pcm pdc pfl
    pih pms pnb pnt pwn rki rmy roa-rup roa-tara rsk rue sah sat scn sco shi shn simple skr smn
    srn stq syl szl szy tay tcy tdd tet tig tly tpi trv tum tyv udm vec vep vls war wuu xal xmf
    yue zea zgh zh-classical zh-min-nan zh-yue""".split()
)
# What is no text in wikitext: whose words may be missing from it.
MARKUP = Markup(
    tags=r"</?[A-Za-z][^<>]*>",
    link_targets=r"\[\[[^\[\]|]*\||\[(?:https?:|ftp:)?//[^\s\]]+",
    templates=r"\{\{[^{}|]*|\|[ \t]*[\w -]+[ \t]*=|\}\}",
    headings=r"^=+[^=\n]+=+[ \t]*$",
    magic_words=r"__[A-Z]+__",
)


def clean(raw: str, left_out: document.LeftOut = document.uncounted) -> str:
    """Returns the prose of an article, paragraphs separated by a blank line, headings bare."""
    raw, verbatim = wikitext_source.prepare(raw, left_out)
    parts: list[str] = []
    # skip_style_tags: there are no quotes for bold and italics left.
    _render(mwparserfromhell.parse(raw, skip_style_tags=True), parts, left_out)
    return wikitext_source.restore(wikitext_sections.tidy("".join(parts), left_out), verbatim)


def _render(code, parts: list[str], left_out: document.LeftOut) -> None:
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            parts.append(node.value)
        elif isinstance(node, nodes.Wikilink):
            prefix = _PREFIX.match(str(node.title))
            if prefix and prefix.group(1) in _LANGUAGES:
                left_out("markup/other_languages", str(node))
                continue
            shown: list[str] = []
            _render(node.title if node.text is None else node.text, shown, left_out)
            parts.append("".join(shown).lstrip(":" if node.text is None else ""))
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                _render(node.title, parts, left_out)
            elif not node.brackets:
                parts.append(str(node.url))
        elif isinstance(node, nodes.Heading):
            parts.append(f"\n\n\x01{node.level}")
            _render(node.title, parts, left_out)
            parts.append("\x01\n\n")
        elif isinstance(node, nodes.HTMLEntity):
            parts.append(_entity(node))
        elif isinstance(node, nodes.Template):
            text = wikitext_templates.shown(node, functools.partial(_rendered, left_out=left_out))
            # Of one that is shown, the arguments that are not.
            left_out("templates" if text is None else "markup/templates", str(node))
            parts.append(text or "")


def _rendered(code, *, left_out: document.LeftOut) -> str:
    parts: list[str] = []
    _render(code, parts, left_out)
    return "".join(parts)


def _entity(node: nodes.HTMLEntity) -> str:
    try:
        character = node.normalize() or ""
    except (ValueError, OverflowError):
        return ""
    return "" if 0xD800 <= ord(character[:1] or " ") <= 0xDFFF else character

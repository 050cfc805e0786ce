"""Windows-1252 behind UTF-8: taken where the letters are those of its languages, refused else."""

import io

import pytest

from data_pipeline import document, western
from data_pipeline.readers import table

WRITTEN = {
    "French": "Dès Noël, où un zéphyr haï me vêt de glaçons, l’œuvre naïve coûte… à l’été. ",
    "German": "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg – „meint“ Müller. ",
    "Spanish": "El pingüino Wenceslao hizo kilómetros bajo lluvia y frío, ¿añoraba a su niño? ",
    "Portuguese": "Luís argüia à Júlia que brações, fé, chá, óxido, pôr, zângão eram português. ",
    "Catalan": "Jove xef, porti quinze glaçons d’hidrogen, coi! El col·legi és allà, però lluny. ",
    "Finnish": "Törkylempijävongahdus, hääyöaie ja jäääärin päällä: tšekki söi, Åke katsoi. ",
    "Danish": "Quizdeltagerne spiste jordbær med fløde, mens klovnen Walther spillede på xylofon. ",
    "Icelandic": "Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa, sagði Sævör. ",
    "signs": "2 m² à 20 °C costs £3½ or 5 €, ±1 § 3 ¶ 4 © ® ™ × ÷ «yes» — “no” µs. ",
    "names": "Thanks to Jürgen, José, Søren, Ðorðe, Zoë and François. ",
}  # fmt: skip
OTHERS = [
    ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
    ("koi8-r", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
    ("cp866", "Съешь же ещё этих мягких французских булок, да выпей чаю. "),
    ("cp1253", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. "),
    ("cp1250", "Zażółć gęślą jaźń. Pchnąć w tę łódź jeża lub ośm skrzyń fig. "),
    ("iso8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy. "),
    ("cp1250", "Árvíztűrő tükörfúrógép, őrült űrhajós műszerész főz gyűlölködőn. "),
    ("cp1254", "Pijamalı hasta yağız şoföre çabucak güvendi, ışığı söndürdü. "),
    ("cp850", "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. "),
    ("shift_jis", "吾輩は猫である。名前はまだ無い。"),
    ("euc_jp", "吾輩は猫である。名前はまだ無い。"),
    ("gb18030", "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。"),
    ("big5", "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。"),
    ("euc_kr", "키스의 고유조건은 입술끼리 만나야 하고. "),
    ("cp1255", "דג סקרן שט בים מאוכזב ולפתע מצא חברה. "),
]


@pytest.mark.parametrize("language", sorted(WRITTEN))
def test_languages_of_windows_1252_are_read(language):
    text = WRITTEN[language] * (2 if language == "names" else 10)
    data = text.encode("cp1252")
    assert western.is_likely(text)
    assert document.decode(data, path="a", encodings=document.WESTERN) == text


@pytest.mark.parametrize(("encoding", "text"), OTHERS)
@pytest.mark.parametrize("reader", ["html", "rest", "code"])
def test_other_code_pages_are_refused_and_no_words_of_strange_letters(reader, encoding, text):
    data = (text * 10).encode(encoding)
    with pytest.raises(document.ReadError, match="iconv") as refused:
        list(table.READERS[reader].read(io.BytesIO(data), path="a"))
    assert refused.value.kind == "undecodable"


def test_what_is_named_is_read_as_that_and_cp1252_alone_is_no_guess():
    text = OTHERS[0][1] * 10
    data = b"# coding: cp1251\n" + text.encode("cp1251")
    (found,) = table.READERS["code"].read(io.BytesIO(data), path="a.py")
    assert text.strip() in found.text
    assert document.decode(text.encode("cp1251"), path="a", encodings=("cp1252",))


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("gb2312", "gb18030", "朱镕基说㐀"),
        ("shift_jis", "cp932", "①髙島屋"),
        ("euc-kr", "cp949", "똠방각하"),
        ("big5", "cp950", "碁銹裏"),
        ("iso-8859-9", "cp1254", "“ışık”"),
        ("tis-620", "cp874", "“ไทย”"),
    ],
)
def test_what_is_declared_is_read_as_what_is_written(declared, written, text):
    page = f'<meta charset="{declared}"><p>{text}'.encode(written)
    (found,) = table.READERS["html"].read(io.BytesIO(page), path="a")
    mail = f"Content-Type: text/plain; charset={declared}\n\n{text}\n".encode(written)
    (other,) = table.READERS["mail"].read(io.BytesIO(mail), path="a")
    assert found.text == other.text.strip() == text

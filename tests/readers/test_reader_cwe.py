# ruff: noqa: E501 (golden texts stand as they are)
import io

from data_pipeline.readers import marks
from data_pipeline.readers.publications import cwe

CATALOG = b"""<Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7" xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>
<Weakness ID="79" Name="Cross-site Scripting" Status="Stable">
<Description>Bad  output.</Description>
<Extended_Description><xhtml:p>It occurs when:</xhtml:p><xhtml:ul><xhtml:li>one [REF-7]</xhtml:li><xhtml:li>two</xhtml:li></xhtml:ul></Extended_Description>
<Common_Consequences><Consequence><Scope>Integrity</Scope><Impact>Execute Code</Impact><Note>It runs.</Note></Consequence></Common_Consequences>
<Demonstrative_Examples><Demonstrative_Example><Intro_Text>See:</Intro_Text>
<Example_Code Nature="Bad"><xhtml:div>if (x) {<xhtml:div>run(a,<xhtml:br/>b);</xhtml:div>}</xhtml:div></Example_Code></Demonstrative_Example></Demonstrative_Examples>
<Content_History><Submission><Submission_Name>PLOVER</Submission_Name></Submission></Content_History>
</Weakness>
<Weakness ID="1" Name="Old" Status="Deprecated"><Description>Gone.</Description></Weakness>
</Weaknesses></Weakness_Catalog>"""


def test_weakness():
    (found,) = cwe.read(io.BytesIO(CATALOG), path="c.xml")
    assert found.id == "c.xml#CWE-79"
    assert marks.unmarked(found.text) == (
        "CWE-79: Cross-site Scripting\n\nBad output.\n\nIt occurs when:\n\n- one\n- two\n\n"
        "Common consequences\n\nIntegrity, Execute Code: It runs.\n\nExamples\n\nSee:\n\n"
        "if (x) {\n    run(a,\n    b);\n}"
    )


def test_rows_and_numbers_of_a_description():
    raw = (
        b'<c><Weakness ID="1" Name="N"><Description><ol><li>one</li><li>two</li></ol><table><tr><td>'
        b"a</td><td>b</td></tr></table></Description></Weakness></c>"
    )
    (found,) = cwe.read(io.BytesIO(raw), path="c.xml")
    assert found.text == "CWE-1: N\n\n1. one\n2. two\n\na | b"

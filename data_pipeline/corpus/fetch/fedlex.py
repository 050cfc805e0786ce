"""Fedlex's SPARQL endpoint: the query for a law's newest text, and what its answer says.

The endpoint names every consolidation, in every format, of every law; the newest one that applies
already counts, and of several exports of it the one with the largest number.
"""

import datetime
import json
import re
import urllib.parse

from data_pipeline import errors

ENDPOINT = "https://fedlex.data.admin.ch/sparqlendpoint"
HOST = "fedlex.data.admin.ch"
LANGUAGES = {"de": "DEU", "en": "ENG", "fr": "FRA", "it": "ITA", "rm": "ROH"}
_VOCABULARY = f"https://{HOST}/vocabulary"
_IN_FORCE = f"{_VOCABULARY}/enforcement-status/0"  # as of the day on which it is asked
_LANGUAGE = "http://publications.europa.eu/resource/authority/language/"
_EXPORT = re.compile(r"-(\d+)\.xml\Z")
_ELI = re.compile(r"\Aeli/cc/[\w/.-]+\Z")
PAGE_ROWS = 10_000


def query(*, language: str, date: datetime.date, offset: int = 0, law: str = "") -> str:
    """Returns the query for the XML files of all laws in force, or of one (eli/cc/...), by page.

    `language` is one of LANGUAGES. Raises UserError for another one or a malformed law.
    """
    if language not in LANGUAGES:
        raise errors.UserError(f"got language {language!r}, wanted one of {', '.join(LANGUAGES)}")
    if law and not _ELI.match(law):
        raise errors.UserError(f"got law {law!r}, wanted its ELI, such as eli/cc/1999/404")
    bound = f"BIND(<https://{HOST}/{law}> AS ?law)\n    " if law else ""
    # DISTINCT: several graphs hold the same triples. The sub-select: the endpoint (Virtuoso)
    # refuses to sort for a page that ends beyond row 10,000.
    return f"""PREFIX jolux: <http://data.legilux.public.lu/resource/ontology/jolux#>
PREFIX xsd: <http://www.w3.org/2001/XMLSchema#>
SELECT ?law ?date ?url ?private WHERE {{
  {{ SELECT DISTINCT ?law ?date ?url ?private WHERE {{
    {bound}?law a jolux:ConsolidationAbstract ; jolux:inForceStatus <{_IN_FORCE}> .
    ?consolidation jolux:isMemberOf ?law ; jolux:dateApplicability ?date ;
      jolux:isRealizedBy ?expression .
    ?expression jolux:language <{_LANGUAGE}{LANGUAGES[language]}> ; jolux:isEmbodiedBy ?file .
    ?file jolux:userFormat <{_VOCABULARY}/user-format/xml> .
    OPTIONAL {{ ?file jolux:isExemplifiedBy ?url }}
    OPTIONAL {{ ?file jolux:isExemplifiedByPrivate ?private }}
    FILTER(?date <= "{date.isoformat()}"^^xsd:date)
  }} ORDER BY ?law ?date ?url ?private }}
}} LIMIT {PAGE_ROWS} OFFSET {offset}"""


def newest(answer: bytes, *, date: datetime.date) -> dict[str, str]:
    """Returns {law: url of its newest XML} from an application/sparql-results+json answer.

    Raises UserError if the answer does not have that shape.
    """
    try:
        rows = json.loads(answer)["results"]["bindings"]
        found = [_row(row) for row in rows]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"got a SPARQL answer without results.bindings ({type(error).__name__}), wanted "
            f"application/sparql-results+json from {ENDPOINT}"
        ) from error
    best: dict[str, tuple[tuple[str, int], str]] = {}
    for law, applicable, url in found:
        if not url or applicable > date.isoformat():
            continue
        # "-10.xml" comes after "-9.xml": compared as numbers. Without a number it is the first.
        export = _EXPORT.search(url)
        rank = (applicable, int(export.group(1)) if export else 0)
        if law not in best or rank > best[law][0]:
            best[law] = (rank, url)
    return {law: url for law, (_, url) in sorted(best.items())}


def rows(answer: bytes) -> int:
    """Number of rows of an answer that `newest` has read: a full page has more behind it."""
    return len(json.loads(answer)["results"]["bindings"])


def _row(row: dict) -> tuple[str, str, str]:
    def value(key):
        return row.get(key, {}).get("value", "")

    date = value("date") or value("dateAppl")
    law = value("law") or value("consol").rpartition("/")[0]
    url = value("url") or _public(value("private"))
    form = value("userFormat")
    return law, date, url if not form or form.endswith("/xml") else ""


def _public(url: str) -> str:
    """The public address of a file that only its private one is given for: another host."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(("https", HOST, parts.path, "", "")) if parts.path else ""

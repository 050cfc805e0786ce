"""The demo's text, found inside installed packages: nothing is downloaded, nothing imported."""

import dataclasses
import importlib.metadata
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import document, errors
from data_pipeline.readers import marks
from data_pipeline.readers.code_docs import pydoc
from data_pipeline.readers.publications import cwe
from data_pipeline.readers.wikipedia import mediawiki

ROLES = ("domain", "general", "elsewhere")
_NEWS = "lee_background.cor"
_WIKIPEDIA_GLOB = "enwiki-latest-pages-articles1.xml-*-shortened.bz2"
_CWE_GLOB = "cwec_v*.xml"
_INSTALL = "pip install -r requirements-demo.txt"
# Shorter texts are disambiguation stubs and deprecated entries: nothing to learn from.
_MIN_CHARS = 200


def documents(role: str) -> Iterator[document.Document]:
    """Yields the demo's documents of `role`: "domain" (cwe, python_docs), "general" (wikipedia),
    "elsewhere" (news).

    Raises UserError when a package or its text file is missing.
    """
    readers = {"domain": (_cwe, _python_docs), "general": (_wikipedia,), "elsewhere": (_news,)}
    if role not in readers:
        raise errors.UserError(f"got role {role!r}, wanted one of {', '.join(ROLES)}")
    for reader in readers[role]:
        for found in reader():
            if len(found.text) >= _MIN_CHARS:
                yield dataclasses.replace(
                    found,
                    text=marks.unmarked(found.text),
                    role=role,
                    lang="en",
                    split_key=f"{found.source}/{found.id}",
                )


def _cwe() -> Iterator[document.Document]:
    file, version = _packaged("cwe2", _CWE_GLOB)
    with file.open("rb") as stream:
        for found in cwe.read(stream, path=file.name):
            yield dataclasses.replace(
                found,
                source="cwe",
                licence="LicenseRef-CWE-Terms-of-Use",
                origin=f"MITRE CWE, {file.stem}, from the cwe2 {version} package",
            )


def _wikipedia() -> Iterator[document.Document]:
    file, version = _packaged("gensim", _WIKIPEDIA_GLOB)
    with file.open("rb") as stream:
        for found in mediawiki.read(stream, path=file.name):
            yield dataclasses.replace(
                found,
                source="wikipedia",
                licence="CC-BY-SA-3.0",
                origin=f"English Wikipedia, dump extract in the gensim {version} package",
            )


def _news() -> Iterator[document.Document]:
    """A line each; terms that the carrier does not state, so evaluated only (ATTRIBUTION.md)."""
    file, version = _packaged("gensim", _NEWS)
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            yield document.Document(
                id=f"{number}",
                text=line,
                source="news",
                licence="LicenseRef-unstated",
                origin=f"Lee background corpus (ABC news), in the gensim {version} package",
            )


def _python_docs() -> Iterator[document.Document]:
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    if not (stdlib / "pydoc_data" / "topics.py").is_file():
        raise errors.UserError(
            f"got no pydoc_data/topics.py under {stdlib}, wanted a Python installation with its "
            "standard library as source; install Python from python.org or a distribution"
        )
    for reader in (pydoc.topics, pydoc.docstrings):
        for found in reader(stdlib):
            yield dataclasses.replace(
                found,
                source="python_docs",
                licence="PSF-2.0",
                origin=f"Python {platform.python_version()}, {found.path}",
            )


def _packaged(package: str, pattern: str) -> tuple[Path, str]:
    """Returns the one file of an installed package that matches, and the package's version."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise errors.UserError(
            f"the demo text of the package {package} is not installed; run: {_INSTALL}"
        ) from error
    found = sorted(file for file in distribution.files or () if file.match(pattern))
    path = Path(str(distribution.locate_file(found[0]))) if found else None
    if path is None or not path.is_file():
        raise errors.UserError(
            f"got {package} {distribution.version} without {pattern}; "
            f"wanted the version that {_INSTALL} installs"
        )
    return path, distribution.version

"""Lines of file names in two braces, which OWASP's testing guide shows as the files' code.

{{ run.sh # output.txt }} is two files, named relative to the page.
"""

import re

from data_pipeline import document
from data_pipeline.readers.includes import Includes, NotIncludedError

_FILE = r"(?:\.{0,2}/)*[\w-][\w./-]*\.\w{1,10}"
_FILES = rf"{_FILE}(?:[ \t]*#[ \t]*{_FILE})*"
_LINE = re.compile(
    rf"^(?P<indent>[ \t]*)\{{\{{[ \t]*(?P<files>{_FILES})[ \t]*\}}\}}[ \t]*$", re.MULTILINE
)
_FENCE = re.compile(r"`{3,}")


def expanded(raw: str, includes: Includes, left_out: document.LeftOut) -> str:
    """Returns the page with the files' text as code; `left_out` hears of what is not there."""

    def shown(match: re.Match) -> str:
        blocks = []
        for name in match["files"].split("#"):
            try:
                text, _ = includes.text(name.strip())
            except NotIncludedError as error:
                left_out(str(error), name.strip())
                continue
            fence = max(_FENCE.findall(text), key=len, default="``") + "`"
            blocks.append(f"{fence}\n{text.rstrip()}\n{fence}")
        lines = "\n\n".join(blocks).split("\n")
        return "\n".join(match["indent"] + line if line else "" for line in lines)

    return _LINE.sub(shown, raw)

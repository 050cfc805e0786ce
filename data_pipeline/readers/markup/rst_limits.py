"""Input on which docutils takes quadratic time or endless memory: refused before it is parsed."""

from data_pipeline import document

# No hand-written page is longer.
MAX_CHARS = 1024 * 1024
MAX_LINE_CHARS = 100_000
MAX_INDENT = 60


def check(raw: str, path: str) -> None:
    """Raises ReadError for a line too long, and for stairs of indentation.

    Each step of stairs is a nested parser with its copy of the text.
    """
    steps: list[int] = []
    for line in raw.split("\n"):
        if len(line) > MAX_LINE_CHARS:
            raise document.ReadError(
                "rest_long_line", f"{path}: a line over {MAX_LINE_CHARS} characters"
            )
        stripped = line.lstrip()
        if not stripped:
            continue
        indent = len(line) - len(stripped)
        while steps and steps[-1] >= indent:
            steps.pop()
        # "- - - x" opens a list in a list in a list without indentation.
        opened = len(stripped) - len(stripped.lstrip("-*+ ")) if stripped[1:2] == " " else 0
        steps.append(indent)
        if len(steps) + opened // 2 > MAX_INDENT:
            raise document.ReadError("rest_deep", f"{path}: more than {MAX_INDENT} indentations")

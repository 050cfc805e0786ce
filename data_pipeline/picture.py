"""Draws the order of a mixture's windows as text, one letter for each source.

mypt picture data/demo/domain --general data/demo/general --replay_ratio 0.3
"""

import string
import sys

from data_pipeline import arguments, errors
from data_pipeline.batches import mixture, source_order


def draw(mixed: mixture.Mixture, *, windows: int, width: int) -> list[str]:
    """Returns the lines of the picture: rows of `width` windows, then the legend with counts."""
    drawn = [one for one in mixed.components if one.share]
    if len(drawn) > len(string.ascii_letters):
        raise errors.UserError(f"{len(drawn)} sources: at most {len(string.ascii_letters)} letters")
    order = source_order.Schedule([one.share for one in drawn])
    letters = "".join(string.ascii_letters[order[k][0]] for k in range(windows))
    lines: list[str] = [letters[start : start + width] for start in range(0, windows, width)]
    counts = order.counts(windows)
    for letter, one, count in zip(string.ascii_letters, drawn, counts, strict=False):
        wanted = float(one.share) * windows
        lines.append(f"{letter}  {one.key}: {count} of {windows} windows, share asks {wanted:.2f}")
    return lines


def main(argv=None) -> int:
    """Prints the picture of the mixture that the arguments name."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("domain", nargs="*")
    parser.add_argument("--general", action="append", default=[])
    parser.add_argument("--replay_ratio", default="0.3")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--width", type=int, default=40)
    args = parser.parse_args(argv)
    if args.windows < 1 or args.width < 1:
        raise errors.UserError("--windows and --width: 1 or more is wanted")
    made = mixture.build(
        domain=args.domain,
        general=args.general,
        domain_weights=(),
        general_weights=(),
        replay_ratio=args.replay_ratio,
    )
    for line in draw(made, windows=args.windows, width=args.width):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))

"""Adapts a model to one's own text, from a folder to a model to take.

    mypt adapt --base=runs/tiny/base --text=texts/ --general=wiki/ --out_dir=adapted
    mypt adapt --base=downloads/gpt2 --text=texts/ --out_dir=adapted            # no general text
    mypt adapt --base=downloads/gpt2 --text=texts/ --general=wiki/ --out_dir=adapted --limit=1%

Reads the texts (as mypt prepare --source does), chooses the length, trains the stage
configs/adapt.py and says what was learned and what it cost. Without --general the base writes what
is replayed (mypt sample); what is forgotten of general text is not known then. Every step is a
command that is shown and can be typed; the same command again goes on where it stopped.
--config.KEY=VALUE changes the stage.
"""

import math
import os
import re
import shlex
import sys

from data_pipeline import arguments, errors
from data_pipeline.commands import sensitive
from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.adapt import choices
from mypt_jax.adapt import place as places
from mypt_jax.chain import process, standing
from mypt_jax.runs import layout, lineage, own_tokenizer
from mypt_jax.schema import overrides, parents, recorded, together, values

# Half of it is kept for the end, so that less of somebody's few texts would say little.
_VAL_FRACTION = 0.1
# Fewer say nothing of what was forgotten, however little is replayed.
_LEAST_SAMPLES = 64  # windows
# {key that is chosen here: what says it instead}
_CHOSEN = {
    "workdir": "--out_dir=DIR says it",
    "init_from": "--base says it",
    "num_steps": "--epochs=N says it",
    "domain_epochs": "--epochs=N says it",
    "data.domain": "bring the texts as --text=FOLDER",
    "data.general": "bring general text as --general=FOLDER",
    "data.tokenizer": "it is the base's",
    "data.mixture": "type the stage itself to set it",
    "objective.max_forgetting": "--limit=1% says it",
}
_KEPT = "the base kept its optimizer, from which the stage goes on: less is forgotten"


class StepFailed(errors.Stop):
    """A command of the way ended without success; `code` is its exit code."""

    def __init__(self, code: int, line: str):
        super().__init__(line)
        self.code = code


def main(argv: list[str] | None = None) -> int:
    args, flags = _parse(argv)
    place = places.Place(args.out_dir)
    base = _base(args.base, place)
    if args.dry_run and not standing.finished(base):
        raise UserError(f"--dry_run wants a base that is a run: import {args.base} first")

    how = [*_limit(args.limit, has_general=bool(args.general)), *flags]
    _check(base, how, has_general=bool(args.general))
    asked = {"base": args.base, "text": args.text, "general": args.general}
    place.check(asked)

    def run(*command: str) -> None:
        print(f"\n$ mypt {shlex.join(command)}", flush=True)
        # A step that fails before it wrote leaves no directory which the next start would refuse.
        with place.left_as_it_was():
            # A process each: an accelerator belongs to one at a time, and a kill costs one step.
            code = process.run([sys.executable, "-m", "mypt_jax", *command])
        if code:
            raise StepFailed(code, f"mypt {command[0]} ended with exit code {code}: see above")
        if os.path.isdir(args.out_dir):
            place.claim(asked)

    if not standing.finished(base):
        run("interop.huggingface", "import", args.base, base)
    # Said before hours of training, when another base can still be taken.
    if own_tokenizer.chat_template(args.base):
        print(_RESIDUAL.format(base=args.base))
    tokenizer = own_tokenizer.name_of(base, layout.config(base))
    prepare = (f"--tokenizer={tokenizer}", f"--val_fraction={_VAL_FRACTION}")
    prepare += (f"--sensitive={args.sensitive}",) if args.sensitive != "off" else ()
    spec = f"configs/adapt.py:{base}"
    given = _check(base, how, has_general=bool(args.general))
    config, moments = given.config, _moments(given, base, place.run)
    for role, folder in (("domain", args.text), ("general", args.general)):
        if folder and place.has(role):
            _check_masked(place.data(role), args.sensitive)
            print(f"{place.data(role)} is there, and taken as it is")
        elif folder:
            where = f"--out_dir={place.data(role)}"
            run("prepare", f"--source={role}:{folder}", *prepare, where)
    chosen = choices.choose(
        _corpus(place.data("domain")),
        block_size=config["model"]["block_size"],
        batch_size=config["batch_size"],
        replay_ratio=config["data"]["replay_ratio"],
        epochs=args.epochs,
    )
    wanted = chosen.replay_tokens(config["model"]["block_size"], config["data"]["replay_ratio"])
    if not args.general and not place.has("samples"):
        least = _LEAST_SAMPLES * config["model"]["block_size"] / _VAL_FRACTION
        # Val comes out of them, too.
        tokens = math.ceil(max(wanted / (1 - _VAL_FRACTION), least))
        held = f"--val_fraction={_VAL_FRACTION}"
        where = place.data("samples")
        run("sample", f"--run={base}", f"--tokens={tokens}", held, f"--out_dir={where}")
    replay = place.data("general" if args.general else "samples")
    print("\nchosen:")
    for line in (*chosen.lines, *([_KEPT] if moments == "parent" else [])):
        print(f"  {line}")
    for line in filter(None, (*chosen.warnings, choices.replay_warning(_corpus(replay), wanted))):
        print(f"  warning: {line}")
    stage = [
        f"--config={spec},batch={chosen.batch_size}",
        f"--config.workdir={place.run}",
        f"--config.init_from={base}",
        f"--config.data.domain={place.data('domain')}",
        f"--config.data.general={replay}",
        f"--config.domain_epochs={args.epochs:g}",
        f"--config.eval.every_steps={chosen.every_steps}",
        f"--config.optim.moments={moments}",
        "--config.guard.action=warn",  # a limit is held at the end, and the end says what was lost
        *how,
    ]
    # What is chosen depends on the texts: it may be out of a key's range only now.
    values.check_values(overrides.read(stage).config)
    if not standing.finished(place.run):
        run("plan", *stage, "--here")
    if args.dry_run:
        print(f"\n$ python -m mypt_jax.main {shlex.join(stage)}")
        return 0
    run("main", *stage)
    run("report", args.out_dir)
    from mypt_jax.adapt import closing  # here: a process before may have needed the accelerator

    print("\n".join(closing.lines(base, place.run, has_general=bool(args.general))))
    return 0


def _moments(given: overrides.Given, base: str, run: str) -> str:
    """The stage's optim.moments: those of a base that kept them, where nothing else was typed."""
    config = given.config
    if "optim.moments" in given.overridden:
        return config["optim"]["moments"]
    if layout.steps(run):
        return recorded.config(run)["optim"]["moments"]  # the base may have dropped them since
    path, step = layout.resolve_step(base)
    why = parents.why_no_moments(recorded.config(path), config, path=path, step=step)
    return "fresh" if why or config["adapter"]["rank"] else "parent"


def _check(base: str, how: list[str], *, has_general: bool) -> overrides.Given:
    """The stage's values with limit and flags: of a base that is to be imported, as far as it is
    known without. Raises UserError."""
    is_there = standing.finished(base)
    argument = f":{base}" if is_there else ""
    given = overrides.read([f"--config=configs/adapt.py{argument}", *how])
    config = given.config
    if is_there:
        values.check_values(config)
        parents.check(config, base)
    if config["data"]["replay_ratio"] == 1:
        raise UserError("data.replay_ratio is 1: of one's own text nothing would be learned")
    together.check(config, given.overridden)
    objective = config["objective"]
    is_known = has_general or config["eval"]["extra"]
    if objective["max_forgetting"] and objective["limit_on"] == "general" and not is_known:
        raise UserError(
            "objective.limit_on=general wants general text: give --general=FOLDER, or leave the "
            "key out for a limit on the base's own words"
        )
    return given


_RESIDUAL = """{base} has a chat template: training on plain texts takes from its answers. Where its
base model is at hand, adapt that, and add what made the answers:
  mypt merge ADAPTED:1 INSTRUCT:1 BASE:-1 --out=RESULT"""


def _check_masked(data: str, how: str) -> None:
    """Raises UserError where a dataset that is there was to have masks, and has none."""
    settings = shards.open_dataset(data).settings
    if how == "mask" and not any(one.get("sensitive") == "mask" for one in settings):
        raise UserError(
            f"{data} is there, and was prepared without --sensitive=mask: remove it, or name "
            "another --out_dir"
        )


def _parse(argv: list[str] | None):
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.adapt")
    parser.add_argument("--base", required=True, help="a finished run, or a Hugging Face folder")
    parser.add_argument("--text", required=True, help="a folder, an archive, files or a glob")
    parser.add_argument("--general", default="", help="general text to keep, in the same way")
    parser.add_argument("--out_dir", required=True)
    parser.add_argument("--epochs", type=float, default=choices.EPOCHS, help="of one's own text")
    parser.add_argument("--limit", default="", help="of forgetting, such as 1%%")
    parser.add_argument(
        "--sensitive",
        choices=sensitive.HOWS,
        default="off",
        help="secrets and personal data of the texts: counted, or masked",
    )
    parser.add_argument("--dry_run", action="store_true", help="all but the training")
    args, flags = parser.parse_known_args(argv)
    if not 0 < args.epochs < math.inf:
        raise UserError(f"--epochs={args.epochs:g}: wanted more than 0; 2 to 5 is good")
    places.check_out_dir(args.out_dir, texts={"text": args.text, "general": args.general})
    if args.limit:
        args.limit = arguments.share(args.limit, "limit", "the base's loss")
    flags = overrides.expand(flags)
    for flag in flags:
        # Refused, not overruled: the lines above would say what is not done.
        if found := re.fullmatch(
            rf"--?(?:no)?config\.({'|'.join(map(re.escape, _CHOSEN))})(=.*)?", flag, re.DOTALL
        ):
            raise UserError(f"--config.{found[1]} is chosen here: {_CHOSEN[found[1]]}")
    return args, flags


def _base(given: str, place: places.Place) -> str:
    """The run to start from: the one that is given, or where a folder is imported to. Raises
    UserError."""
    if standing.finished(given):
        return given
    path = layout.join(given, layout.CONFIG)
    if not os.path.isfile(path):
        how = layout.make_hint(given)
        raise UserError(
            f"--base={given}: wanted a finished run, or the folder of a Hugging Face model "
            "(config.json, model.safetensors, tokenizer.json); "
            + (how if how.startswith("make it") else "nothing is downloaded")
        )
    if os.path.isfile(layout.join(given, lineage.FILE)):
        raise UserError(
            f"--base={given} is a run that has not finished: finish it, or name another"
        )
    return place.imported


def _corpus(path: str) -> choices.Corpus:
    sources = shards.open_dataset(path).sources.values()
    return choices.Corpus(*(sum(s.tokens[split] for s in sources) for split in ("train", "val")))


def _limit(limit: float | str, *, has_general: bool) -> list[str]:
    """--config of objective.max_forgetting; of the base's own words where nothing else is known."""
    if not limit:
        return []
    on = "general" if has_general else "behaviour"
    return [f"--config.objective.max_forgetting={limit:g}", f"--config.objective.limit_on={on}"]

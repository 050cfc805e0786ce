"""How long a stage is: its steps, its warmup, and how often it goes through each source."""

from collections.abc import Collection, Mapping

from data_pipeline.batches import mixture as mixtures
from data_pipeline.errors import UserError
from mypt_jax.runs import drawn as drawn_windows

MAX_STEPS = 2**31  # of the int32 that counts them
MANY_EPOCHS, MEMORISATION_EPOCHS = 5.0, 10.0  # the guide's judgement of the domain's epochs


def resolve(config: dict, domain_tokens: int, overridden: Collection[str]) -> list[str]:
    """Sets num_steps from domain_epochs, and warmup_steps from a fraction; returns notes.

    `domain_tokens`: of all train splits of the domain. Raises UserError.
    """
    notes = []
    if config["domain_epochs"]:
        if "num_steps" in overridden:
            raise UserError(
                f"num_steps {config['num_steps']} and domain_epochs {config['domain_epochs']} are "
                "both given; leave one out"
            )
        share = 1 - config["data"]["replay_ratio"]
        if share == 0:
            raise UserError("domain_epochs is given, but replay_ratio 1.0 trains on no domain text")
        per_step = config["batch_size"] * config["model"]["block_size"]
        steps = config["domain_epochs"] * domain_tokens / share / per_step
        if not steps < MAX_STEPS:
            raise UserError(
                f"domain_epochs {config['domain_epochs']:g} would take {steps:.3g} steps"
            )
        lengthen(config, max(1, round(steps)), overridden)
        notes.append(
            f"num_steps {config['num_steps']}: {config['domain_epochs']:g} epochs of "
            f"{domain_tokens:,} domain tokens at {share:.0%} of {per_step:,} tokens/step"
        )
    notes += resolve_warmup(config)
    _check_decay(config["num_steps"], **config["optim"])
    _check_profile(config)
    return notes


def lengthen(config: dict, num_steps: int, overridden: Collection[str]) -> None:
    """Sets num_steps, and in proportion the warmup and the interval of evaluations, unless they are
    given: those of a stage file belong to its length."""
    factor = num_steps / config["num_steps"]
    config["num_steps"] = num_steps
    for group, key in (("optim", "warmup_steps"), ("eval", "every_steps")):
        before = config[group][key]
        if f"{group}.{key}" not in overridden and before >= 1:
            config[group][key] = type(before)(max(1, round(before * factor)))


def resolve_warmup(config: dict) -> list[str]:
    """Sets warmup_steps from a fraction of num_steps; returns notes. Raises UserError."""
    notes = []
    warmup = config["optim"]["warmup_steps"]
    if 0 < warmup < 1:
        config["optim"]["warmup_steps"] = max(1, round(warmup * config["num_steps"]))
        notes.append(f"warmup_steps {config['optim']['warmup_steps']}: {warmup:g} of num_steps")
    elif warmup != int(warmup):
        raise UserError(f"optim.warmup_steps is {warmup}, wanted whole steps or a share below 1")
    config["optim"]["warmup_steps"] = int(config["optim"]["warmup_steps"])
    if config["optim"]["warmup_steps"] > config["num_steps"]:
        raise UserError(
            f"optim.warmup_steps {config['optim']['warmup_steps']} is longer than the run, "
            f"num_steps {config['num_steps']}; --config.optim.warmup_steps=0.05 is a share of it"
        )
    return notes


def evaluation_steps(config: Mapping) -> list[int]:
    """The steps after which a run is evaluated, step 0 not among them, at which all are."""
    num_steps, step = config["num_steps"], config["eval"]["every_steps"]
    if config["eval"]["schedule"] == "even":
        return [*range(step, num_steps, step), num_steps]
    found = []
    while step < num_steps:
        found.append(step)
        step *= 2
    return [*found, num_steps]


def is_evaluation_due(config: Mapping, done: int) -> bool:
    """Whether `done`, at most num_steps, is 0 or one of evaluation_steps."""
    times, rest = divmod(done, config["eval"]["every_steps"])
    is_power = times & (times - 1) == 0  # of two, or 0
    due = not rest and (is_power or config["eval"]["schedule"] == "even")
    return due or done == config["num_steps"]


def _check_decay(num_steps: int, *, schedule: str, warmup_steps: int, decay_ratio: float, **_):
    most = 1 - warmup_steps / num_steps
    if schedule == "wsd" and decay_ratio > most:
        raise UserError(
            f"optim.decay_ratio {decay_ratio:g} begins before the warmup of {warmup_steps} of "
            f"{num_steps} steps has ended; wanted at most {most:.3g}"
        )


def _check_profile(config: dict) -> None:
    profile = config["profile"]
    if profile["num_steps"] and profile["start_step"] >= config["num_steps"]:
        raise UserError(
            f"profile.start_step {profile['start_step']} is not before the end of the run, "
            f"num_steps {config['num_steps']}; --config.profile.start_step=0 is"
        )


def line(config: dict) -> str:
    """What the stage will do, in resolved numbers."""
    optim_, block_size = config["optim"], config["model"]["block_size"]
    return (
        f"{config['stage']} from {config['init_from']}: {config['num_steps']:,} steps of "
        f"{config['batch_size']} x {block_size} tokens, peak_lr {optim_['peak_lr']:g} "
        f"({optim_['schedule']}, warmup {optim_['warmup_steps']:,} steps), evaluation every "
        f"{config['eval']['every_steps']:,}"
    )


def coverage(
    config: Mapping, mixture: mixtures.Mixture, drawn: Mapping, *, since: int = 0
) -> list[str]:
    """One line per source with its epochs at this length, and warnings above 5 and 10.

    `drawn`: what the ancestors drew, and the run itself up to the step `since`; epochs count the
    lineage.
    """
    steps = config["num_steps"] - since
    total = steps * config["batch_size"] * config["model"]["block_size"]
    notes = []
    for part, before, epochs in epochs_of(config, mixture, drawn, since=since):
        told = f"{part.key}: {float(part.share):.2%} of {total:,} tokens, {epochs:.2f} epochs"
        if before:
            told += f", {before:.2f} of them by the ancestors"
        notes.append(judged(told, part.role, epochs))
    return notes


def epochs_of(
    config: Mapping, mixture: mixtures.Mixture, drawn: Mapping, *, since: int = 0
) -> list[tuple[mixtures.Component, float, float]]:
    """(what is trained on, its epochs by what is `drawn`, its epochs at the end of the stage).

    A text in two roles is gone through by both: its windows are drawn as one source's.
    """
    block_size = config["model"]["block_size"]
    total = (config["num_steps"] - since) * config["batch_size"] * block_size
    trained = [part for part in mixture.components if part.share]
    shares: dict[str, float] = {}
    for part in trained:
        text = part.train_fingerprint
        shares[text] = shares.get(text, 0.0) + float(part.share)
    found = []
    for part in trained:
        tokens = part.data.tokens["train"]
        before = drawn_windows.first_window(part, drawn, block_size) * block_size / tokens
        found.append((part, before, before + shares[part.train_fingerprint] * total / tokens))
    return found


def domain_epochs(
    config: Mapping, mixture: mixtures.Mixture, drawn: Mapping, *, since: int = 0
) -> float:
    """How often a source of the domain is gone through at most, the ancestors included."""
    found = epochs_of(config, mixture, drawn, since=since)
    return max((epochs for part, _, epochs in found if part.role == "domain"), default=0.0)


def judged(told: str, role: str, epochs: float) -> str:
    """A line on how often a source is gone through, with the guide's judgement for the domain."""
    if role != "domain":
        if epochs > MANY_EPOCHS:
            return (
                f"warning: {told}: replayed until it is known by heart; more of it, or less often"
            )
        return told
    if epochs > MEMORISATION_EPOCHS:
        return f"warning: {told}: memorisation; fewer steps or more text"
    if epochs > MANY_EPOCHS:
        return f"warning: {told}: above {MANY_EPOCHS:g} (2 to 5 is good)"
    if round(epochs, 2) < 1:
        return f"{told} (not all of it is read; 2 to 5 is good)"
    return f"{told} (2 to 5 is good)"

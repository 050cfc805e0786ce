"""What a stage must find in the run that it starts from: its architecture, and its moments."""

from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax.runs import layout
from mypt_jax.schema import changes, keys, recorded


def check(config: Mapping, spec: str) -> None:
    """Raises UserError where a stage cannot start from `spec`, a run on this machine as init_from
    names it: it is unfinished, or has another architecture, or no moments for it."""
    path, step = layout.resolve_step(spec)
    parent = recorded.config(path)
    check_architecture(parent, config, path=path)
    check_moments(parent, config, path=path, step=step)


def check_architecture(parent: Mapping, config: Mapping, *, path: str) -> None:
    """Raises UserError where a stage has not the architecture of its parent, the run at `path`."""
    for name, (theirs, own) in changes.between(parent, config, keys.ARCHITECTURE).items():
        cast = name == "model.param_dtype" and config["checkpoint"]["allow_cast"]
        if name.startswith("model.") and not cast:
            raise UserError(
                f"{name} is {own}, but the parent {path} has {theirs}; a stage keeps its parent's "
                f"architecture (--config.{name}={theirs})"
            )


def check_planned(parent: Mapping, config: Mapping, *, path: str) -> None:
    """Raises UserError where a stage has another architecture than its parent, yet to be trained,
    or wants moments that it drops."""
    check_architecture(parent, config, path=path)
    wanted = config["optim"]["moments"] == "parent" and not layout.steps(config["workdir"])
    if wanted and not parent["checkpoint"]["keep_optimizer"]:
        raise UserError(
            f"optim.moments=parent, but {path} will keep no optimizer state: train it with "
            "--config.checkpoint.keep_optimizer=True, or set optim.moments=fresh"
        )


def check_moments(parent: Mapping, config: Mapping, *, path: str, step: int) -> None:
    """Raises UserError where optim.moments=parent finds none at this step of the parent, or those
    of another optimizer; a run that goes on has its own."""
    if config["optim"]["moments"] == "fresh" or layout.steps(config["workdir"]):
        return
    if why := why_no_moments(parent, config, path=path, step=step):
        raise UserError(f"optim.moments=parent, but {why}, or set optim.moments=fresh")


def why_no_moments(parent: Mapping, config: Mapping, *, path: str, step: int) -> str:
    """Why a stage cannot take its parent's moments, and what to do; "" where it can."""
    if not layout.has_optimizer(path, step):
        return (
            f"{path}@{step} kept no optimizer state: train it with "
            "--config.checkpoint.keep_optimizer=True"
        )
    if parent["adapter"]["rank"]:
        return f"{path} trained adapters, and its optimizer knows these alone: take another parent"
    theirs, own = parent["optim"]["optimizer"], config["optim"]["optimizer"]
    if theirs != own:
        return f"{path} was trained by {theirs}, not {own}: set optim.optimizer={theirs}"
    return ""

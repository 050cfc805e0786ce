"""The config that a run was started with, from its directory."""

from mypt_jax.runs import kinds, layout, lineage
from mypt_jax.schema import keys, tree

_ENTRIES: dict[type, kinds.Value] = {
    int: kinds.WHOLE,
    float: kinds.NUMBER,
    bool: kinds.FLAG,
    str: kinds.TEXT,
}


def _kind() -> dict:
    """What config.json holds: a value of its row's type for each key that no run was without."""
    found: dict = {}
    for row in keys.ROWS:
        entry = _ENTRIES[row.entry_type]
        is_optional = row.absent is not keys.REQUIRED
        tree.put(found, f"{row.name}{'?' * is_optional}", [entry] if row.is_tuple else entry)
    for name, group in list(found.items()):
        if isinstance(group, dict) and all(key.endswith("?") for key in group):
            found[f"{name}?"] = found.pop(name)
    return found


KIND = _kind()


def config(workdir: str) -> dict:
    """config.json of the run at `workdir`, with tuples; a key that came later has the value that
    the run had before there was one. Raises UserError."""
    path = layout.join(workdir, layout.CONFIG)
    return tree.completed(lineage.read_json(path, what=f"run {workdir}", wanted=KIND))

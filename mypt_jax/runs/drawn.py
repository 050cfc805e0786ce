"""Which windows of each text a run's ancestors drew: where its own batches go on."""

from collections.abc import Collection, Mapping, Sequence

from data_pipeline.batches import mixture, window_order
from data_pipeline.batches.window_order import FROM_THE_START
from mypt_jax.runs import lineage


def table(record: Mapping, config: Mapping) -> dict[str, list[dict]]:
    """{text: [segment, ..]}: the windows that a run and its ancestors drew of each text, the oldest
    first, as window_order.Segment has them. `config`: the run's own.

    A text is known by the fingerprint of its train split. Of runs from before that was recorded it
    is known as DATASET_FINGERPRINT#SOURCE, of their ancestors by the name of its source alone.
    """
    if "drawn" in record:
        drawn = {text: list(segments) for text, segments in record["drawn"].items()}
    else:
        drawn = {}
        for ancestor in record["ancestors"]:
            for key, tokens in ancestor["tokens_by_source"].items():
                _add(drawn, key, key, tokens, ancestor["config"], FROM_THE_START)
    sources = record["data"].get("sources", {})
    version = record["data"].get("order", FROM_THE_START)
    keys: dict[str, str] = {}  # a text in two roles is drawn from as one
    windows: dict[str, int] = {}
    earlier = lineage.changed(record)["windows"]  # which stand among those of the ancestors
    for key, tokens in record["tokens_by_source"].items():
        if key in earlier and key not in sources:
            continue
        tokens -= earlier.get(key, 0) * config["model"]["block_size"]
        if version == FROM_THE_START:
            text = f"{sources.get(key, {}).get('fingerprint')}#{key.partition('/')[2]}"
        else:
            text = sources[key]["train_fingerprint"]
        keys.setdefault(text, key)
        windows[text] = windows.get(text, 0) + tokens
    for text, key in keys.items():
        _add(drawn, text, key, windows[text], config, version)
    return drawn


def _add(drawn: dict, text: str, key: str, tokens: int, config: Mapping, version: int) -> None:
    windows = tokens // config["model"]["block_size"]
    if windows:
        segment = {"seed": config["seed"], "key": key, "windows": windows, "version": version}
        drawn.setdefault(text, []).append(segment)


def furthest(tables: Sequence[Mapping]) -> dict[str, list[dict]]:
    """One table of several runs': of each text the windows of the run that came furthest in it."""
    texts = dict.fromkeys(text for one in tables for text in one)
    return {text: max((one[text] for one in tables if text in one), key=_reach) for text in texts}


def _reach(segments: Sequence[Mapping]) -> int:
    """Windows drawn of a text, those of a run that began at the first again counted once."""
    reach = 0
    for one in segments:
        begun = 0 if one["version"] == FROM_THE_START else reach
        reach = max(reach, begun + one["windows"])
    return reach


def past(drawn: Mapping, component: mixture.Component) -> list[window_order.Segment]:
    """What the table says of a source, under each of its names."""
    older = f"{component.dataset.fingerprint}#{component.source}"
    names = (component.key, older, component.train_fingerprint)
    return [window_order.Segment(**one) for name in names for one in drawn.get(name, ())]


def changed_sources(drawn: Mapping, components: Collection[mixture.Component]) -> list[str]:
    """Lines on sources that the ancestors trained on under the same name, but with other text."""
    known = {one["key"] for segments in drawn.values() for one in segments}
    return [
        f"{one.key}: not the text that the ancestors had under this name; its windows begin at 0"
        for one in components
        if one.share and one.key in known and not past(drawn, one)
    ]


def first_window(part: mixture.Component, drawn: Mapping, block_size: int) -> int:
    """How many windows of a source the ancestors drew, counted over its epochs."""
    tokens = part.data.tokens["train"]
    if tokens <= block_size:
        return 0  # the loader refuses it
    per_epoch = window_order.windows_per_epoch(tokens, block_size)
    return window_order.WindowOrder(per_epoch, past=past(drawn, part), identity="").first

"""docs/guide.md: its names are the configs', and its commands run, in its order, at :tiny size."""

import importlib.metadata
import json
import os
import pydoc_data.topics
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs import common

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")

# What shortens a stage; the guide's flags stay.
SMALL = [
    "--config.model.n_layer=1",
    "--config.model.n_embd=32",
    "--config.model.n_head=2",
    "--config.num_steps=8",
    "--config.optim.warmup_steps=2",
    "--config.eval.every_steps=8",
    "--config.eval.windows=32",
]


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", TEXT, re.M | re.S)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_phase_1_sources_are_called_the_same_everywhere():
    registry = ROOT / "data_pipeline" / "corpus" / "phase1_general.json"
    built = {source["name"] for source in json.loads(registry.read_text())["sources"]}
    assert built == {name for name, _ in common.PHASE1}
    weights = dict(re.findall(r"--weight (\w+):(\d+)", TEXT))
    assert {name: float(weight) for name, weight in weights.items()} == dict(common.PHASE1)


def test_the_guide_s_four_steps_are_all_there():
    programs = [re.sub(r"^.*[/.]", "", c[2] if c[1] == "-m" else c[1][:-3]) for c in commands()]
    wanted = ["build_phase1_corpus", "prepare_weighted_dataset", "main", "build_phase2_corpus"]
    wanted += ["append_to_dataset", "mix_tokenized_datasets", "run_chain", "report"]
    assert list(dict.fromkeys(programs)) == wanted
    stages = [re.search(r"configs/(\w+)", w)[1] for c in commands() for w in c if "configs/" in w]
    assert stages == ["base", "v3", "v5", "v7", "v8", "v5"]


@pytest.fixture
def place(tmp_path):
    """Small sources where --fetch would have put the large ones, and a law file to append."""
    wikipedia = tmp_path / "sources" / "wikipedia_en"
    wikipedia.mkdir(parents=True)
    (dump,) = (
        file.locate()
        for file in importlib.metadata.files("gensim")
        if "pages-articles1" in file.name and file.name.endswith(".bz2")
    )
    (wikipedia / "enwiki-demo-pages-articles1.xml.bz2").write_bytes(Path(dump).read_bytes())
    rfc = tmp_path / "sources" / "rfc"
    rfc.mkdir()
    topics = [text for text in pydoc_data.topics.topics.values() if len(text) > 1500]
    for number, text in enumerate(topics):
        (rfc / f"rfc{9000 + number}.txt").write_text(text, encoding="utf-8")
    law = tmp_path / "data" / "swiss_law_domain" / "fedlex_de_en.txt"
    law.parent.mkdir(parents=True)
    articles = (
        f"<|doc|>\nid=SR-{n}\n<|text|>\n" + f"Art. {n} Jede Person hat das Recht {n}.\n" * 60
        for n in range(120)
    )
    law.write_text("<|enddoc|>\n".join(articles), encoding="utf-8")
    return tmp_path


def shortened(words: list[str], place: Path) -> list[str]:
    """The command with its paths under `place`, at :tiny, without a network."""
    line = [sys.executable, *words[1:]]
    line = [word for word in line if word != "--fetch"]
    line = [re.sub(r"(^|[=:])(data|sources|runs)(?=/|$)", rf"\1{place}/\2", w) for w in line]
    line = [w.replace("runs/750m", "runs/tiny").replace("--size=750m", "--size=tiny") for w in line]
    data = f"{place}/data"
    general = [f"--config.data.general={data}/multilingual_1.5B_wiki90"]
    own = [f"--config.data.domain={data}/itsec_v3_tokenized", *general, *SMALL]
    program = " ".join(words[1:3])
    if "build_phase" in program:
        return [*line, "--only", "wikipedia_en" if "phase1" in program else "rfc"]
    if "prepare_weighted" in program:
        absent = [f"{name}:{weight:g}" for name, weight in common.PHASE1[1:]]
        kept = [
            i for i, w in enumerate(line) if w not in absent and [*line, ""][i + 1] not in absent
        ]
        return [*(line[i] for i in kept), "--tokenizer=gpt2-4096"]
    if "run_chain" in program:
        return [*line, f"--runs_dir={place}/runs", *own]
    if "mypt_jax.main" in program:
        stage = re.search(r"configs/(\w+)", " ".join(words))[1]
        parent = {"base": "scratch", "v3": "base", "v5": "v3", "v7": "v3", "v8": "v7"}[stage]
        start = parent if parent == "scratch" else f"{place}/runs/tiny/{parent}"
        line = [f"{w}:tiny" if w.startswith("--config=") else w for w in line]
        where = [f"--config.workdir={place}/runs/tiny/{stage}", f"--config.init_from={start}"]
        # Values that the guide's own line gives come last and win.
        return [*line[:4], *where, *own, *line[4:]]
    return line


@pytest.mark.full
def test_every_command_of_the_guide_runs(place):
    # Base is evaluated on the domain as well, so the domain is prepared before it is trained.
    ordered = sorted(commands(), key=lambda words: "mypt_jax.main" in words[2])
    ordered.sort(key=lambda words: "run_chain" in words[1] or "report" in words[2])
    ordered.sort(key=lambda words: words[2] == "mypt_jax.report")
    for words in ordered:
        line = shortened(words, place)
        done = subprocess.run(
            line,
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, (
            f"{shlex.join(line)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    report = (place / "runs/tiny/report.md").read_text()
    for stage in ("base", "v3", "v5", "v5_mixed", "v7", "v8"):
        assert f"| {stage} |" in report.replace("tiny/", "")
    assert (place / "runs/tiny/report.html").is_file()

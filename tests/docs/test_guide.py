"""docs/guide.md: its names are the configs', and its blocks run as written, in their order.

What stands in for the world is small: sources as --fetch leaves them, a model of one layer.
Nothing else is put there; what a command reads, a command before it has made.
"""

import importlib.util
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs import common
from data_pipeline.errors import UserError
from mypt_jax.schema import overrides, validation

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
    "--config.eval.windows=8",
]
SENTENCES = {
    "de": "Der {} ist in der {} und hat mit dem {} zu tun, weil die {} nicht so wie das {} sind.",
    "en": "The {} is in the {} and has to do with the {}, as they are not what the {} of {} was.",
}


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


def paragraphs(language: str, name: str, count: int, sentences: int = 6) -> list[str]:
    """Prose that no other source has, in words of its own."""
    rng = random.Random(name)
    letters = "abcdefghijklmnoprstuvw"
    words = ["".join(rng.choices(letters, k=rng.randint(4, 9))) for _ in range(500)]

    def sentence() -> str:
        return SENTENCES[language].format(*rng.choices(words, k=5))

    return [" ".join(sentence() for _ in range(sentences)) for _ in range(count)]


def wiki(language: str) -> str:
    pages = "".join(
        f"<page><title>{language} {n}</title><ns>0</ns><id>{n}</id><revision><id>1</id>"
        f"<text>{text}\n\n{text[::-1][:9]} {text}</text></revision></page>"
        for n, text in enumerate(paragraphs(language, f"{language}wiki", 300))
    )
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{pages}</mediawiki>'


def law(text: str) -> str:
    space = "http://docs.oasis-open.org/legaldocml/ns/akn/3.0"
    article = f"<article><num>Art. 1</num><paragraph><content><p>{text}</p></content></paragraph>"
    return f'<akomaNtoso xmlns="{space}"><act><body>{article}</article></body></act></akomaNtoso>'


@pytest.fixture
def place(tmp_path):
    """An empty directory, with sources/ as --fetch and the downloads by hand leave it."""
    files = {f"wikipedia_{x}/{x}wiki-1-pages-articles.xml": wiki(x) for x in ("en", "de")}
    for name, file in (
        ("europarl", "europarl-v9.de-en.tsv"),
        ("news_commentary", "news-commentary-v14.de-en.tsv"),
    ):
        both = (paragraphs(x, f"{name} {x}", 640, 1) for x in ("de", "en"))
        rows = ["\t".join(pair) for pair in zip(*both, strict=True)]
        files[f"{name}/{file}"] = "\n".join(rows) + "\n"
    for language in ("de", "en"):
        lines = paragraphs(language, f"subtitles {language}", 1280, 1)
        files[f"opensubtitles/OpenSubtitles.de-en.{language}"] = "\n".join(lines) + "\n"
        for n, text in enumerate(paragraphs(language, f"law {language}", 40)):
            files[f"swiss-law-{language}/{n}.xml"] = law(text)
    for n, text in enumerate(paragraphs("en", "rfc", 60)):
        files[f"rfc/rfc{9000 + n}.txt"] = text
    for name, text in files.items():
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def shortened(words: list[str], place: Path) -> list[str]:
    """The command with its paths under `place`, at :tiny, without a network."""
    line = [word for word in words if word != "--fetch"]
    line = [re.sub(r"(^|[=:])(data|sources|runs)(?=/|$)", rf"\1{place}/\2", w) for w in line]
    line = [w.replace("runs/750m", "runs/tiny").replace("--size=750m", "--size=tiny") for w in line]
    data = f"{place}/data"
    general = [f"{data}/multilingual_1.5B_wiki90#{name}" for name, _ in common.PHASE1]
    own = [
        f"--config.data.domain={data}/itsec_v3_tokenized",
        f"--config.data.general={tuple(general)}",
        f"--config.data.general_weights={tuple(weight for _, weight in common.PHASE1)}",
        *SMALL,
    ]
    program = " ".join(words[1:3])
    if "build_phase2" in program and "--only" not in words:
        line += ["--only", "rfc"]  # of some thirty sources, each a download of its own
    if "build_phase" in program:
        line += ["--workers", "1", "--count_tokens", ""]
    if "prepare_weighted" in program:
        asked = line.index("--total_tokens") + 1
        line[asked] = str(int(line[asked]) // 5_000)  # of billions
        return [*line, "--tokenizer=gpt2-4096", "--workers=1"]
    if "append" in program:
        return [*line, "--workers=1"]
    if "run_chain" in program:
        return [*line, f"--runs_dir={place}/runs", *own]
    if "mypt_jax.main" in program:
        stage = re.search(r"configs/(\w+)", " ".join(words))[1]
        parent = {"base": "scratch", "v3": "base", "v5": "v3", "v7": "v3", "v8": "v7"}[stage]
        start = parent if parent == "scratch" else f"{place}/runs/tiny/{parent}"
        line = [f"{w}:tiny" if w.startswith("--config=") else w for w in line]
        where = [f"--config.workdir={place}/runs/tiny/{stage}", f"--config.init_from={start}"]
        given = {word.partition("=")[0] for word in line[4:]}  # in the guide's own line
        return line + [word for word in (*where, *own) if word.partition("=")[0] not in given]
    return line


def main_of(script: str):
    """The main of scripts/NAME.py."""
    path = ROOT / script
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_the_blocks_find_what_blocks_before_them_have_made(place, monkeypatch):
    """All that makes data, and the checks of what trains: the short form of the test below."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    for words in commands():
        line = shortened(words, place)
        if words[1].startswith("scripts/") and "run_chain" not in words[1]:
            assert main_of(words[1])(line[2:]) == 0, shlex.join(words)
        elif words[2] == "mypt_jax.main":
            given = overrides.read(line[3:])
            try:
                validation.validate(given.config, overridden=given.overridden)
            except UserError as error:  # nothing is trained here, so that all but base lack this
                assert "runs/tiny/" in str(error) and given.config["stage"] != "base", error


@pytest.mark.full
def test_every_command_of_the_guide_runs(place):
    for words in commands():
        line = [sys.executable, *shortened(words, place)[1:]]
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
        if "run_chain" in words[1]:
            assert done.stdout.count("skipped") == 5, done.stdout
    report = (place / "runs/tiny/report.md").read_text()
    for stage in ("base", "v3", "v5", "v5_mixed", "v7", "v8"):
        assert f"| {stage} |" in report.replace("tiny/", "")
    assert "Domain change" in report and "not measured" not in report
    assert (place / "runs/tiny/report.html").is_file()

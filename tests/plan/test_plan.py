"""The plan of a stage: what it says, without data and with it, and how wrong input ends."""

import importlib.util
import json
import os
import re
import shutil
from fractions import Fraction

import conftest
import jax
import optax
import pytest
import run_factory

from configs import v8
from data_pipeline.batches import loader
from data_pipeline.errors import UserError
from data_pipeline.prepare import mix
from mypt_jax import optim
from mypt_jax.chain import command as chain
from mypt_jax.chain import stages
from mypt_jax.distributed import sharding
from mypt_jax.frontier import recipes
from mypt_jax.model import flops
from mypt_jax.plan import asked, command, costs, describe, topology
from mypt_jax.schema import duration, overrides, stage_data, tree
from mypt_jax.sweep import command as sweep
from mypt_jax.train import step

GIB = 2**30
CONFIGS = v8.__file__.rpartition("/")[0]


@pytest.fixture(autouse=True)
def no_runs_here(tmp_path_factory, monkeypatch):
    """A checkout has runs/ after a quickstart, and plan goes by what is there."""
    monkeypatch.chdir(tmp_path_factory.mktemp("checkout"))
    for name in ("configs", "README.md"):
        os.symlink(os.path.join(os.path.dirname(CONFIGS), name), name)


@pytest.fixture
def guide() -> dict:
    return tree.plain(v8.get_config().to_dict())


def said(capsys, *arguments: str) -> str:
    assert command.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_guide_s_stage_without_data(capsys, tmp_path, monkeypatch):
    repo = costs.__file__.rpartition("/mypt_jax/")[0]
    monkeypatch.chdir(tmp_path)  # no runs, no datasets here
    out = said(capsys, f"--config={repo}/configs/v8.py", "--config.data.replay_ratio=0.25")
    assert "759,656,064 parameters" in out
    stages = [line.split()[0] for line in out.splitlines() if "runs/750m/" in line]
    assert stages == ["base", "v3", "v7", "v8"]
    assert re.search(r"domain/itsec_v3_tokenized +75.00% +175,104,000 +161,000,000 expected", out)
    assert re.search(r"general/wikipedia_en +12.50%", out)
    assert "4.665e+09 FLOPs/token" in out and "causal count 4.413e+09" in out
    assert "380: 9e-05" in out and "19,000: 9e-05" in out


def test_a_mixture_decides_the_ratio_in_plan_and_training(capsys, datasets, tmp_path):
    view = tmp_path / "mixed"
    mix.write_view(
        view,
        domain=[datasets["domain"]],
        general=[datasets["general"]],
        general_weights=[],
        replay_ratio=Fraction("0.25"),
        recorded={},
    )
    arguments = ("--config=configs/v5.py:tiny", f"--config.data.mixture={view}")
    assert re.search(r"v5 +this .* 25%", said(capsys, *arguments))
    assert re.search(r"v5 +this .* 25%", said(capsys, *arguments, "--config.data.replay_ratio=.25"))
    long = said(capsys, *arguments, "--config.num_steps=99999")
    assert re.search(r"warning: domain/laws: [\d.]+ epochs: memorisation", long)
    assert re.search(r"warning: general/\w+: [\d.]+ epochs: replayed until", long)
    with pytest.raises(UserError, match="0.3 differs from the 0.25 of"):
        command.main([*arguments, "--config.data.replay_ratio=0.3"])
    data = {"mixture": str(view), "replay_ratio": 0.2}
    assert stage_data.open_view(data, ()).replay_ratio == Fraction("0.25")
    assert data["replay_ratio"] == 0.25
    with pytest.raises(UserError, match="leave one of the two out"):
        stage_data.open_view(data | {"replay_ratio": 0.3}, {"data.replay_ratio"})


def test_sizes_come_from_manifests_where_they_are(capsys, datasets):
    out = said(
        capsys,
        "--config=configs/v3.py:tiny",
        f"--config.data.domain={datasets['domain']}",
        f"--config.data.general={datasets['general']}",
    )
    rows = re.findall(r"^  (domain|general)/(\w+) ", out, re.MULTILINE)
    assert sorted(rows) == [("domain", "laws"), ("domain", "manuals"), ("general", "encyclopedia")]
    assert "expected" not in out


def test_a_text_in_two_roles_is_gone_through_by_both(datasets, capsys):
    """As the batches go through it: each role alone had its share of the epochs only, and what the
    ancestors saw of the other was forgotten."""
    data = [f"--config.data.{role}={datasets['general']}" for role in ("domain", "general")]
    argv = ["--config=configs/v3.py:tiny", *data, "--config.data.replay_ratio=0.25"]
    given = overrides.read(argv)
    config = costs.resolve(asked.config(given), given.overridden)
    total = config["num_steps"] * config["batch_size"] * config["model"]["block_size"]
    mixed = stage_data.open_data(config)[0]
    batches = loader.TrainLoader(
        mixed, block_size=config["model"]["block_size"], batch_size=config["batch_size"], seed=1
    )
    read = [*batches.epochs(config["num_steps"]).values()]
    assert read[0] == read[1] and min(read) > 0
    parts = costs.mixture_parts(config)
    assert costs.epochs(parts, {}, total) == pytest.approx(read, rel=0.02)
    told = [epochs for _, _, epochs in duration.epochs_of(config, mixed, {})]
    assert told == pytest.approx(read, rel=0.02)
    # With base before it, which replays the same text.
    stages, _ = costs.ancestors(config, given)
    past = costs.past_tokens(parts, stages)
    assert past == {parts[0].text: stages[0].tokens}
    rows = re.findall(r"^  (domain|general)/.* ([\d.]+) +[\d,]+$", said(capsys, *argv), re.M)
    assert [role for role, _ in rows] == ["domain", "general"] and rows[0][1] == rows[1][1]


def test_rates_of_kept_moments_rise_from_the_parents_last_one(capsys):
    """As training has them: plan said that they rise from 0."""
    kept = ["--config=configs/v3.py", "--config.optim.moments=parent"]
    with pytest.raises(UserError, match="runs/750m/base will keep no optimizer state"):
        command.main(kept)
    capsys.readouterr()
    kept.append("--config.checkpoint.keep_optimizer=True")
    kept += ["--config.optim.warmup_steps=2", "--config.optim.peak_lr=9e-4"]
    told = re.search(
        r"^learning rate by update .*\n +1: (\S+) +2: (\S+)", said(capsys, *kept), re.M
    )
    assert told and told.groups() == ("0.0006", "0.0009")  # base ends at 3e-4


def test_a_text_that_is_not_here_yet_is_known_by_its_place(tmp_path, capsys):
    data = [f"--config.data.{role}={tmp_path}/x" for role in ("domain", "general")]
    out = said(capsys, "--config=configs/v3.py:tiny", *data)
    rows = re.findall(r"^  (?:domain|general)/x .* ([\d.]+) +([\d,]+)$", out, re.M)
    assert len(rows) == 2 and rows[0][1] == rows[1][1] != "0"


def test_length_follows_from_epochs(capsys):
    epochs = "--config.domain_epochs=2"
    out = said(capsys, "--config=configs/v8.py", epochs, "--config.optim.warmup_steps=0.05")
    # 2 x 161 M domain tokens are 80 % of the training tokens; 12 x 1024 tokens per step
    steps = round(2 * 161_000_000 / 0.8 / 12_288)
    assert re.search(rf"^  v8 +this +{steps:,} ", out, re.MULTILINE), out
    assert f"  {round(0.05 * steps):,}: 9e-05" in out
    with pytest.raises(UserError, match="both given"):
        command.main(["--config=configs/v8.py", epochs, "--config.num_steps=100"])


def test_another_optimizer_and_schedule_need_no_list_of_their_settings(guide, monkeypatch):
    guide["optim"] |= {"optimizer": "mine", "schedule": "mine", "momentum": 0.9, "twist": 2.0}
    monkeypatch.setitem(optim.OPTIMIZERS, "mine", lambda *, momentum: optax.trace(momentum))
    monkeypatch.setitem(optim.SCHEDULES, "mine", lambda *, twist: optax.constant_schedule(twist))
    size = costs.sizes(guide)
    assert size.state == 2 * size.params + 4
    assert dict(costs.learning_rates(guide))[19_000] == 2.0


def test_state_and_checkpoint_sizes(guide):
    size = costs.sizes(guide)
    assert size.parameters == 759_656_064
    assert size.params == 4 * 759_656_064
    assert size.state == pytest.approx(12 * 759_656_064, abs=100)
    need = costs.disk(guide, size, 4, 1_000_000)
    assert need["one checkpoint while training"] / 1e9 == pytest.approx(9.116, abs=0.001)
    # keep_last 2, keep_best 1, one inside the allowed forgetting, and one that is being written
    assert need["this stage at its largest"] == 5 * size.state
    assert need["the finished stages"] == 4 * 2 * size.params
    assert need["token datasets"] == 2_000_000


def test_adapters_have_moments_and_gradients_of_their_own_size(guide):
    guide["adapter"] |= {"rank": 16, "matrices": ("qkv", "down")}
    whole = costs.sizes({**guide, "adapter": {**guide["adapter"], "rank": 0}})
    size = costs.sizes(guide)
    assert (size.parameters, size.params) == (whole.parameters, whole.params)
    columns = (1280 + 3 * 1280) + (4 * 1280 + 1280)  # in and out of qkv and down
    assert size.trained == 4 * 32 * 16 * columns
    assert size.state == 3 * size.trained + 8  # AdamW counts its updates, too
    need = costs.disk(guide, size, 1, 0)
    assert need["one checkpoint while training"] == size.state
    assert need["the finished stages"] == size.params  # its last step alone has parameters
    both = [
        costs.work({**guide, "adapter": one}, 10**9, 0)
        for one in (guide["adapter"], {**guide["adapter"], "rank": 0})
    ]
    assert both[0] == pytest.approx(2 / 3 * both[1])


def test_ancestors_that_are_to_be_trained_are_planned_as_a_chain_trains_them(
    capsys, datasets, tmp_path, monkeypatch
):
    """With the overrides that reach them, and the length that follows from their domain_epochs."""
    configs = shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__py*"))
    text = (configs / "v3.py").read_text().replace("return common", "config = common")
    text = text.replace('"v3"', '"mine"') + "    config.domain_epochs = 3.0\n    return config\n"
    (configs / "mine.py").write_text(text)
    after = text.replace('stage="mine"', 'stage="after"').replace(
        'init_from="base"', 'init_from="mine"'
    )
    (configs / "after.py").write_text(after.replace("    config.domain_epochs = 3.0\n", ""))
    monkeypatch.chdir(tmp_path)
    flags = [f"--config.data.{role}={path}" for role, path in datasets.items()]
    flags += ["--config.model.block_size=64", "--config.optim.peak_lr=7e-5"]
    alone = said(capsys, "--config=configs/mine.py:tiny", *flags)
    together = said(capsys, "--config=configs/after.py:tiny", *flags)

    def steps(out: str, name: str) -> str:
        return re.search(rf"  {name} +(?:this|stage file) +([\d,]+) ", out)[1]

    assert steps(together, "mine") == steps(alone, "mine") != steps(together, "after")
    assert "7e-05" not in re.search(r"  mine +stage file.*", together)[0]
    assert re.search(r"domain/laws .* ([\d,]+)$", together, re.M)[1] != "0"  # ancestors saw


def test_a_copied_stage_file_does_not_take_the_runs_of_the_other(tmp_path, monkeypatch, capsys):
    """As in a chain: it planned, and training resumed, the other's run."""
    configs = shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__py*"))
    monkeypatch.chdir(tmp_path)
    argv = ["--config=configs/mine.py:tiny"]
    for more in ("", "    config.stage = 'mine'\n"):  # whose workdir is still the other's
        (configs / "mine.py").write_text(
            "from configs import v8\n\n\ndef get_config(size):\n"
            f"    config = v8.get_config(size)\n{more}    return config\n"
        )
        with pytest.raises(UserError, match="would go on with runs/tiny/v8, the run of v8.py: set"):
            command.main(argv)
        with pytest.raises(UserError, match="the run of v8.py"):
            sweep.main([*argv, "--seeds=2"])
    assert "runs/other" in said(capsys, *argv, "--config.workdir=runs/other")


def test_a_parent_s_file_is_found_by_where_its_run_lies(tmp_path, monkeypatch, capsys):
    """By plan, chain and comparison alike, whatever the file is called."""
    configs = shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__py*"))
    text = (configs / "v3.py").read_text()
    (configs / "elsewhere.py").write_text(
        text.replace("return common", "config = common").replace('"v3"', '"elsewhere"')
        + "    config.workdir = 'runs/out/v3b'\n    return config\n"
    )
    (configs / "mine.py").write_text(
        text.replace("return common", "config = common").replace('"v3"', '"mine"')
        + "    config.init_from = 'runs/out/v3b'\n    return config\n"
    )
    monkeypatch.chdir(tmp_path)
    out = said(capsys, "--config=configs/mine.py:tiny")
    assert re.findall(r"^  (\w+) +(?:stage file|this) ", out, re.M) == ["base", "elsewhere", "mine"]
    assert "neither a run" not in out

    def load(name: str) -> stages.Stage:
        return stages.load(name, "tiny", "runs", [])

    assert [one.name for one in chain.plan(["mine"], load)] == ["base", "elsewhere", "mine"]
    found = recipes.of_file("configs/mine.py", "tiny")
    assert [one.name for one in found.stages] == ["elsewhere", "mine"]


def test_work_by_hand(guide):
    # 4.6645e9 FLOPs x 1e9 tokens: at half of an A100's 312e12 FLOP/s 29,901 s
    got = costs.work(guide, 10**9, 0)
    assert got / (flops.CHIPS["A100"].peak * 0.5) == pytest.approx(29_901, rel=1e-3)
    assert costs.work(guide, 0, 3 * 10**9) == pytest.approx(got)


def test_evaluations_are_counted_with_both_halves_and_drift(guide):
    parts = [costs.Part(f"{role}/x", 0.5, 10**6, True, "x") for role in ("domain", "general")]
    guide |= {"num_steps": 10, "eval": {**guide["eval"], "every_steps": 5, "windows": 3}}
    window = 3 * guide["model"]["block_size"]
    for drift, passes in (("off", 10), ("end", 14), ("always", 20)):  # 3 times both, 2 the report
        guide["eval"]["drift"] = drift
        assert costs.eval_tokens(guide, parts) == passes * window
    guide["init_from"] = "scratch"
    assert costs.eval_tokens(guide, parts) == 10 * window


def test_what_is_to_do_is_summed_and_priced(capsys, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text('{"H100": 2.0}')
    out = said(capsys, "--config=configs/v8.py", f"--prices={prices}")
    assert "to do: base, v3, v7, v8;" in out
    rows = dict(re.findall(r"^  (H100|A100) .*?bfloat16 +[\d,]+ +(.+)$", out, re.M))
    this, whole, eight, price = re.split(r"  +", rows["H100"])
    hours = {
        text: float(text.split()[0]) * {"min": 1 / 60, "h": 1, "days": 24}[text.split()[1]]
        for text in (this, whole, eight)
    }
    assert hours[whole] / 8 == pytest.approx(hours[eight], rel=0.05)
    assert float(price.replace(",", "")) == pytest.approx(2 * hours[whole], rel=0.05)
    assert rows["A100"].endswith("-")
    for text, said_ in (
        ("{", "cannot be read"),
        ('{"H1": 1}', "prices of"),
        ('{"H100": 1e400}', "H100 is inf, wanted a number above 0"),
        ('{"T4": 0}', "above 0"),
    ):
        prices.write_text(text)
        with pytest.raises(UserError, match=said_):
            command.main(["--config=configs/v8.py", f"--prices={prices}"])


@pytest.mark.parametrize(
    "secs, said",
    [(0.0054, "0.0054 s"), (59, "59 s"), (90, "1.5 min"), (7200, "2.0 h"), (1e6, "11.6 d")],
)
def test_times_are_in_a_unit_that_is_read(secs, said):
    assert describe._time(secs / 3600).startswith(said)


def test_a_stage_that_its_parent_does_not_fit_is_not_planned(tmp_path):
    """Nor swept: training would refuse it."""
    parent = run_factory.write_run(tmp_path, "base", parent=None, start=(6, 5), final=(5, 5.1))
    argv = ["--config=configs/v3.py:tiny", f"--config.init_from={parent}"]
    assert command.main(argv) == 0
    for run in (command.main, sweep.main):
        more = (
            ["--grid", "model.n_layer=8,9"] if run is sweep.main else ["--config.model.n_layer=8"]
        )
        out = [f"--out_dir={tmp_path}/out"] if run is sweep.main else []
        with pytest.raises(UserError, match="model.n_layer is 8, but the parent .* has 4"):
            run([*argv, *more, *out])
    assert not (tmp_path / "out").exists()


def test_a_parent_s_earlier_step_is_what_is_planned_from(capsys, tmp_path):
    """init_from=PATH@STEP: not all that the parent made since, nor what it was itself made from."""
    for name, parent in (("base", None), ("v3", "base")):
        run_factory.write_run(tmp_path, name, parent=parent, start=(6.0, 5.0), final=(5.0, 5.1))
    step = tmp_path / "v3/checkpoints/00000010"
    step.mkdir(parents=True)
    record = json.loads((tmp_path / "v3/lineage.json").read_text())
    at_step = {"lineage": record | {"tokens_by_source": {"domain/cwe": 55}}}
    (step / "meta.json").write_text(json.dumps({"tree": {"params": {}, "rest": {}}, **at_step}))
    (tmp_path / "base/config.json").unlink()  # its child's lineage has it
    for spec, steps in ((f"{tmp_path}/v3@10", "10"), (f"{tmp_path}/v3", "20")):
        out = said(capsys, "--config=configs/v5.py:tiny", f"--config.init_from={spec}")
        assert re.search(rf"^  v3 +run +{steps} ", out, re.M), out
        assert re.search(r"^  base +run +20 ", out, re.M)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology=v9:2x2"], "v9:2x2' does not exist"),
        (["--topology=v5e:2x4x2"], "v5e:2x4x2' does not exist: v5e has 1x1, 2x2"),
        (["--topology=v4:2x2"], "v4:2x2' does not exist: v4 has three dimensions"),
        (["--topology=v6e:2x4*0"], "does not exist"),
        (["--topology=v5e"], "does not exist: wanted one like v5e:1x1"),
        (["--config.data.domain=README.md"], "README.md is a file"),
        (["--config.data.tokenizer=nope"], "nope"),
        (["--config.eval.extra=bla"], "eval.extra has 'bla'"),
        (["--config.data.domain_weights=(-1.0,)"], "no negative number"),
        (["--config.model.vocab_size=100"], "smaller than the 4097 ids of tokenizer gpt2"),
        (["--config.objective.replay=kl", "--config.data.replay_ratio=0"], "compares on replay"),
        (["--config.objective.max_forgetting=0.02"], "set objective.replay=kl"),
        (["--config.adapter.rank=4", "--config.adapter.matrices=gate"], "is \\('gate',\\), wanted"),
        (["--config.adapter.rank=4", "--config.adapter.matrices=()"], "each once"),
        (["--config.adapter.rank=129"], "more than the 128 columns"),
        (["--config.adapter.rank=4", "--config.optim.average_ratio=.5"], "set optim.average_ratio"),
        (["--search"], "--search wants --topology"),
        (["--explain"], "--explain wants --topology"),
        (["--compare", "model.remat=full"], "--compare wants --topology"),
        (["--topology=v5e:2x4", "--compare", "xla_one"], "'xla_one' is no option of the compiler"),
        (["--topology=v5e:2x4", "--compare", "xla_a=1+b=2"], "'b=2' is no option of the compiler"),
        (["--json"], "--json wants --explain"),
        (["--topology=v5e:2x2", "--search", "--explain"], "--search is a command of its own"),
        (["--utilisation=40"], "wanted a share in"),
        (["--config.optim.peak_rl=1"], "did you mean --config.optim.peak_lr"),
        (["--config.batch_size=many"], "batch_size is 'many', wanted a whole number like 16"),
        (["--config.optim.peak_lr=nan"], "wanted a finite number"),
        (["stray"], "unknown argument stray"),
        (["--grad_clip=1"], "did you mean --config.optim.clip_norm"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        command.main(["--config=configs/v8.py:tiny", *arguments])
    assert "\n" not in str(caught.value)


def test_overrides_are_read_as_training_reads_them(capsys, tmp_path):
    (tmp_path / "flags").write_text("--config.seed=0x10\n--config.data.general_weights=1\n")
    out = said(
        capsys,
        "--config=configs/v8.py:tiny",
        f"--flagfile={tmp_path / 'flags'}",
        "--config.num_steps",
        "0x40",
        "--config.guard.skip_spikes",
        "--noconfig.data.allow_change",
    )
    assert re.search(r"v8 +this +64 ", out)


def test_a_missing_libtpu_names_the_requirements(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install -r requirements-tpu.txt"):
        asked.topology("v5e:2x4")


@pytest.mark.parametrize(
    ("batch", "cheapest", "compilations"),
    # 11, 19 and 25 windows on each of 4 chips fit with light, dots and full.
    [(40, "light", 5), (60, "dots", 6), (96, "full", 6), (160, None, 6)],
)
def test_search_finds_the_largest_batch(monkeypatch, guide, batch, cheapest, compilations):
    """Against a memory model in place of the compiler: 10, 6, 3 GiB + 0.5 per window, 15.75."""
    fixed = {"light": 10.0, "dots": 6.0, "full": 3.0}
    monkeypatch.setattr(topology, "devices", lambda name: [None] * 4)

    def attempt(config, name, *, eot):
        remat, batch = config["model"]["remat"], config["batch_size"]
        peak = (fixed[remat] + 0.5 * batch / 4) * GIB
        verdict = "fits" if peak <= 15.75 * GIB else "does not fit"
        return topology.Memory(
            remat, batch, 4, (1, 4, 1), 15.75, 0, 0, 0, round(peak), 1.0, verdict
        )

    monkeypatch.setattr(topology, "attempt", attempt)
    rows = topology.search(guide | {"batch_size": batch}, "v5e:2x2", eot=0)
    assert max(row.batch_size for row in rows if row.fits) == 100
    assert len(rows) <= compilations
    advice = topology.advice(guide | {"batch_size": batch}, rows)
    want = f"batch {batch} fits with remat={cheapest}" if cheapest else "accumulation_steps=2 or"
    assert "largest batch: 100 with remat=full" in advice and want in advice


def test_a_program_that_does_not_fit_says_what_it_needs():
    message = "RESOURCE_EXHAUSTED: Used 17.98G of 15.75G hbm. Exceeded hbm capacity by 2.23G."
    assert topology._needed(message) == round(17.98 * GIB)
    message = "memory required for HLO temporaries (39.76G) exceeds available HBM (15.75G)."
    assert topology._needed(message) == round(39.76 * GIB)
    assert topology._needed("RESOURCE_EXHAUSTED: something else") == 0


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_compared_without_effect_is_said(more, monkeypatch, capsys):
    from mypt_jax.plan import explain, topology

    for name in ("prepare", "devices", "check_options"):
        monkeypatch.setattr(topology, name, lambda *_, **__: None)
    monkeypatch.setattr(asked, "topology", lambda *_: None)
    for name in ("explain", "lines", "as_json"):
        monkeypatch.setattr(explain, name, lambda *_, **__: [])
    argv = ["--config=configs/v8.py:tiny", "--topology=v5e:2x2", "--explain", *more]
    assert command.main([*argv, "--compare", "adapter.alpha=4", "batch_size=4"]) == 0
    out, err = capsys.readouterr()
    said = "warning: adapter.alpha has no effect with adapter.rank=0 (--compare adapter.alpha=4)"
    assert said in (err if more else out) and "batch_size has" not in out + err


def test_a_teacher_reads_as_many_rows_as_in_training(small, tmp_path):
    """Windows of several sources come in another order than those of two roles: it was 1."""
    conftest.build_dataset(tmp_path / "general", dict.fromkeys("abcde", 60))
    config = tree.plain(v8.get_config("tiny").to_dict())
    config["data"] |= {"domain": (small["data.domain"],), "general": (str(tmp_path / "general"),)}
    config["data"] |= {"general_weights": (), "replay_ratio": 0.1}
    config["objective"]["replay"], config["batch_size"] = "kl", 8
    mixed = stage_data.open_data(config)[0]
    sources = [step.Source(one.role, one.share) for one in mixed.components]
    rows = step._rows(config, sources, sharding.make_mesh((1, 1, 1), jax.devices()[:1]))
    assert costs.teacher_rows(config) == (rows.replay, 8) == (2, 8)


def test_a_teacher_is_counted(capsys):
    """Memory, FLOPs and the padding of its rows: 3 of 12 windows at most, for a fifth."""
    argv = ["--config=configs/v8.py:750m"]
    assert command.main(argv) == 0
    without = capsys.readouterr().out
    assert command.main([*argv, "--config.objective.replay=kl"]) == 0
    taught = capsys.readouterr().out
    assert (
        "the teacher reads 3 of 12 windows a pass (25.0%, replay is 20.0%), +8.3% FLOPs" in taught
    )
    assert "teacher" in taught and "teacher" not in without
    assert command.main([*argv, "--config.adapter.rank=8"]) == 0
    plain, more, fewer = (
        float(re.search(r"^([\d.e+]+) FLOPs for", text, re.M)[1])
        for text in (without, taught, capsys.readouterr().out)
    )
    assert (more / plain, fewer / plain) == pytest.approx((13 / 12, 2 / 3), rel=5e-3)


def test_a_teacher_that_adapters_are_added_to_is_held_once(capsys):
    """The parent, also where it is named as the base that it is."""
    adapters = ("--config.adapter.rank=8", "--config.objective.replay=kl")
    for stage, more, is_there in (
        ("adapt", [], False),
        ("v8", [], True),
        ("v8", ["--config.objective.teacher=parent"], False),
    ):
        out = said(capsys, f"--config=configs/{stage}.py:tiny", *adapters, *more)
        assert bool(re.search(r"^  teacher  ", out, re.M)) == is_there, (stage, more)


def test_updates_are_timed_here(capsys, monkeypatch):
    from mypt_jax.plan import here

    monkeypatch.setattr(here, "_SECS", 0.0)
    small = [f"--config.model.{key}=16" for key in ("n_embd", "block_size")]
    small += ["--config.model.n_layer=1", "--config.model.n_head=1", "--config.batch_size=2"]
    for more in ([], ["--config.adapter.rank=2"]):
        out = said(capsys, "--config=configs/adapt.py:tiny", *small, *more, "--here")
        found = r"here \(\d+ x \w+\): [\d.e-]+ s an update of 32 tokens, [\d,]+ tokens/s"
        assert re.search(found, out)
    with pytest.raises(UserError, match="leave --topology and --json out"):
        command.main(["--config=configs/v8.py:tiny", "--here", "--topology=v5e:2x4"])

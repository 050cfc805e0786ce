"""The stage files: the guide's numbers, sizes, and the argument behind the colon."""

import math
from pathlib import Path

import pytest

from configs import base, base_llama, common, v3, v5, v7, v8
from mypt_jax.plan import costs

GUIDE = {  # peak_lr, num_steps, warmup_steps, replay_ratio, parent
    base: (3e-4, 128_000, 2000, 1.0, "scratch"),
    v3: (3e-5, 44_760, 1790, 0.30, "runs/750m/base"),
    v5: (5e-5, 44_760, 1790, 0.20, "runs/750m/v3"),
    v7: (7e-5, 38_000, 1790, 0.20, "runs/750m/v3"),
    v8: (9e-5, 19_000, 380, 0.20, "runs/750m/v7"),
}


@pytest.mark.parametrize("stage", GUIDE, ids=lambda m: m.__name__)
def test_the_guides_numbers(stage):
    config = stage.get_config()
    found = (
        config.optim.peak_lr,
        config.num_steps,
        config.optim.warmup_steps,
        config.data.replay_ratio,
        config.init_from,
    )
    assert found == GUIDE[stage]
    model = config.model
    assert (model.n_layer, model.n_embd, model.n_head, model.block_size) == (32, 1280, 20, 1024)
    assert (model.dropout, config.batch_size, config.optim.weight_decay) == (0.1, 12, 0.1)
    assert (config.optim.beta1, config.optim.beta2, config.optim.clip_norm) == (0.9, 0.95, 1.0)
    assert (config.eval.every_steps, config.eval.windows) == (2000, 1800)
    assert config.data.general_weights == (50.0, 40.0, 3.0, 2.0, 5.0)
    assert len(config.data.general) == 5


def test_the_later_architecture():
    config, plain = base_llama.get_config(), base.get_config()
    model = config.model
    assert (model.position, model.rope_theta, model.norm, model.norm_eps) == (
        "rope",
        10_000.0,
        "rmsnorm",
        1e-6,
    )
    assert (model.mlp, model.activation, model.mlp_width) == ("gated", "silu", 0)
    assert model.tied_embeddings and not model.mlp_bias
    assert (config.optim.schedule, config.optim.final_lr_ratio) == ("cosine", 0.1)
    # 8 parts of base's batch, the same tokens, base's rate.
    assert (config.batch_size, config.accumulation_steps) == (96, 8)
    assert config.num_steps * config.batch_size == plain.num_steps * plain.batch_size
    assert config.optim.peak_lr == plain.optim.peak_lr
    assert costs.sizes(config.to_dict()).parameters == 698_911_104


def test_the_tiny_chain_is_small_enough():
    configs = [stage.get_config("tiny") for stage in GUIDE]
    tokens = sum(c.num_steps * c.batch_size * c.model.block_size for c in configs)
    assert tokens <= 1_200_000
    assert all(c.optim.warmup_steps >= 1 for c in configs)


@pytest.mark.parametrize("size", common.SIZES)
@pytest.mark.parametrize("stage", GUIDE, ids=lambda m: m.__name__)
def test_every_stage_has_every_size_and_a_parent_beside_it(stage, size):
    config = stage.get_config(size)
    name = stage.__name__.rpartition(".")[2]
    assert config.workdir == f"runs/{size}/{name}"
    if name != "base":
        parent = Path(config.init_from)
        assert parent.parent == Path(f"runs/{size}")
        assert (Path(common.__file__).parent / f"{parent.name}.py").exists()


def test_a_larger_batch_keeps_the_tokens():
    small, large = v8.get_config("750m"), v8.get_config("750m,batch=96")
    tokens = [c.num_steps * c.batch_size for c in (small, large)]
    assert tokens[1] == pytest.approx(tokens[0], rel=1e-3)
    assert large.optim.peak_lr == pytest.approx(9e-5 * math.sqrt(8), rel=1e-5)
    assert large.eval.every_steps == 250 and large.optim.warmup_steps == 48
    plain = v8.get_config("750m,batch=96,lr_scaling=none")
    assert plain.optim.peak_lr == 9e-5 and plain.num_steps == large.num_steps


@pytest.mark.parametrize(
    "argument", ["huge", "tiny,batch=0", "tiny,batches=3", "tiny,lr_scaling=x"]
)
def test_an_unknown_argument_names_what_is_allowed(argument):
    with pytest.raises(ValueError, match="tiny, 150m, 350m, 750m|batch=N"):
        v8.get_config(argument)


def test_a_run_directory_gives_architecture_tokenizer_and_parent(tmp_path):
    run = tmp_path / "gpt2"
    run.mkdir()
    config = base.get_config("tiny").to_dict()
    config["model"]["tied_embeddings"], config["size"] = True, "gpt2"
    import json

    (run / "config.json").write_text(json.dumps(config))
    stage = v3.get_config(str(run))
    assert stage.model.tied_embeddings and stage.model.n_layer == 4
    assert stage.data.tokenizer == "gpt2-4096"
    assert stage.init_from == str(run) and stage.workdir == str(run / "v3")
    assert stage.optim.peak_lr == 3e-5 and stage.size == "gpt2"
    assert stage.data.general_weights == (), "one's own general directory needs no weights"
    assert v5.get_config(str(run)).init_from == str(run / "v3")
    (run / "config.json").write_text(json.dumps({**config, "size": "tiny"}))
    small = v3.get_config(str(run))  # a run of one of our sizes keeps its steps and rates
    assert (small.optim.peak_lr, small.num_steps) == (3e-4, v3.get_config("tiny").num_steps)


def test_only_base_starts_from_scratch():
    folder = Path(common.__file__).parent
    for path in folder.glob("*.py"):
        if "get_config" in path.read_text() and '"scratch"' in path.read_text():
            assert path.name.startswith("base"), path

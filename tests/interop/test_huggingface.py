"""Hugging Face models in and out: random small models against transformers itself."""

import json
import shutil

import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from conftest import SMALL, build_dataset, train
from flax import nnx
from model_factory import quick  # noqa: F401

from data_pipeline import errors
from data_pipeline.tokens import shards
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax import continuation, generate
from mypt_jax.checkpoint import save as checkpointer
from mypt_jax.interop import hf_tokenizer, huggingface
from mypt_jax.model import sampling
from mypt_jax.report import command
from mypt_jax.runs import lineage, own_tokenizer
from tests import run_factory

torch = pytest.importorskip("torch")
huggingface_hub = pytest.importorskip("huggingface_hub")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns about itself

END_OF_TURN = 4097
VOCAB = 4160  # more than gpt2-4096 has, and no multiple of 128: it must stay as it is
LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
    "max_position_embeddings": 64,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GPT2 = {"vocab_size": VOCAB, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
# The shapes of well-known models, scaled down: ratios of heads, ties, biases and rope are theirs.
MODELS = {
    "gpt2": (transformers.GPT2Config, GPT2),
    "gpt2 untied, erf": (
        transformers.GPT2Config,
        {**GPT2, "tie_word_embeddings": False, "activation_function": "gelu", "n_inner": 72},
    ),
    "smollm2-135m": (
        transformers.LlamaConfig,
        {**LLAMA, "tie_word_embeddings": True, "rope_theta": 1e5, "rms_norm_eps": 1e-5},
    ),
    "tinyllama": (transformers.LlamaConfig, {**LLAMA, "num_key_value_heads": 1}),
    "llama with biases": (
        transformers.LlamaConfig,
        {**LLAMA, "attention_bias": True, "mlp_bias": True},
    ),
    "llama-3.2-1b": (
        transformers.LlamaConfig,
        {**LLAMA, "tie_word_embeddings": True, "rope_theta": 5e5, "rope_scaling": LLAMA3_ROPE},
    ),
    "mistral": (transformers.MistralConfig, {**LLAMA, "sliding_window": 4096}),
    "mistral-nemo": (transformers.MistralConfig, {**LLAMA, "head_dim": 16}),
    "qwen3-0.6b": (
        transformers.Qwen3Config,
        {**LLAMA, "head_dim": 16, "tie_word_embeddings": True, "rope_theta": 1e6},
    ),
    "olmo2": (transformers.Olmo2Config, {**LLAMA, "rope_theta": 5e5}),
    "qwen2.5-0.5b": (
        transformers.Qwen2Config,
        {**LLAMA, "tie_word_embeddings": True, "rope_theta": 1e6},
    ),
}


def save(path, name, *, dtype=torch.float32, **changes):
    """A random model of that shape in a folder with the tokenizer gpt2-4096; returns the model."""
    kind, settings = MODELS[name]
    config = kind(**settings, bos_token_id=4096, eos_token_id=[4096, END_OF_TURN], pad_token_id=7)
    torch.manual_seed(0)
    reference = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in reference.parameters():  # norms and biases too, so that none can be lost
        parameter.data += 0.2 * torch.randn(parameter.shape)
    reference.to(dtype).save_pretrained(path)
    hf_tokenizer.write(tokenizers.get("gpt2-4096"), path, block_size=64, own="")
    file = path / "tokenizer.json"
    content = json.loads(file.read_text())
    turn = {**content["added_tokens"][0], "id": END_OF_TURN, "content": "<|im_end|>"}
    file.write_text(json.dumps({**content, "added_tokens": [*content["added_tokens"], turn]}))
    (path / "chat_template.jinja").write_text("{{ messages }}")
    if changes:
        written = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**written, **changes}))
    return reference.float()


def logits_of(reference, rows):
    with torch.no_grad():
        return reference(torch.from_numpy(rows).long()).logits.numpy()


def check_greedy(made, reference, prompt):
    greedy = sampling.Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)
    made.vocab_size, made.eot, made.stops = VOCAB, -1, ()  # compare every id, never stop
    got = made.generate([prompt], max_new_tokens=16, sampling=greedy, seed=0).tokens[0]
    want = reference.generate(
        torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=None
    )
    assert got == want[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(tmp_path, name):
    """Import, compare, export, load with transformers, compare, and all weights bit for bit."""
    reference = save(tmp_path / "in", name)
    run = str(tmp_path / "base")
    assert huggingface.main(["import", str(tmp_path / "in"), run]) == 0
    made, tokenizer = continuation.load(run)
    assert tokenizer.name == f"hf:{run}/tokenizer" and tokenizer.eot == 4096
    assert made.gpt.config.vocab_size == VOCAB
    rows = factory.tokens((2, 64), vocab_size=VOCAB)
    want = logits_of(reference, rows)
    assert np.abs(np.asarray(factory.logits(made.gpt, rows)) - want).max() < 1e-4
    check_greedy(made, reference, rows[0, :5].tolist())

    assert huggingface.main(["export", run, str(tmp_path / "out")]) == 0
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert type(again) is type(reference)
    assert np.abs(logits_of(again, rows) - want).max() < 1e-4
    before, after = reference.state_dict(), again.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert loaded.chat_template == "{{ messages }}" and tokenizer.stops == (END_OF_TURN,)
    for ids in (again.config, again.generation_config):
        assert (ids.bos_token_id, ids.pad_token_id) == (4096, 7)
        assert ids.eos_token_id == [4096, END_OF_TURN]
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1
    assert loaded("A buffer overflow").input_ids == tokenizer.encode("A buffer overflow").tolist()


def test_bfloat16_weights_and_parts(tmp_path):
    reference = save(tmp_path / "in", "tinyllama", dtype=torch.bfloat16)
    reference.bfloat16().save_pretrained(tmp_path / "in", max_shard_size="50KB")
    (tmp_path / "in" / "model.safetensors").unlink()
    assert len(list((tmp_path / "in").glob("model-*.safetensors"))) > 1
    # Read again in fp32: casting the module to bf16 also rounded its rotary frequencies.
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "in", dtype=torch.float32
    ).eval()
    run = str(tmp_path / "base")
    huggingface.main(["import", str(tmp_path / "in"), run])
    rows = factory.tokens((1, 32), vocab_size=VOCAB)
    got = np.asarray(factory.logits(continuation.load(run)[0].gpt, rows))
    assert np.abs(got - logits_of(reference, rows)).max() < 1e-4
    huggingface.main(["export", run, str(tmp_path / "out"), "--dtype=bf16"])
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    for key, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


@pytest.mark.full
def test_an_imported_base_is_specialised_reported_and_taken_away(tmp_path, compile_cache, capsys):
    """As the README shows it: no phase 1, the same stage file, architecture and tokenizer kept."""
    save(tmp_path / "in", "qwen2.5-0.5b")
    run = tmp_path / "base"
    huggingface.main(["import", str(tmp_path / "in"), str(run)])
    own = {"vocabulary": f"hf:{run}/tokenizer"}
    changes = {key: value for key, value in SMALL.items() if not key.startswith("model.")}
    changes |= {
        "data.domain": build_dataset(tmp_path / "domain", {"manuals": 60}, **own),
        "data.general": build_dataset(tmp_path / "general", {"encyclopedia": 60}, **own),
        "compile_cache": compile_cache,
        "optim.peak_lr": 1e-3,
    }
    done = train(f"configs/v3.py:{run}", changes)
    assert done.returncode == 0, done.stderr
    losses = json.loads((run / "v3" / "finished.json").read_text())["eval"]
    first = json.loads((run / "v3" / "metrics.jsonl").read_text().splitlines()[0])
    assert losses["domain"] < first["eval/domain/loss"]

    assert command.main([str(run)]) == 0
    assert "| v3 | base |" in capsys.readouterr().out
    assert huggingface.main(["export", str(run / "v3"), str(tmp_path / "out")]) == 0
    taken = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert type(taken) is transformers.Qwen2ForCausalLM
    rows = factory.tokens((2, 64), vocab_size=VOCAB)
    made = continuation.load(str(run / "v3"))[0]
    assert np.abs(logits_of(taken, rows) - np.asarray(factory.logits(made.gpt, rows))).max() < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| base | imported | - |" in card and "imported from `in`" in card
    assert "| v3 | 12 | 0.001 | 0.30 |" in card


def write_run(path, data=None, head_bias_V=None, **changes):
    """A finished run of our default architecture, head bias and all, with a lineage."""
    shape = {"vocab_size": 4224, "block_size": 32, "n_layer": 2, **changes}
    gpt = factory.randomized(**shape)
    if head_bias_V is not None:
        gpt.head.bias[...] = jnp.asarray(head_bias_V, jnp.float32)
    vocabulary = tokenizers.get("gpt2-4096")
    config = run_factory.config(
        stage="v3",
        num_steps=86,
        batch_size=16,
        optim={"peak_lr": 3e-4},
        model={**factory.ORIGINAL, **shape, "attention": "auto", "compute_dtype": "auto"},
        data={"tokenizer": vocabulary.name, "replay_ratio": 0.3, **(data or {})},
    )
    source = {**run_factory.SOURCES["domain/cwe"], "licence": "MIT"}
    record = lineage.new(
        config=config,
        run_id="test",
        created="2026-01-01T00:00:00+00:00",
        data={"sources": {"domain/manuals": source}},
        tokenizer={"name": vocabulary.name, "sha256": vocabulary.sha256},
    )
    record["tokens_by_source"] = {"domain/manuals": 1234, "general/encyclopedia": 766}
    params = nnx.to_pure_dict(nnx.state(gpt, nnx.Param))
    checkpointer.write_finished_run(str(path), params, config, record)
    return gpt


def test_the_default_model_is_exact_with_its_own_modelling_file(tmp_path, capsys):
    gpt = write_run(tmp_path / "v3")
    flags = ["export", str(tmp_path / "v3"), str(tmp_path / "out"), "--keep_head_bias"]
    assert huggingface.main(flags) == 0
    assert "trust_remote_code=True" in capsys.readouterr().out
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", trust_remote_code=True
    ).eval()
    rows = factory.tokens((2, 32), vocab_size=4096)
    assert np.abs(logits_of(again, rows) - np.asarray(factory.logits(gpt, rows))).max() < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| v3 | 0 | 0.0003 | 0.30 |" in card
    assert "| domain/manuals | 1,234 | MIT |" in card
    assert "gpt2-4096, SHA-256" in card
    assert json.loads((tmp_path / "out" / "config.json").read_text())["n_ctx"] == 32

    assert huggingface.main(["import", str(tmp_path / "out"), str(tmp_path / "again")]) == 0
    made, tokenizer = continuation.load(str(tmp_path / "again"))
    assert tokenizer.name == "gpt2-4096"
    assert np.array_equal(factory.logits(made.gpt, rows), factory.logits(gpt, rows))


def test_a_run_that_was_moved_is_used_from_anywhere(tmp_path, monkeypatch, capsys):
    """Also by what was started from it, when the folder that it came from is gone."""
    save(tmp_path / "in", "tinyllama", max_position_embeddings=4096)
    monkeypatch.chdir(tmp_path)
    huggingface.main(["import", "in", "base"])
    assert "Its context of 4,096 tokens is cut to 2,048. --block_size=N" in capsys.readouterr().out
    own_tokenizer.keep("child", "hf:base/tokenizer", parent="base")
    for name in ("config.json", "lineage.json", "finished.json", "checkpoints"):
        (tmp_path / "base" / name).rename(tmp_path / "child" / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "child").rename(tmp_path / "elsewhere" / "run")
    shutil.rmtree(tmp_path / "base")
    shutil.rmtree(tmp_path / "in")
    monkeypatch.chdir("/")
    run = str(tmp_path / "elsewhere" / "run")
    assert generate.main([f"--run={run}", "--prompt=word", "--max_new_tokens=2"]) == 0
    assert huggingface.main(["export", run, str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Its context of 4,096 tokens is cut to 2,048." in out
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == 2048
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages }}"


def test_a_head_bias_that_cannot_be_folded_wants_force(tmp_path, datasets, capsys):
    """A bias that is the log frequency of every token: both losses are said, nothing written."""
    general = shards.open_dataset(datasets["general"])
    counts = np.zeros(4224)
    for source in general.sources.values():
        stream = source.stream("train")
        counts += np.bincount(stream[0 : len(stream)], minlength=4224)
    write_run(
        tmp_path / "v3",
        data={role: [path] for role, path in datasets.items()},
        head_bias_V=np.log(counts + 1),
    )
    flags = ["export", str(tmp_path / "v3"), str(tmp_path / "out")]
    assert errors.run(lambda: huggingface.main(flags)) == errors.BAD_INPUT
    shown = capsys.readouterr().err
    assert "without it the loss rises by" in shown and "--keep_head_bias" in shown
    assert "domain loss" in shown and "general loss" in shown
    assert not (tmp_path / "out").exists()

    assert huggingface.main([*flags, "--force"]) == 0
    said = "Head bias folded into the last norm's: domain loss"
    assert said in capsys.readouterr().out and said in (tmp_path / "out/README.md").read_text()
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(again) is transformers.GPT2LMHeadModel


def test_a_head_bias_that_can_be_folded_is_and_the_export_loads_everywhere(
    tmp_path, datasets, capsys
):
    """Without --force, without code of ours: the model's own answers, and a card the Hub takes."""
    bias_V = np.random.default_rng(0).normal(0, 0.1, 32) @ np.asarray(
        write_run(tmp_path / "unused").head.kernel[...]
    )
    gpt = write_run(
        tmp_path / "v3",
        data={role: [path] for role, path in datasets.items()},
        head_bias_V=bias_V + 0.5,
    )
    assert huggingface.export([str(tmp_path / "v3"), str(tmp_path / "out")]) == 0
    assert "general loss" in capsys.readouterr().out
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert type(again) is transformers.GPT2LMHeadModel
    rows = factory.tokens((2, 32), vocab_size=4096)

    def centred(logits):
        return logits - logits.mean(-1, keepdims=True)

    ours = centred(np.asarray(factory.logits(gpt, rows)))
    assert np.abs(centred(logits_of(again, rows)) - ours).max() < 1e-3
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    inputs = tokenizer("Once", return_tensors="pt")
    assert again.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] >= 2
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["n_ctx"] == config["n_positions"] and "auto_map" not in config
    head = huggingface_hub.ModelCard((tmp_path / "out/README.md").read_text()).data
    assert (head.license, head.pipeline_tag, head.library_name) == (
        "mit", "text-generation", "transformers",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba', an unknown architecture"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"head_dim": 16}, "self_attn.q_proj.weight is (48, 48), its config wants (96, 48)"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight (48,) is missing"),
        ({"num_hidden_layers": 1}, "model.layers.1"),
        ({"intermediate_size": 81}, "is (80, 48), its config wants (81, 48)"),
        ({"vocab_size": 4000}, "bos_token_id is 4096, wanted ids below 4000"),
    ],
)
def test_refused_models(tmp_path, capsys, changes, message):
    save(tmp_path / "in", "tinyllama", **changes)
    refused(tmp_path, capsys, message)


def refused(tmp_path, capsys, message):
    capsys.readouterr()
    flags = ["import", str(tmp_path / "in"), str(tmp_path / "base")]
    assert errors.run(lambda: huggingface.main(flags)) == errors.BAD_INPUT
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "base").exists()


def test_refused_files(tmp_path, capsys):
    save(tmp_path / "in", "gpt2")
    (tmp_path / "in" / "model.safetensors").write_bytes(b"0" * 100)
    refused(tmp_path, capsys, "cannot be read as safetensors")
    (tmp_path / "in" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "in" / "pytorch_model.bin")
    refused(tmp_path, capsys, "are never run")
    (tmp_path / "in" / "tokenizer.json").unlink()
    refused(tmp_path, capsys, "holds no tokenizer.json")


def test_gpt2s_own_tokenizer_is_recognised(tmp_path):
    hf_tokenizer.write(tokenizers.get("gpt2"), tmp_path, block_size=64, own="")
    assert hf_tokenizer.recognise(str(tmp_path)) == "gpt2"
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "Überlauf: naïve  café\n\tif (x<3) {\u4f60\u597d} 12345 don't"
    assert loaded(text).input_ids == tokenizers.get("gpt2").encode(text).tolist()
    assert loaded.eos_token_id == tokenizers.get("gpt2").eot

"""What the progress line shows of a row, and what is measured of the steps."""

import types

import pytest

from mypt_jax.monitor import metrics, timing

ROW = {
    "step": 40,
    "loss": 4.1234,
    "lr": 3e-4,
    "tokens_per_sec": 80_000.0,
    "device_tokens_per_sec": 10_000.0,
    "mfu": 0.412,
    "device_memory_bytes": 3 * 2**30,
    "step_secs": 0.5,
    "step_p50_secs": 0.49,
    "step_p95_secs": 0.75,
    "input_wait_share": 0.02,
}


def test_the_progress_line_shows_speed_memory_and_waiting():
    text = metrics._text(ROW, 80)
    for part in (
        "step 40/80  loss 4.1234",
        "80,000 tok/s  10,000 tok/s/device  MFU 41.2%  3.0 GiB",
        "p50/p95 0.49/0.75 s  input wait 2%  ETA 0:00:20",
    ):
        assert part in text, text


def test_one_device_of_unknown_peak_shows_what_is_known():
    row = {k: v for k, v in ROW.items() if k not in ("mfu", "device_memory_bytes")}
    text = metrics._text(row | {"device_tokens_per_sec": 80_000.0, "input_wait_share": 0.0}, 80)
    for word in ("device", "MFU", "GiB", "wait"):
        assert word not in text


def test_figures_are_those_of_the_steps_since_the_last_row(monkeypatch):
    clock = iter([0.0, 0.0, 0.5, 1.0, 3.0, 10.0, 11.0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(clock))
    device = types.SimpleNamespace(
        device_kind="TPU v5 lite", memory_stats=lambda: {"peak_bytes_in_use": 5}
    )
    mesh = types.SimpleNamespace(
        size=2,
        local_devices=[device],
        devices=types.SimpleNamespace(flat=[device, device]),
    )
    model = dict(n_embd=8, n_head=2, n_kv_head=0, head_size=0, n_layer=1, mlp="plain", mlp_width=0)
    model |= dict(vocab_size=16, block_size=4)
    watch = timing.Timing()
    with watch.waiting():
        pass
    watch.after_step(1, {})  # 1 s
    watch.after_step(1, {})  # 2 s
    found = watch.figures(30, mesh, model)
    assert (found["tokens_per_sec"], found["device_tokens_per_sec"]) == (20.0, 10.0)
    assert (found["step_p50_secs"], found["step_p95_secs"]) == (1.5, 2.0)
    assert found["input_wait_share"] == pytest.approx(0.5 / 3)
    assert found["device_memory_bytes"] == 5 and 0 < found["mfu"] < 1
    with watch.pause():
        pass  # an evaluation until 10 s does not count
    watch.after_step(1, {})
    assert watch.figures(30, mesh, model)["step_secs"] == 1.0

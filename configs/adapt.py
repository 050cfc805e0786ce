"""adapt: one stage from base, in place of the guide's chain: what learns most for what it forgets.

Replayed windows are not learned again but keep the base's words: KL(base || model), weighed three
times (docs/adaptation.md says why, and when cross-entropy is better). The rate is the chain's
highest, held for half of the run and then let fall to nothing, so that no later stage is needed to
settle; the steps are those of v3 and v8 less a fifth. Measured in docs/adaptation.md (:tiny, three
seeds): domain -1.63 and general +.105 nats/token against the base, where the chain in as many steps
has -1.51 and +.323; on its line at the chain's domain loss, general +.056.

    python -m mypt_jax.main --config=configs/adapt.py
    python -m mypt_jax.main --config=configs/adapt.py:tiny          # CPU, about a minute
    python -m mypt_jax.main --config=configs/adapt.py:runs/gpt2     # from a run of one's own
"""

from configs import base, common


def get_config(arg: str = common.DEFAULT_ARGUMENT):
    config = common.domain_stage(
        base.get_config(arg),
        arg,
        stage="adapt",
        init_from="base",
        replay_ratio=0.20,
        peak_lr=9e-5,
        num_steps=50_000,  # at tiny 96
        warmup_steps=1_000,
    )
    config.objective.replay = "kl"
    config.optim.schedule = "wsd"
    config.optim.decay_ratio = 0.5
    config.optim.final_lr_ratio = 0.0
    return config

"""v5: balanced. Continues v3 with less replay: domain knowledge for a general-purpose model.

Source: MyPT domain adaptation guide, "Run v5". There, after 44,000 steps: eval/domain 3.709,
eval/general 2.214 (-26 % and -1 % against base).

    python -m mypt_jax.main --config=configs/v5.py
    python -m mypt_jax.main --config=configs/v5.py:tiny          # CPU, about a minute
"""

from configs import base, common


def get_config(arg: str = common.DEFAULT_ARGUMENT):
    return common.domain_stage(
        base.get_config(arg),
        arg,
        stage="v5",
        init_from="v3",
        replay_ratio=0.20,
        peak_lr=5e-5,
        num_steps=44_760,
        warmup_steps=1_790,
    )

"""v7: domain expert. Continues v3 at a higher learning rate than v5.

Source: MyPT domain adaptation guide, "Run v7". There, after 38,000 steps: eval/domain 3.460,
eval/general 2.290 (-31 % and +3 % against base).

    python -m mypt_jax.main --config=configs/v7.py
    python -m mypt_jax.main --config=configs/v7.py:tiny          # CPU, about a minute
"""

from configs import base, common


def get_config(arg: str = common.DEFAULT_ARGUMENT):
    return common.domain_stage(
        base.get_config(arg),
        arg,
        stage="v7",
        init_from="v3",
        replay_ratio=0.20,
        peak_lr=7e-5,
        num_steps=38_000,
        warmup_steps=1_790,
    )

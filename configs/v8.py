"""v8: maximum domain. Continues v7 at the highest learning rate.

Source: MyPT domain adaptation guide, "Run v8". There, after 19,000 steps: eval/domain 3.257,
eval/general 2.360 (-35 % and +6 % against base; domain perplexity 26.1). The guide's command
leaves the warmup at 1,790; its run table says 380, which wins.

    python -m mypt_jax.main --config=configs/v8.py
    python -m mypt_jax.main --config=configs/v8.py:tiny          # CPU, about a minute
"""

from configs import base, common


def get_config(arg: str = common.DEFAULT_ARGUMENT):
    return common.domain_stage(
        base.get_config(arg),
        arg,
        stage="v8",
        init_from="v7",
        replay_ratio=0.20,
        peak_lr=9e-5,
        num_steps=19_000,
        warmup_steps=380,
    )

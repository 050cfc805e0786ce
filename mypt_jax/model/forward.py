"""A GPT with its parameters, ready to be applied to windows; inside jit."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from mypt_jax.distributed import sharding
from mypt_jax.model import attention, gpt, loss


class Forward(NamedTuple):
    """Axes: B batch, L length, D n_embd."""

    gpt: gpt.GPT
    mesh: Mesh
    eot: int

    @property
    def head(self) -> loss.Head:
        return self.gpt.head_weights()

    @property
    def num_chunks(self) -> int:
        """Parts in which losses are computed: model.loss_chunks."""
        return self.gpt.config.loss_chunks

    @property
    def loss_mesh(self) -> Mesh | None:
        """The devices that compute the losses of their own rows, None where XLA splits them."""
        return self.mesh if self.gpt.config.gather_weights else None

    def hidden(
        self,
        inputs_BL: jax.Array,
        *,
        dropout_key: jax.Array | None = None,
        dropout_B: jax.Array | None = None,
    ) -> jax.Array:
        """hidden_BLD after the final norm, with the document mask that the model was built with.

        No dropout without a key or with a rate of 0; with `dropout_B` in those rows alone.
        """
        config = self.gpt.config
        masked = config.document_mask
        return self.gpt(
            inputs_BL,
            dropout_key=dropout_key if config.dropout else None,
            dropout_B=dropout_B,
            segments_BL=attention.segments_from_eot(inputs_BL, self.eot) if masked else None,
            constrain=sharding.constrain_to(self.mesh),
            mesh=self.mesh,
        )


def binder(graphdef: nnx.GraphDef, *, mesh: Mesh, eot: int) -> Callable[[Mapping], Forward]:
    """A function from parameters to the model that has them."""

    def bind(params: Mapping) -> Forward:
        return Forward(nnx.merge(graphdef, nnx.State(params)), mesh, eot)

    return bind

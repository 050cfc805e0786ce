"""The frozen parameters that an objective compares with: found, recorded, loaded."""

from mypt_jax.checkpoint import restore
from mypt_jax.schema.validation import Teacher
from mypt_jax.train import step


def load(program: step.Program, teacher: Teacher | None) -> dict:
    """Parameters of a verified step, placed like the student's, in the dtype of the products; {}
    where the objective has no teacher.

    Raises NoValidState when the step fails its manifest, UserError when its shapes differ.
    """
    if teacher is None:
        return {}
    return restore.restore_params(
        teacher.path, teacher.step, program.abstract_teacher, allow_cast=True
    )

"""Puts an exported folder into a repository of the Hugging Face Hub, through huggingface_hub."""

from data_pipeline.errors import UserError
from mypt_jax.interop import choices


def _library():
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UserError(
            "--push needs huggingface_hub: pip install -r requirements-interop.txt"
        ) from None
    return huggingface_hub


def check_names(**options: str) -> None:
    """Raises UserError for names that the Hub cannot have, by the options that say them: before
    anything is made."""
    for option, value in options.items():
        if value and not choices.HUB_NAME.fullmatch(value):
            raise UserError(f"--{option}={value}: wanted a name of the Hub, as USER/MODEL")


def check_login() -> None:
    """Raises UserError where nobody is logged in: before anything is made."""
    if not _library().get_token():
        raise UserError("--push: nobody is logged in; run hf auth login, or set HF_TOKEN")


def push(directory: str, name: str, *, private: bool) -> str:
    """Makes the repository where there is none, and uploads all files in one commit; returns where
    they are. Raises UserError with the Hub's own reason."""
    library = _library()
    api = library.HfApi(library_name="mypt_jax")
    try:
        made = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id, folder_path=directory, commit_message="Exported by mypt_jax"
        )
    except (library.errors.HfHubHTTPError, ValueError, OSError) as error:
        raise UserError(f"--push={name}: {' '.join(str(error).split())}") from None
    return str(made)

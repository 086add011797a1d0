"""The export to a model repository of the hub, by huggingface_hub's public interface."""

from collections.abc import Mapping
from pathlib import Path

from scaling.limits import printable
from scaling.redact import redacted
from scaling.store_errors import StoreError


class PushFailed(RuntimeError):
    """The export is made, the hub did not take it; one line without anything secret."""


def refuse_push(repo: str) -> None:
    """Raises StoreError on a name that the hub has not, and where nobody is logged in: told before anything is made."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise StoreError(f"--push {repo}: no repository; write OWNER/NAME with letters, digits, -, _ and .") from None
    if get_token() is None:
        raise StoreError("--push: no token of the hub; run `hf auth login`, or set HF_TOKEN, then repeat")


def push(folder: Path, files: Mapping[str, bytes], repo: str, *, private: bool) -> str:
    """Uploads exactly these files of the folder as one commit; returns its address. Raises PushFailed.

    private: a repository that exists and is public is refused instead of being written to.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="model", private=private or None, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="model").private:
            raise PushFailed(f"{repo} exists and is public; nothing was uploaded: make it private, or name another one")
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
        made = api.create_commit(repo, operations, commit_message="Add the exported model", repo_type="model")
        return made.commit_url
    except PushFailed:
        raise
    except Exception as error:  # beside its own, those of its HTTP library, another one from version to version
        line = printable(redacted(" ".join(str(error).split())) or type(error).__name__)
        raise PushFailed(f"{repo}: not uploaded ({line}); {folder} is made: repeat the command to try again") from None

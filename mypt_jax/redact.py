"""Keeps secrets out of what a run writes and prints.

A key is secret by whole words (`hf_token`, `api_key`, `password`; not `tokens`, not `tokenizer`),
a URL by its user information (https://user:password@host).
"""

import re
from collections.abc import Mapping

MASK = "[redacted]"
_WORDS = {"token", "secret", "secrets", "password", "passwd", "credential", "credentials", "apikey"}
_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("auth", "key")}
_USER_INFO = re.compile(r"(?<=://)[^/@\s\"']+(?=@)")
# "nats/token: .." is a unit and no secret.
_ASSIGNED = re.compile(
    r"((?<!nats/)(?<![\w.\-])[\w.\-]+)([\"']?\s*[=:](?!//)\s*)([\"']?)([^\s\"',;)]+)"
)
_SHORTEST = 6  # characters; shorter values would be found everywhere
_known: set[str] = set()  # values of secret keys that were seen


def is_secret(key: str) -> bool:
    """Whether a key names a secret: "hf_token", "wandbApiKey", "db.password"."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
    words = re.split(r"[^a-z0-9]+", parts)
    return bool(_WORDS & set(words)) or any(
        pair in _PAIRS for pair in zip(words, words[1:], strict=False)
    )


def learn(values: Mapping) -> None:
    """Remembers the values of secret keys, so that `text` finds them anywhere."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            learn(value)
        elif is_secret(key) and isinstance(value, str) and len(value) >= _SHORTEST:
            _known.add(value)


def tree(value, key: str = ""):
    """A copy of JSON-able data with secrets masked."""
    if isinstance(value, Mapping):
        return {name: tree(entry, str(name)) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [tree(entry, key) for entry in value]
    if is_secret(key) and isinstance(value, str) and value:
        return MASK
    return text(value) if isinstance(value, str) else value


def text(line: str) -> str:
    """A line with user information, known secrets and `secret_key=value` masked."""
    for secret in sorted(_known, key=len, reverse=True):
        line = line.replace(secret, MASK)
    line = _USER_INFO.sub(MASK, line)
    return _ASSIGNED.sub(
        lambda m: f"{m[1]}{m[2]}{m[3]}{MASK}" if is_secret(m[1].split(".")[-1]) else m[0], line
    )

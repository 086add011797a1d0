"""Keys and passwords taken out of what is printed or kept: libraries quote in their errors what they were given."""

import os
import re

HIDDEN = "[hidden]"
NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)  # of environment variables
SHORTEST = 8  # characters of a value that is looked for: "1" or "true" are no secrets
USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE)
HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
NAMED = re.compile(
    r"((?:api[ _-]?key|token|password|secret|bearer|authorization)(?:['\"]?\s*(?:is|[=:]))?\s*['\"]?)[^\s'\"&,;]{16,}",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without user names and passwords of URLs, hub tokens, what is called a key, and this environment's."""
    text = NAMED.sub(rf"\1{HIDDEN}", HUB_TOKEN.sub(HIDDEN, USERINFO.sub(rf"\1{HIDDEN}@", text)))
    for name, value in os.environ.items():
        if NAMES.search(name) and len(value.strip()) >= SHORTEST:
            text = text.replace(value.strip(), HIDDEN)
    return text

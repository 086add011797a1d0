"""The one error of an audit."""

from scaling.limits import printable
from scaling.redact import redacted


class AuditError(ValueError):
    """One line for the user: what was given, which value, why it cannot be audited, what to do."""

    def __init__(self, message: str):
        super().__init__(printable(redacted(message)))

"""What can go wrong, by who must act.

GridsealError
├── Rejected        the sender: this message, reading or request will never be taken as it is
├── Unavailable     the caller: the same call may succeed after `retry_after_s`
├── ProofInvalid    whoever relies on the proof: what it claims does not hold
└── Stop            the operator: going on could make two truths; the process stops and says why
"""


class GridsealError(Exception):
    """Base of all errors that Gridseal raises on purpose."""


class Rejected(GridsealError):
    """The sender must act; the input is refused and costs nothing else.

    code: kebab-case, listed in docs/spec/limits-and-codes.md; field: the element or member at
    fault; line: 1-based line in the raw message, None where there is none; clause: the standard
    and clause that the input breaks; text: one sentence. None of them quotes an identity.
    """

    def __init__(
        self, code: str, text: str, *, field: str = "", line: int | None = None, clause: str = ""
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.field = field
        self.line = line
        self.clause = clause


class Unavailable(GridsealError):
    """The caller may try the same again after `retry_after_s` seconds."""

    def __init__(self, text: str, *, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class ProofInvalid(GridsealError):
    """A proof does not show what it claims; `code` names the check that failed."""

    def __init__(self, text: str, *, code: str = "proof-invalid") -> None:
        super().__init__(text)
        self.code = code


class Stop(GridsealError):
    """The operator must act: state on disk, chain or bus contradicts what was promised."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text

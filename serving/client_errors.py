"""What can go wrong between a client and a model server: no answer, or an answer that is no."""

from cetnet_keras.errors import WorkFailed
from serving.status import Code


class Unreachable(WorkFailed):
    """Nothing answers at the target, or what answers cannot serve just now (UNAVAILABLE)."""


class TimedOut(Unreachable):
    """No answer before the deadline, neither to the first attempt nor to those after it."""


class BadAnswer(WorkFailed):
    """The answer cannot be read: it is not a model server's, or not that of the signature."""


class Refused(WorkFailed):
    """The server answered with a code other than OK, UNAVAILABLE and DEADLINE_EXCEEDED.

    Args:
        target: host:port asked.
        code: canonical code, e.g. NOT_FOUND for a model that is not served.
        message: the server's own words.
        served: the model that the server has; only `cetnet serve` tells, and only beside NOT_FOUND.
    """

    def __init__(self, target: str, code: Code, message: str, served: str | None = None) -> None:
        super().__init__(f"{target} answered {code.name}: {_first_line(message)}")
        self.code, self.message, self.served = code, message, served


def failure(
    target: str, protocol: str, code: Code, message: str, served: str | None = None
) -> Unreachable | Refused:
    """The error for an answer's code; the arguments are those of `Refused`, and `protocol` is for the message."""
    if code == Code.UNAVAILABLE:
        reason = _first_line(message)
        return Unreachable(f"{target} cannot be reached over {protocol} ({reason}); is the server there?")
    if code == Code.DEADLINE_EXCEEDED:
        return TimedOut(f"{target} did not answer in time: {_first_line(message)}")
    return Refused(target, code, message, served)


def _first_line(message: str) -> str:
    return message.partition("\n")[0]

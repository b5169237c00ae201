"""What can go wrong between a client and a model server: no answer, or an answer that is no."""

from cetnet_keras.errors import WorkFailed
from serving.status import Code


class Unreachable(WorkFailed):
    """Nothing answered at the target, or not in time."""


class Refused(WorkFailed):
    """The server answered with a code other than OK.

    Args:
        target: host:port asked.
        code: canonical code, e.g. NOT_FOUND for a model that is not served.
        message: the server's own words.
        served: the model that the server has; only `cetnet serve` tells, and only beside NOT_FOUND.
    """

    def __init__(self, target: str, code: Code, message: str, served: str | None = None) -> None:
        super().__init__(f"{target} answered {code.name}: {message.partition(chr(10))[0]}")
        self.code, self.message, self.served = code, message, served

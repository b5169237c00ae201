"""What can go wrong, by whose turn it is to act. The library raises; only the command line knows exit codes."""


class InputError(Exception):
    """The call or the input is wrong. The message names file, row or key, what was found and what to do."""


class WorkFailed(Exception):
    """The input was sound and the work did not succeed all the same: a step crashed, a port was taken."""


class GateRefused(Exception):
    """A gate said no, to the data or to the model: nothing is pushed."""

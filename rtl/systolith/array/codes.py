"""Outcomes of a command."""

from enum import IntEnum

__all__ = ["Code"]


class Code(IntEnum):
    """Outcome of a command. Any code but ``OK`` means that the command had no effect at all."""

    OK = 0
    BAD_GROUP = 1
    BAD_SHAPE = 2
    X_RANGE = 3
    W_RANGE = 4
    Y_RANGE = 5
    BUSY = 6
    BAD_FORMAT = 7

    @property
    def meaning(self) -> str:
        """What went wrong, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Code.OK: "every result of the command is visible in the accumulators",
    Code.BAD_GROUP: "the group is larger than the array or not aligned to its own size",
    Code.BAD_SHAPE: "a count is zero, or k_last or n_last exceeds the group",
    Code.X_RANGE: "x_base + k_tiles * m exceeds the activation banks",
    Code.W_RANGE: "w_base + k_tiles * n_tiles * r exceeds the weight banks",
    Code.Y_RANGE: "y_base + n_tiles * m exceeds the accumulator banks",
    Code.BUSY: "idle_only is set and a band of the group has work of a group of another shape",
    Code.BAD_FORMAT: "the pair of formats is not enabled or its blocks are lower than a band, or "
    "n_inside is set though a block takes several tiles",
}

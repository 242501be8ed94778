"""Parts of an engine's configuration beside its array."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two

__all__ = ["ControlConfig", "MemoryConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MemoryConfig:
    """Words in each memory bank of the engine.

    Parameters
    ----------
    x_depth
        Words of ``tile`` activations per (row tile, column band).
    w_depth
        Words of ``tile`` weights per (row band, column tile).
    y_depth
        Words of ``tile`` int32 accumulators per (row band, column tile).
    latency
        Read latency in cycles: 2 uses the memory's output register.
    """

    x_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    w_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    y_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    latency: Annotated[int, Field(strict=True, ge=1, le=2)] = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ControlConfig:
    """Queues of the engine.

    Parameters
    ----------
    queue_depth
        Commands that wait in the queue of one group (of its leading band).
    outstanding
        Commands that are accepted and not yet reported as complete, over all groups.
    tag_width
        Bits of the host's tag, returned in the completion.
    """

    queue_depth: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    outstanding: Annotated[int, Field(strict=True, ge=2, le=64)] = 16
    tag_width: Annotated[int, Field(strict=True, ge=1, le=32)] = 8

    @model_validator(mode="after")
    def _check(self) -> "ControlConfig":
        power_of_two(self, "queue_depth", "outstanding")
        return self

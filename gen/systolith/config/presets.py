"""Named configurations."""

from dataclasses import dataclass, replace

from systolith.array.config import (
    ArrayConfig,
    ControlConfig,
    EngineConfig,
    FormatsConfig,
    MemoryConfig,
)

__all__ = [
    "PRESETS",
    "Preset",
    "asic128",
    "demo8",
    "demo8_fp4",
    "demo16",
    "demo16_mx",
    "demo16_plain",
    "tiny",
]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A configuration with its purpose.

    Parameters
    ----------
    config
        The engine.
    purpose
        What it is for, in one line.
    """

    config: EngineConfig
    purpose: str


tiny = EngineConfig(
    name="tiny",
    array=ArrayConfig(rows=4, cols=4, row_bands=2, col_bands=2, tile=2),
    memory=MemoryConfig(x_depth=64, w_depth=32, y_depth=32, latency=1),
    control=ControlConfig(queue_depth=1, outstanding=2, tag_width=2),
)

demo8 = EngineConfig(
    name="demo8",
    array=ArrayConfig(rows=8, cols=8, row_bands=2, col_bands=2, tile=4, mac_latency=2),
    memory=MemoryConfig(x_depth=2048, w_depth=2048, y_depth=512),
    control=ControlConfig(queue_depth=4, outstanding=8),
)

demo16 = EngineConfig(
    name="demo16",
    array=ArrayConfig(rows=16, cols=16, row_bands=4, col_bands=2, tile=4),
    memory=MemoryConfig(x_depth=4096, w_depth=1024, y_depth=1024),
)

demo16_plain = replace(
    demo16,
    name="demo16_plain",
    array=replace(demo16.array, row_bands=1, col_bands=1),
    memory=replace(demo16.memory, x_depth=1024, w_depth=4096),
)

demo8_fp4 = replace(
    demo8,
    name="demo8_fp4",
    array=replace(demo8.array, formats=FormatsConfig(acts=("e2m1",), weights=("e2m1",))),
)

demo16_mx = replace(
    demo16,
    name="demo16_mx",
    array=replace(
        demo16.array, formats=FormatsConfig(acts=("int8", "e4m3"), weights=("int8", "e2m1"))
    ),
)

asic128 = EngineConfig(
    name="asic128",
    array=ArrayConfig(rows=128, cols=128, row_bands=16, col_bands=4, tile=8),
    memory=MemoryConfig(x_depth=2048, w_depth=2048, y_depth=1024),
)

PRESETS: dict[str, Preset] = {
    "tiny": Preset(config=tiny, purpose="smallest array that splits both ways; iCE40 UP5K"),
    "demo8": Preset(config=demo8, purpose="ECP5-85F with sequencers and memories"),
    "demo16": Preset(config=demo16, purpose="the main job: four row bands, two column bands"),
    "demo16-plain": Preset(
        config=demo16_plain, purpose="the same array unsplit, one weight port: the baseline"
    ),
    "demo8-fp4": Preset(config=demo8_fp4, purpose="demo8 for MXFP4: 4-bit floats, block scales"),
    "demo16-mx": Preset(
        config=demo16_mx, purpose="demo16 for INT8 and for MXFP4 weights with MXFP8 activations"
    ),
    "asic128": Preset(config=asic128, purpose="128 x 128 for an ASIC flow: 64 bands"),
}

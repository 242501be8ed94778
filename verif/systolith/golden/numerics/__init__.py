"""The numerics of the array, bit for bit, in numpy. The contract itself is docs/numerics.md."""

from systolith.golden.numerics.bounds import error_bound
from systolith.golden.numerics.decode import decode
from systolith.golden.numerics.encode import encode
from systolith.golden.numerics.lfsr import element_index, random_bits
from systolith.golden.numerics.matmul import Segment, matmul, matmul_segments
from systolith.golden.numerics.quantiser import dequantize, quantize
from systolith.golden.numerics.scales import tensor_scale
from systolith.golden.numerics.spec import (
    BLACKWELL,
    BLACKWELL_FP4,
    HOPPER,
    HOPPER_PROMOTED,
    AccSpec,
    FusedSpec,
)

__all__ = [
    "BLACKWELL",
    "BLACKWELL_FP4",
    "HOPPER",
    "HOPPER_PROMOTED",
    "AccSpec",
    "FusedSpec",
    "Segment",
    "decode",
    "dequantize",
    "element_index",
    "encode",
    "error_bound",
    "matmul",
    "matmul_segments",
    "quantize",
    "random_bits",
    "tensor_scale",
]

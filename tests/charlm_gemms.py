"""Weight GEMMs of the character LLM: name, K, N."""

__all__ = ["GEMMS"]

GEMMS = [
    ("layers.0.qkv", 128, 256),
    ("layers.0.o", 128, 128),
    ("layers.0.gate_up", 128, 512),
    ("layers.0.down", 256, 128),
    ("layers.1.qkv", 128, 256),
    ("layers.1.o", 128, 128),
    ("layers.1.gate_up", 128, 512),
    ("layers.1.down", 256, 128),
    ("lm_head", 128, 96),
]

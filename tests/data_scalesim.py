"""Total cycles printed by SCALE-Sim v3.0.0 (PyPI ``scalesim`` 3.0.0, MIT licence).

Run with its default ``scale.cfg`` but for array size and dataflow (64 kB SRAMs, CALC bandwidth:
no stalls). ``TOTALS[gemm][side]`` holds weight-, output- and input-stationary totals of a
side x side array; gemm is (M, N, K).
"""

__all__ = ["TOTALS"]

TOTALS: dict[tuple[int, int, int], dict[int, tuple[int, int, int]]] = {
    (64, 64, 64): {16: (1759, 1503, 1759), 32: (631, 503, 631)},
    (8, 128, 64): {16: (1727, 751, 695), 32: (815, 503, 443)},
    (100, 50, 70): {16: (2919, 2799, 3359), 32: (1163, 1055, 1727)},
    (1, 64, 64): {16: (751, 375, 439), 32: (379, 251, 315)},
    (16, 16, 16): {16: (61, 45, 61), 32: (109, 77, 109)},
    (1, 1, 1): {16: (46, 30, 46), 32: (94, 62, 94)},
}

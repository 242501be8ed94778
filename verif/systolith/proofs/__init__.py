"""Formal proofs of the splittable array on geometries that really split."""

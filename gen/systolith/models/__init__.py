"""Real models to run on the chip: a trained character LLM, its numpy reference and its GEMMs."""

"""GEMMs to commands and placements."""

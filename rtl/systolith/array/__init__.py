"""The splittable array and its matrix engine."""

"""Load tests: an open-model driver, the proof that no instance downloads twice, and the report."""

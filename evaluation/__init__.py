"""Log adapters for public data sets and prequential evaluation of the worker's own pipeline."""

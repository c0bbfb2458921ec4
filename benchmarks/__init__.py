"""The measured figures: `python -m benchmarks` prints the table that stands in the README."""

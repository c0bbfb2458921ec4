"""The measured figures: `python -m benchmarks` writes the table of docs/explanation/performance.md."""

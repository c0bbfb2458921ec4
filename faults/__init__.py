"""Real faults of a hub under load, judged by the delivery checker: `python -m faults`."""

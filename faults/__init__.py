"""What the hub survives: real faults under load, judged by the delivery checker. `python -m faults`"""

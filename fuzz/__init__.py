"""
Fault F28: what parses text from outside, against any bytes.

Each target is a file with `SEEDS`, inputs to begin with, and `check`, which raises `AssertionError` if a
rule is broken, and whatever a parser should not raise. `make test` tries a few hundred inputs of each
with Hypothesis; `make fuzz` lets atheris look for inputs that reach new code.
"""

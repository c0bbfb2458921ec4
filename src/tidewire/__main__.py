"""`python -m tidewire` is `tidewire`."""

from .cli import main

main()

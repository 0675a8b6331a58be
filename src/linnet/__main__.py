"""`python -m linnet`, and what torchrun starts on every node."""

from linnet.cli import main

main()

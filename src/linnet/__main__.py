"""The command `linnet`, `python -m linnet`, and what torchrun starts on every node."""

from linnet.interruption import end_at_once_if_interrupted


def main() -> None:
    """Import the commands, which takes a while, and run the one that was asked for."""
    end_at_once_if_interrupted()
    from linnet.cli import main

    main()


if __name__ == "__main__":
    main()

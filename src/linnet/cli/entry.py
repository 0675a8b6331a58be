"""All commands together, and the one boundary at which errors become messages and exit statuses."""

from collections.abc import Callable, Sequence

import typer

from linnet.cli import commands, stages
from linnet.errors import error_boundary
from linnet.interruption import INTERRUPTED, MESSAGE, raise_if_interrupted
from linnet.progress import log

PIPELINE, BESIDE = "The pipeline, in its order", "Beside the pipeline"
COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    PIPELINE: (
        *(stages.ingest, stages.preprocess, stages.train, stages.sample, stages.restore, stages.evaluate),
        *(stages.register, stages.retrain, stages.train_shared, stages.train_node),
    ),
    BESIDE: (
        *(commands.check, commands.describe, commands.generate, commands.repair, commands.report, commands.results),
        *(commands.promote, commands.clean, commands.to_caltech, commands.ui),
    ),
}

app = typer.Typer(
    help="Train diffusion models on your own images and recordings: ingest, preprocess, train, sample, restore, "
    "evaluate, register.\n\n"
    "A recipe (TOML) says what to make; options say where. Every command can be stopped and repeated.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for panel, functions in COMMANDS.items():
    for function in functions:
        app.command(rich_help_panel=panel)(function)


def main() -> None:
    """The command `linnet`."""
    run_command(app, if_interrupted=MESSAGE)


def run_command(command: typer.Typer, arguments: Sequence[str] | None = None, *, if_interrupted: str = "") -> None:
    """Run a command line; mistakes and interruptions become one message, without a traceback, and an exit status."""
    raise_if_interrupted()
    with error_boundary(_tell):
        try:
            command(arguments)
        except SystemExit as done:  # typer's way out, for good and for bad
            if done.code == INTERRUPTED and if_interrupted:
                _tell(if_interrupted)
            raise


def _tell(message: str) -> None:
    for line in message.splitlines():
        log(f"linnet: {line}")

"""`python -m pipelines.cluster_check`: what this cluster has of what a run needs; it changes nothing there."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from linnet.cli import run_command
from pipelines import connection as to
from pipelines.cluster_check.row import Row, Verdict

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

COLORS: dict[Verdict, str] = {"ok": "green", "advice": "yellow", "missing": "red", "not known": "cyan"}


@app.command()
def cluster_check(
    cluster: to.ClusterProfile = "",
    image: to.Image = "",
    host: to.Host = "",
    namespace: to.Namespace = "",
    token_env: to.TokenEnv = to.TOKEN_VARIABLE,
    kfp_namespace: Annotated[
        str, typer.Option(metavar="NS", help="Where Kubeflow Pipelines and its Argo are installed.")
    ] = "kubeflow",
    service_account: Annotated[
        str,
        typer.Option(metavar="NAME", help="As whom tasks run; left out: default-editor or pipeline-runner, if there."),
    ] = "",
) -> None:
    """Say in a table what a cluster has of what a run needs, before anything is spent; exit status 1 if it lacks some.

    Kubernetes is asked with your own kubeconfig (KUBECONFIG), Kubeflow Pipelines at KFP_HOST, the registry without a
    login. Nothing is changed: all questions are readings, dry runs and access reviews. What you may not see is "not
    known", which is no failure; "advice" is what works and loses something. Each row names its remedy.
    """
    os.environ |= {"LINNET_CLUSTER": cluster} if cluster else {}
    os.environ |= {"LINNET_IMAGE": image} if image else {}  # read when the profile is imported
    from pipelines.cluster_check.questions import ask_all
    from pipelines.clusters.profile import load_cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TLS without verification, which a kubeconfig may ask for
        rows = list(
            ask_all(
                load_cluster(cluster or None),
                image=image,
                host=host,
                namespace=namespace,
                token_env=token_env,
                kfp_namespace=kfp_namespace,
                service_account=service_account,
            )
        )
    _print(rows)
    if any(row.verdict == "missing" for row in rows):
        raise typer.Exit(1)


def _print(rows: Sequence[Row]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("component", "what was found", "verdict", "remedy", show_lines=True)
    for row in rows:
        verdict = Text(row.verdict, style=COLORS[row.verdict], no_wrap=True)
        table.add_row(Text(row.component), Text(row.found), verdict, Text(row.remedy))  # no markup: [gpu] is a section
    console.print(table, highlight=False)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in COLORS}
    console.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count), highlight=False)


if __name__ == "__main__":
    run_command(app)

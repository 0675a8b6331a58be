"""`python -m pipelines.package`: the training pipeline as a file, and as a version for Kubeflow's page."""

import hashlib
from pathlib import Path
from typing import Annotated

import kfp.client
import typer

from linnet.artifacts import git_commit
from linnet.cli import run_command
from pipelines import connection as to
from pipelines.clusters.profile import DEFAULT_PROFILE

PIPELINE = "linnet-training"
DEFAULT_OUT = Path("build/pipeline") / f"{PIPELINE}.yaml"
DESCRIPTION = (
    "From a source of data and a recipe to a scored model in the registry. Its recipes are those of the image."
)

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def package(
    out: Annotated[Path, typer.Option(help="Where the file goes.")] = DEFAULT_OUT,
    upload: Annotated[
        bool,
        typer.Option(
            "--upload",
            help="Also upload it: a version of the pipeline linnet-training, named by commit, profile and a hash.",
        ),
    ] = False,
    image: to.Image = "",
    cluster: to.ClusterProfile = DEFAULT_PROFILE,
    host: to.Host = "",
    namespace: to.Namespace = "",
    token_env: to.TokenEnv = to.TOKEN_VARIABLE,
) -> None:
    """Compile the pipeline for an image and a cluster's profile; once uploaded, Kubeflow's page starts runs of it."""
    connection = to.read_connection(host, namespace, "", token_env) if upload else None
    with to.compiled(image, cluster) as compiled:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(compiled.read_text(encoding="utf-8"), encoding="utf-8")
    print(out)
    if connection is not None:
        with to.connected(connection) as client, to.without_kfps_links():
            version = f"{git_commit()[:12]} {Path(cluster).stem} {hashlib.sha256(out.read_bytes()).hexdigest()[:8]}"
            link = to.ui_link(connection, "pipelines", _upload(client, out, version))
        print(f"version  {version}\nlink     {link}")


def _upload(client: kfp.client.Client, path: Path, version: str) -> str:
    """The pipeline's id, with the file as its newest version; one of that name is left as it is."""
    pipeline_id = client.get_pipeline_id(PIPELINE)
    if pipeline_id is None:
        pipeline_id = client.upload_pipeline(str(path), PIPELINE, DESCRIPTION).pipeline_id
    known = client.list_pipeline_versions(pipeline_id, page_size=100).pipeline_versions or []
    if version not in {each.display_name for each in known}:
        client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
    return str(pipeline_id)


if __name__ == "__main__":
    run_command(app)

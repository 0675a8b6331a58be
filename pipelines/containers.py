"""kfp.local's DockerRunner, made to report failures: over docker, or over podman's socket (DOCKER_HOST).

kfp 2.17 starts task containers with auto_remove and takes "already gone" for exit status 0, so that a failed task can
be reported as a success (kubeflow/pipelines#13332), and it pulls whatever is not one of the engine's tags letter for
letter. Here a container is removed only after its status was read, and an image is pulled only if it is not there.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linnet.errors import LinnetError, first_line

SHARED_MEMORY = "2g"


class ContainerEngineError(LinnetError):
    """There is no container engine, or it has not the image."""


def prepare(environment: dict[str, str], *, mounts: Sequence[Path], network: str) -> None:
    """Have kfp run every task's container with `environment` and `mounts`, as this user.

    Raises:
        ContainerEngineError: no engine answers.
    """
    import docker
    from kfp.local import docker_task_handler

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as reason:
        raise ContainerEngineError(
            f"no container engine answers ({first_line(reason)}); start docker, or point DOCKER_HOST at "
            "podman's socket (systemctl --user start podman.socket)"
        ) from None
    common = environment | {"HOME": "/tmp"}  # noqa: S108  this user has no home in there; linnet.account names it
    binds = {str(path): {"bind": str(path), "mode": "rw"} for path in mounts}

    def run_docker_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **more: Any) -> int:
        more["environment"] = common | dict(more.get("environment") or {})
        more |= {"user": f"{os.getuid()}:{os.getgid()}", "network_mode": network, "shm_size": SHARED_MEMORY}
        return _run(client, _local_image(client, image), command, binds | volumes, more)

    docker_task_handler.run_docker_container = run_docker_container


def _local_image(client: Any, image: str) -> str:
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except docker.errors.APIError as reason:
            raise ContainerEngineError(
                f"image {image} is not here ({first_line(reason)}); build it with `make image`"
            ) from None
    return image


def _run(client: Any, image: str, command: list[str], volumes: dict[str, Any], more: dict[str, Any]) -> int:
    import docker

    try:
        container = client.containers.create(image=image, command=command, volumes=volumes, **more)
        try:
            container.start()
            for line in container.logs(stream=True, follow=True):
                print(line.decode(errors="replace"), end="")
            return int(container.wait()["StatusCode"])
        finally:
            container.remove(force=True, v=True)
    except docker.errors.APIError as reason:
        raise ContainerEngineError(f"the container engine did not run a task ({first_line(reason)})") from None

# The one image of linnet: every task of the pipeline, every node of a TrainJob, and the MLflow server run in it.
#   make image                        CUDA (runs on CPUs too)
#   make image ACCELERATOR=cpu        PyTorch's smaller CPU build
# Layers go from what changes seldom and is large to what changes often and is small.
FROM python:3.11-slim

ARG UV_VERSION=0.13.8
ENV UV_SYSTEM_PYTHON=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NATIVE_TLS=1 \
    PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The builder's own package index and certificates, which stay secret: nothing of them is in the image.
RUN --mount=type=secret,id=package_index --mount=type=secret,id=package_certificates \
    [ ! -f /run/secrets/package_index ] || . /run/secrets/package_index; \
    pip install --no-cache-dir --root-user-action=ignore uv==${UV_VERSION}

# PyTorch and CUDA: gigabytes that change once a quarter. The CPU build has the same version, from PyTorch's own index,
# whose files have other hashes than the lock's.
ARG ACCELERATOR=cuda
COPY deploy/image/torch.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=package_index --mount=type=secret,id=package_certificates \
    [ ! -f /run/secrets/package_index ] || . /run/secrets/package_index; \
    case "${ACCELERATOR}" in \
      cuda) uv pip install --requirement /tmp/torch.lock ;; \
      cpu) uv pip install --torch-backend cpu $(grep -oE '^torch(audio|vision)?==[0-9.]+' /tmp/torch.lock) ;; \
      *) echo "ACCELERATOR=${ACCELERATOR}: give cuda or cpu" >&2; exit 1 ;; \
    esac

COPY deploy/image/linnet.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=package_index --mount=type=secret,id=package_certificates \
    [ ! -f /run/secrets/package_index ] || . /run/secrets/package_index; \
    uv pip install --no-deps --requirement /tmp/linnet.lock

# git, for `linnet ingest --source dvc:...`; after the Python layers, because on a base image that brings certificates of
# its own the package system puts Debian's in their place.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 --user-group linnet
WORKDIR /home/linnet

COPY pyproject.toml README.md LICENSE /opt/linnet/
COPY src /opt/linnet/src
RUN uv pip install --offline --no-cache --no-deps --no-build-isolation /opt/linnet
COPY recipes /home/linnet/recipes

ARG GIT_COMMIT=unknown
ENV LINNET_GIT_COMMIT=${GIT_COMMIT} GIT_PYTHON_REFRESH=quiet \
    DVC_NO_ANALYTICS=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true HF_HUB_DISABLE_TELEMETRY=true
LABEL org.opencontainers.image.title=linnet org.opencontainers.image.revision=${GIT_COMMIT}
USER 1000:1000
CMD ["linnet", "--help"]

#!/usr/bin/env bash
# Build the image with docker or podman; write its id to build/image.id, and with PUSH its digest in build/image.ref.
# ENGINE=docker|podman  ACCELERATOR=cuda|cpu  PUSH=registry/linnet  (see `make image`)
set -euo pipefail
cd "$(dirname "$0")/../.."
engine=${ENGINE:-docker}
if ! command -v "$engine" >/dev/null; then
  echo "make image: there is no $engine here; install docker with BuildKit, or podman 4 or newer and give ENGINE=podman" >&2
  exit 1
fi
if ! DOCKER_BUILDKIT=1 "$engine" build --help 2>&1 | grep -q -- --secret; then
  echo "make image: $engine cannot hand secrets to a build (docker 23 or newer: install the package docker-buildx-plugin, before that BuildKit is built in; podman: 4 or newer)" >&2
  exit 1
fi
commit=${LINNET_GIT_COMMIT:-$(git rev-list -1 HEAD -- src recipes requirements.lock 2>/dev/null || echo unknown)$(test -z "$(git status --porcelain -- src recipes deploy/image 2>/dev/null)" || echo +)}
mkdir -p build

# The package index and the certificates of this machine, as secrets: they stay out of the image and of its history.
python=.venv/bin/python && [ -x $python ] || python=python3
index=$(mktemp) && trap 'rm -f "$index"' EXIT
"$python" deploy/package_index.py --image >"$index"
secrets=(--secret "id=package_index,src=$index")
certificates=${PIP_CERT:-${SSL_CERT_FILE:-$("$python" -m pip config get global.cert 2>/dev/null || true)}}
[ -z "$certificates" ] || secrets+=(--secret "id=package_certificates,src=$certificates")

DOCKER_BUILDKIT=1 "$engine" build --build-arg ACCELERATOR="${ACCELERATOR:-cuda}" --build-arg GIT_COMMIT="$commit" "${secrets[@]}" \
  --iidfile build/image.id --tag linnet:dev .
echo "image $(cat build/image.id), $("$engine" image inspect --format '{{.Size}}' linnet:dev | awk '{printf "%.2f GB", $1 / 1e9}')"
if [ -n "${PUSH:-}" ]; then
  tag=${commit:0:12}
  case $commit in *+) tag=$tag-changed ;; esac # the tree is not the commit's
  "$engine" tag linnet:dev "$PUSH:$tag"
  "$engine" push "$PUSH:$tag"
  "$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' linnet:dev | grep -F "$PUSH@" | head -1 > build/image.ref
  echo "submit with LINNET_IMAGE=$(cat build/image.ref)"
fi

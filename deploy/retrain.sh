#!/usr/bin/env bash
# Scheduled retraining for cron and CI: pull the data, compare with the registry, reproduce, push, let the gate decide.
#   DVC_REMOTE_URL=s3://bucket/dvc MLFLOW_TRACKING_URI=https://mlflow.example.org deploy/retrain.sh birds-demo
# Ends early, with status 0, when data, recipe and code are those of a version already in the registry.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?give the name of a recipe in recipes/, such as birds-demo}
if [ -n "${CI:-}" ] && [ -z "${MLFLOW_TRACKING_URI:-}" ]; then
  echo "retrain: set MLFLOW_TRACKING_URI to a server; a registry on this machine would be gone after the job" >&2
  exit 1
fi
export DVC_NO_ANALYTICS=1 GIT_PYTHON_REFRESH=quiet

if [ -n "${DVC_REMOTE_URL:-}" ]; then
  dvc remote add --quiet --force --local --default scheduled "$DVC_REMOTE_URL"
fi
dvc pull data.dvc

status=0
linnet retrain "recipes/$name.toml" --dry-run || status=$?
case $status in
  0) ;;
  3) exit 0 ;;
  *) exit "$status" ;;
esac

dvc repro --pull "report@$name" "register@$name" # fetches from the remote what another machine has already computed
linnet register "recipes/$name.toml" # DVC does not know of the registry; finds the version again if it is there
dvc push
linnet results "build/$name"

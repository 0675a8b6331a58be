#!/usr/bin/env bash
# Build .venv/ from requirements.lock, or make the one that is there fit (`make setup`): PYTHON, UV_VERSION.
# Nothing in it that runs holds the path of this folder (uv's relocatable scripts, a relative path to src/), so that a
# workspace is moved or copied together with its .venv/ and stays whole. The mark holds the path all the same.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$(pwd -P) mark=.venv/.ready bin=.venv/bin
say() { echo "setup: $*" >&2; }

made_for=$(cat $mark 2>/dev/null || true)
if [ -z "$made_for" ]; then # an environment of an earlier linnet says it only here
  made_for=$(cat .venv/lib/python3*/site-packages/_linnet.pth 2>/dev/null | sed -n 's|^\(/.*\)/src$|\1|p' || true)
fi
if [ -n "$made_for" ] && [ "$made_for" != "$here" ]; then
  if [ "$made_for/.venv" -ef .venv ]; then # two folders share one environment by a link: it can run the code of one only
    case ${PYTHONPATH:-} in "$here/src" | "$here/src:"*) exit 0 ;; esac
    say "$here/.venv is the environment of $made_for, and runs its code: delete the link (rm .venv) and run make setup," \
      "or set PYTHONPATH=$here/src"
    exit 1
  fi
  say ".venv/ was made for $made_for; it is made to fit $here"
fi

if [ -e $bin ] && ! $bin/python -c '' 2>/dev/null; then
  say ".venv/ has no Python that runs here; it is built anew"
  rm -rf .venv/* # not the folder itself, which may be a link to another disk
fi
if [ ! -x $bin/python ]; then
  if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "PYTHON=$PYTHON is not Python 3.11 or newer; name one that is: make setup PYTHON=python3.12"
    exit 1
  fi
  "$PYTHON" -m venv .venv
fi
rm -f $mark # until all is done; as a file of its own, since a copy may be made of hard links

eval "$($bin/python deploy/package_index.py)"
$bin/python -m pip install --quiet --disable-pip-version-check uv=="$UV_VERSION"
grep -q '^relocatable = true' .venv/pyvenv.cfg ||
  $bin/uv venv --quiet --allow-existing --relocatable --python $bin/python .venv
install=("$bin/uv" pip install --python "$bin/python" --quiet ${LINNET_UV_FLAGS:-})
"${install[@]}" --compile-bytecode --requirement requirements.lock
"${install[@]}" --offline --no-deps --no-build-isolation --editable .

# What uv did not write so (pip's scripts, those of an earlier linnet), by the lines that uv writes.
run=$(sed -n 2p $bin/linnet)
for script in $bin/*; do
  case $(head -c 400 "$script" | head -n 2 | tr -d '\0') in
    *"$run"*) ;;
    '#!'*/.venv/bin/python*)
      sed -i "1s|^#!.*/bin/python[0-9.]*$|#!/bin/sh\n$run\n' '''|; 2s|^'''exec' .*|$run|" "$script"
      ;;
  esac
done
path=$(echo .venv/lib/python3*/site-packages/_linnet.pth)
rm "$path" # the folder from where this file lies; and DVC too needs a name for the user (linnet.account)
printf '%s\n' ../../../../src 'import linnet' >"$path"

above=$here
while [ "$above" != / ] && [ ! -e "$above/.git" ]; do above=$(dirname "$above"); done
if [ ! -e "$above/.git" ] && ! grep -qs no_scm .dvc/config .dvc/config.local; then
  $bin/dvc config --quiet --local core.no_scm true
  say "no git repository here: DVC does without one (core.no_scm), and the commit is given as unknown"
fi
echo "$here" >$mark

#!/usr/bin/env bash
# Writes requirements-lock-3.XX.txt, the exact versions and hashes that scripts/test.sh installs.
#
#   bash scripts/lock.sh
#
# To be run after a change to what requirements-test.txt takes in. torch, Ray and libtpu stay outside.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/lock.sh "$@"

python="$(find_python)"
[[ -x .venv-lock/bin/uv ]] || {
  "$python" -m venv .venv-lock
  .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
}
for version in 3.11 3.12 3.13; do
  # Universal: also what other platforms than this one need. No header: it would name the index.
  .venv-lock/bin/uv pip compile --quiet --upgrade --universal --python-version "$version" \
    --generate-hashes --no-header --no-annotate \
    --output-file "requirements-lock-$version.txt" requirements-test.txt
done
wc -l requirements-lock-*.txt

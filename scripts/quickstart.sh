#!/usr/bin/env bash
# From a fresh checkout to the guide's results table: installs, prepares the demo text, trains the
# five stages and `adapt` at :tiny and reports.
#
#   bash scripts/quickstart.sh [--accelerator=cpu|cuda|tpu|keep] [options of scripts/run_chain.py]
#
# keep uses the Python and the jax that are already there, without a .venv (Colab). --install_only
# ends after the installation.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/quickstart.sh "$@"

# An empty array is an unset one to the bash 3.2 of macOS, hence the ${chain[@]+...} below.
accelerator=cpu runs=runs install_only=0 chain=()
for argument in "$@"; do
  case "$argument" in
    --accelerator=cpu | --accelerator=cuda | --accelerator=tpu | --accelerator=keep)
      accelerator="${argument#*=}" ;;
    --accelerator*)
      echo "error: $argument is unknown; use --accelerator=cpu|cuda|tpu|keep" >&2
      exit 2 ;;
    --install_only) install_only=1 ;;
    --size=*)
      echo "error: the quickstart trains at --size=tiny; for $argument use scripts/run_chain.py" >&2
      exit 2 ;;
    --runs_dir=*)
      runs="${argument#*=}"
      chain+=("$argument") ;;
    *) chain+=("$argument") ;;
  esac
done

requirements=(requirements.txt requirements-demo.txt requirements-report.txt)
case "$accelerator" in
  cuda | tpu) requirements+=("requirements-$accelerator.txt") ;;
esac
if [[ "$accelerator" == keep ]]; then
  python="$(command -v python3 || command -v python)"
  # The jax that is there was made for this machine: it must not be replaced by the index's.
  "$python" -c "import jax" 2>/dev/null || {
    echo "error: --accelerator=keep needs a Python that has jax; got $python without one" >&2
    exit 2
  }
  kept="$(mktemp)"
  "$python" -m pip freeze 2>/dev/null | grep -iE '^(jax|jaxlib|libtpu|numpy)==' >"$kept" || true
  "$python" -m pip install --quiet --disable-pip-version-check --constraint "$kept" \
    -r requirements.txt -r requirements-demo.txt -r requirements-report.txt
  rm -f "$kept"
else
  make_environment .venv "$(find_python)" "${requirements[@]}"
  python=.venv/bin/python
fi
# The command mypt, from this checkout; a changed file is there at once.
command -v "$(dirname "$python")/mypt" >/dev/null ||
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
installed=$SECONDS

# Device files and the driver's tool are looked for, not devices opened: a TPU has one user at a time.
found=""
if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
  found=cuda
elif compgen -G '/dev/accel[0-9]*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
  found=tpu
fi
if [[ -n "$found" ]] && ! "$python" - "$found" <<'PYTHON'; then
import importlib.util, sys
plugins = {"cuda": ("jax_cuda12_plugin", "jax_cuda13_plugin"), "tpu": ("libtpu",)}[sys.argv[1]]
sys.exit(not any(importlib.util.find_spec(name) for name in plugins))
PYTHON
  echo "warning: this machine has an accelerator, but jax here runs on the CPU only;" \
    "use --accelerator=$found" >&2
fi

((install_only)) && exit 0

"$python" scripts/prepare_demo.py
prepared=$SECONDS

times="$(mktemp)"
trap 'rm -f "$times"' EXIT
# The guide's five stages, and the one that takes their place; --stages of the user comes later, and wins.
"$python" scripts/run_chain.py --size=tiny --times="$times" \
  --stages=base,v3,v5,v7,v8,adapt \
  ${chain[@]+"${chain[@]}"}
trained=$SECONDS

"$python" -m mypt_jax.report "$runs/tiny" --html
echo
echo "time: install $installed s, data $((prepared - installed)) s," \
  "training $((trained - prepared)) s ($(cat "$times"))," \
  "report $((SECONDS - trained)) s, total $SECONDS s"
echo "report: $runs/tiny/report.md, $runs/tiny/report.json; in a browser: $runs/tiny/report.html"

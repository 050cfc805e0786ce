#!/usr/bin/env bash
# From a fresh checkout to the guide's results table: installs, prepares the demo text, trains the
# five stages and `adapt` at :tiny and reports.
#
#   bash scripts/quickstart.sh [--accelerator=cpu|cuda|tpu|auto|keep] [options of scripts/run_chain.py]
#
# auto takes what this machine has. keep uses the Python and the jax that are already there, without a
# .venv. --install_only ends after the installation.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/quickstart.sh "$@"

# An empty array is an unset one to the bash 3.2 of macOS, hence the ${chain[@]+...} below.
accelerator=cpu runs=runs install_only=0 chain=()
for argument in "$@"; do
  case "$argument" in
    --accelerator=cpu | --accelerator=cuda | --accelerator=tpu | --accelerator=auto | \
      --accelerator=keep)
      accelerator="${argument#*=}" ;;
    --accelerator*)
      echo "error: $argument is unknown; use --accelerator=cpu|cuda|tpu|auto|keep" >&2
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

found="$(accelerator_here)"
[[ "$accelerator" == auto ]] && accelerator="$found"
requirements=(requirements.txt requirements-demo.txt requirements-report.txt)
case "$accelerator" in
  cuda | tpu) requirements+=("requirements-$accelerator.txt") ;;
esac
if [[ "$accelerator" == keep ]]; then
  python="$(command -v python3 || command -v python)"
  # The jax that is there was made for this machine: it must not be replaced by the index's.
  kept="$(mktemp)"
  trap 'rm -f "$kept"' EXIT
  wanted="$(sed -n 's/^jax>=\([0-9.]*\).*/\1/p' requirements.txt)"
  "$python" - "$wanted" "$python" "$found" >"$kept" <<'PYTHON' || exit 2
import importlib.metadata, re, sys
wanted, python, accelerator = sys.argv[1:]
versions = {}
for name in ("jax", "jaxlib", "libtpu", "numpy"):
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
found = versions.get("jax", "none")
if [int(n) for n in re.findall(r"\d+", found)[:3]] < [int(n) for n in wanted.split(".")]:
    sys.exit(
        f"error: --accelerator=keep needs jax {wanted} or newer; {python} has {found}; use "
        f"--accelerator={accelerator}, which makes an environment of its own"
    )
print("\n".join(f"{name}=={version}" for name, version in versions.items()))
PYTHON
  install_into "$python" --constraint "$kept" \
    -r requirements.txt -r requirements-demo.txt -r requirements-report.txt
else
  interpreter="$(find_python)"
  make_environment .venv "$interpreter" "${requirements[@]}"
  python=.venv/bin/python
fi
# The command mypt, from this checkout; a changed file is there at once.
command -v "$(dirname "$python")/mypt" >/dev/null ||
  install_into "$python" --no-deps --editable .
installed=$SECONDS

if [[ "$found" != cpu ]] && ! "$python" - "$found" <<'PYTHON'; then
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
trap 'rm -f "$times" "${kept:-}"' EXIT
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

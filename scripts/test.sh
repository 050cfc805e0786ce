#!/usr/bin/env bash
# Makes the environment that the tests need and runs them.
#
#   bash scripts/test.sh                      what every change must pass
#   bash scripts/test.sh --all                also what needs torch, Ray, a browser, libtpu or minutes
#   bash scripts/test.sh --gpu_programs       programs compiled for GPUs that are not here (5 GB, linux)
#   bash scripts/test.sh --python=3.12        on another interpreter
#   bash scripts/test.sh tests/test_optim.py -x    anything else goes to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/test.sh "$@"

version="" all=0 gpu_programs=0 arguments=()
for argument in "$@"; do
  case "$argument" in
    --all) all=1 ;;
    --gpu_programs) gpu_programs=1 ;;
    --python=*) version="${argument#*=}" ;;
    *) arguments+=("$argument") ;;
  esac
done

python="$(find_python "$version")"
directory=".venv-test${version:+-$version}"
requirements=("requirements-lock-$(python_version "$python").txt")
[[ -e "${requirements[0]}" ]] || requirements=(requirements-test.txt)
selection=()
if ((all)); then
  selection=(-m "")
  for file in requirements-{interop,ray,notebook,wandb,emulators,eval,tpu,office,sensitive,docs}.txt; do
    [[ -e "$file" ]] && requirements+=("$file")
  done
fi
if ((gpu_programs)); then
  # In an environment of its own: with the plugin jax looks for a GPU wherever it starts.
  directory+="-gpu"
  requirements+=(requirements-cuda.txt)
  selection=(-m "" tests/plan/test_gpu_programs.py)
fi
make_environment "$directory" "$python" "${requirements[@]}"
echo "environment: $directory, $("$directory/bin/python" --version), ready after $SECONDS s"

# An accelerator would change what the tests measure; XLA on CPU is what they were written for.
export JAX_PLATFORMS=cpu
# Two processes, each with whole files: what a file's tests share is made once.
"$directory/bin/python" -m pytest --durations=15 -n 2 --dist loadfile \
  ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"}
echo "tests: $SECONDS s with the environment"

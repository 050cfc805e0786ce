# Sourced by quickstart.sh, test.sh and what tpu_vm.sh starts: finds a Python, makes a virtual
# environment.

# help_if_asked SCRIPT ARGUMENTS...: where --help is among them, prints the comment at the head of the
# script, and exits.
help_if_asked() {
  local script="$1" argument
  shift
  for argument in "$@"; do
    case "$argument" in
      -h | --help)
        sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$script"
        exit 0 ;;
    esac
  done
}

# accelerator_here: prints cuda, tpu or cpu, as this machine has it. Device files and the driver's tool
# are looked for, not devices opened: a TPU has one user at a time.
accelerator_here() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo cuda
  elif compgen -G '/dev/accel[0-9]*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  else
    echo cpu
  fi
}

# find_python [VERSION]: prints an interpreter of that version (as 3.12), or of any from 3.11 on, that
# can make virtual environments, by itself or else by uv. Version managers leave commands on the PATH
# that do not run, so each candidate is tried.
find_python() {
  local wanted="${1:-}" candidate
  local candidates=(python3 python python3.13 python3.12 python3.11)
  [[ -n "$wanted" ]] && candidates=("python$wanted" python3 python)
  candidates+=("${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${wanted:-3.1}"*/bin/python3)
  for candidate in "${candidates[@]}"; do
    if "$candidate" - "$wanted" >/dev/null 2>&1 <<'PYTHON'; then
import ensurepip, sys, venv
version = "%d.%d" % sys.version_info[:2]
sys.exit(sys.version_info < (3, 11) or sys.argv[1] not in ("", version))
PYTHON
      command -v "$candidate"
      return 0
    fi
  done
  if command -v uv >/dev/null; then
    uv python find --quiet --no-project --system "${wanted:->=3.11,<3.14}" 2>/dev/null ||
      managed_python uv "${wanted:-3.12}"
    return
  fi
  echo "error: no Python with the venv module found, wanted ${wanted:-3.11 or newer}; install it" \
    "(Debian: python3-venv) or uv, or put it on the PATH" >&2
  return 2
}

# managed_python UV VERSION: prints an interpreter of that version that uv has installed for this
# user, checked by its hash.
managed_python() {
  "$1" python install --quiet "$2" >&2 && "$1" python find --quiet --no-project --managed-python "$2"
}

# install_python VERSION: the same by a uv that it installs. For images whose own Python is older than
# JAX wants, as those of TPU VMs.
install_python() {
  python3 -m pip install --quiet --disable-pip-version-check --user "uv==0.13.9" >&2
  managed_python "$(python3 -m site --user-base)/bin/uv" "$1"
}

# python_version PYTHON: prints 3.12 or the like.
python_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# install_into PYTHON ARGUMENTS...: by its pip, or by uv where an environment has none.
install_into() {
  local python="$1"
  shift
  if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
  else
    uv pip install --quiet --python "$python" "$@"
  fi
}

# make_environment DIR PYTHON REQUIREMENTS...: does nothing when DIR already holds exactly these.
# A lock file (requirements-lock-...) comes first: pip and uv check the hashes that it has.
make_environment() {
  local directory="$1" python="$2" file stamp
  shift 2
  # A changed requirements file, another set of them or another interpreter installs again.
  stamp="$directory/installed-$({ "$python" --version; echo "$@"; cat requirements*.txt; } |
    cksum | cut -d' ' -f1)"
  [[ -e "$stamp" ]] && return 0
  # Colab's Python lacks ensurepip, and has uv.
  if "$python" -c "import ensurepip, venv" 2>/dev/null; then
    "$python" -m venv "$directory"
    install_into "$directory/bin/python" --upgrade pip
  else
    uv venv --quiet --allow-existing --python "$python" "$directory"
  fi
  local arguments=()
  for file in "$@"; do
    if [[ "$file" == *-lock-* ]]; then
      install_into "$directory/bin/python" -r "$file"
    else
      arguments+=(-r "$file")
    fi
  done
  ((${#arguments[@]} == 0)) || install_into "$directory/bin/python" "${arguments[@]}"
  touch "$stamp"
}

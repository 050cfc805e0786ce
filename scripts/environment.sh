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

# find_python [VERSION]: prints an interpreter of that version (as 3.12), or of any from 3.11 on,
# that can make virtual environments. Version managers leave commands on the PATH that do not run,
# so each candidate is tried.
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
  echo "error: no Python with the venv module found, wanted ${wanted:-3.11 or newer}; install it" \
    "(Debian: python3-venv) or put it on the PATH" >&2
  return 2
}

# install_python VERSION: prints an interpreter of that version that uv has installed for this user,
# checked by its hash. For images whose own Python is older than JAX wants, as those of TPU VMs.
install_python() {
  python3 -m pip install --quiet --disable-pip-version-check --user "uv==0.13.9" >&2
  local uv
  uv="$(python3 -m site --user-base)/bin/uv"
  "$uv" python install --quiet "$1" >&2
  "$uv" python find --managed-python "$1"
}

# python_version PYTHON: prints 3.12 or the like.
python_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# make_environment DIR PYTHON REQUIREMENTS...: does nothing when DIR already holds exactly these.
# A lock file (requirements-lock-...) comes first: pip checks the hashes that it has.
make_environment() {
  local directory="$1" python="$2" file stamp
  shift 2
  # A changed requirements file, another set of them or another interpreter installs again.
  stamp="$directory/installed-$({ "$python" --version; echo "$@"; cat requirements*.txt; } |
    cksum | cut -d' ' -f1)"
  [[ -e "$stamp" ]] && return 0
  "$python" -m venv "$directory"
  local install=("$directory/bin/python" -m pip install --quiet --disable-pip-version-check)
  "${install[@]}" --upgrade pip
  local arguments=()
  for file in "$@"; do
    if [[ "$file" == *-lock-* ]]; then "${install[@]}" -r "$file"; else arguments+=(-r "$file"); fi
  done
  ((${#arguments[@]} == 0)) || "${install[@]}" "${arguments[@]}"
  touch "$stamp"
}

#!/usr/bin/env bash
# A TPU VM that may be taken away at any time, in three commands. Everything that must survive lies
# in a bucket (--config.workdir=gs://...), so a deleted machine costs one `resume`.
#
#   bash scripts/tpu_vm.sh create NAME [--type=v5litepod-8] [--zone=us-west4-a] [--on_demand]
#   bash scripts/tpu_vm.sh run NAME -- --config=configs/v8.py:750m,batch=96 --config.workdir=gs://...
#   bash scripts/tpu_vm.sh run NAME -- --size=750m,batch=96 --runs_dir=gs://...    (the whole chain)
#   bash scripts/tpu_vm.sh resume NAME -- (the same arguments: makes the machine again if it is gone)
#   options: --project=ID --version=RUNTIME --repo=URL --dry_run (prints the gcloud commands only)
set -euo pipefail

[[ "${1:-}" =~ ^(-h|--help)$ ]] && { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"; exit 0; }
fail() { echo "error: $*" >&2; exit 2; }
usage="usage: tpu_vm.sh create|run|resume NAME [options] [-- arguments of mypt_jax.main or run_chain.py]"

action="${1:-}" name="${2:-}"
[[ "$action" =~ ^(create|run|resume)$ ]] || fail "$usage"
[[ "$name" =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
  fail "NAME is '$name', wanted lower-case letters, digits and dashes; $usage"
shift 2

type=v5litepod-8 zone=us-west4-a version="" repo="" spot=1 dry_run=0 project=() arguments=()
program=(scripts/run_chain.py)
while (($#)); do
  case "$1" in
    --type=*) type="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --version=*) version="${1#*=}" ;;
    --repo=*) repo="${1#*=}" ;;
    --project=*) project=(--project "${1#*=}") ;;
    --on_demand) spot=0 ;;
    --dry_run) dry_run=1 ;;
    --) shift; arguments=("$@"); break ;;
    *) fail "unknown option $1; $usage" ;;
  esac
  shift
done
if [[ -z "$version" ]]; then
  case "$type" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "no runtime version known for --type=$type; give --version=..." ;;
  esac
fi
if [[ "$action" != create ]]; then
  ((${#arguments[@]})) ||
    fail "what should run? put the arguments of mypt_jax.main or scripts/run_chain.py behind --"
  for argument in "${arguments[@]}"; do
    case "$argument" in
      --config=*) program=(-m mypt_jax.main) ;;
      --config.* | --size=* | --stages=* | --runs_dir=* | --all) ;;
      *) fail "$argument is no argument of mypt_jax.main or scripts/run_chain.py" ;;
    esac
  done
  if [[ " ${arguments[*]}" == *" --config="* && " ${arguments[*]}" =~ " "--(size|stages|runs_dir)= ]]; then
    fail "--config=FILE runs one stage, --${BASH_REMATCH[1]} belongs to the whole chain: leave one out"
  fi
  [[ " ${arguments[*]}" =~ " "--(config.workdir|runs_dir)=(gs|s3):// ]] ||
    echo "warning: without --config.workdir=gs://BUCKET/... or --runs_dir=gs://BUCKET/... what was" \
      "trained is lost with the machine" >&2
fi
((dry_run)) || command -v gcloud >/dev/null || fail "gcloud is not installed; --dry_run prints only"
[[ -n "$repo" ]] || repo="$(git -C "$(dirname "$0")/.." remote get-url origin 2>/dev/null || echo REPO_URL)"
((dry_run)) || [[ "$action" == create || "$repo" =~ ^(https|ssh|git)://|^[^/]+@[^/]+: ]] ||
  fail "the machine cannot clone '$repo'; give --repo=https://..."

place=(--zone "$zone" ${project[@]+"${project[@]}"})

# Runs a command, or prints it so that it can be pasted.
step() {
  if ((dry_run)); then printf '%q ' "$@" | sed 's/ $//'; echo; else "$@"; fi
}

create() {
  local request=(gcloud compute tpus queued-resources create "$name" --node-id "$name"
    "${place[@]}" --accelerator-type "$type" --runtime-version "$version")
  ((spot)) && request+=(--spot)
  step "${request[@]}"
}

# ABSENT only where gcloud says that there is no such request; any other failure ends the script.
state() {
  local answer errors
  errors="$(mktemp)"
  if answer="$(gcloud compute tpus queued-resources describe "$name" "${place[@]}" \
    --format='value(state.state)' 2>"$errors")"; then
    echo "$answer"
  elif grep -qiE 'not[ _]found' "$errors"; then
    echo ABSENT
  else
    echo "error: gcloud cannot say whether $name is there: $(tail -n 1 "$errors")" >&2
    rm -f "$errors"
    return 2
  fi
  rm -f "$errors"
}

# The state when it is none that passes by itself: a machine that is taken away goes slowly.
settled() {
  local now
  while now="$(state)" || exit 2; [[ "$now" == SUSPENDING || "$now" == DELETING ]]; do
    echo "$(date +%H:%M) $name: $now" >&2
    sleep 30
  done
  echo "$now"
}

# Waits until the machine is there; the queue may take hours.
wait_active() {
  ((dry_run)) && { echo "# waits until: gcloud compute tpus queued-resources describe $name" \
    "${place[@]} says ACTIVE"; return; }
  local now
  until now="$(state)" || exit 2; [[ "$now" == ACTIVE ]]; do
    case "$now" in FAILED | SUSPENDED | ABSENT) fail "the request of $name is $now" ;; esac
    echo "$(date +%H:%M) $name: $now"
    sleep 30
  done
}

# The same command on every host; jax.distributed finds the others. The trainer outlives the ssh
# session, and a second start while it runs does nothing.
run() {
  local quoted
  printf -v quoted '%q ' "${program[@]}" "${arguments[@]}"
  local remote="set -e
test -d mypt_jax || git clone $(printf '%q' "$repo") mypt_jax
cd mypt_jax
if test -e run.pid && kill -0 \$(cat run.pid) 2>/dev/null; then echo it runs already; exit 0; fi
git pull --ff-only
source scripts/environment.sh
python=\$(find_python 2>/dev/null) || python=\$(install_python 3.12)
make_environment .venv \"\$python\" requirements-tpu.txt requirements-cloud.txt
nohup .venv/bin/python $quoted>run.log 2>&1 </dev/null & echo \$! >run.pid
sleep 20; tail -n 20 run.log"
  step gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=all --command "$remote"
}

case "$action" in
  create) create; wait_active ;;
  run) run ;;
  resume)
    now=SUSPENDED
    ((dry_run)) || now="$(settled)" || exit 2
    case "$now" in
      ABSENT) create ;;
      FAILED | SUSPENDED)
        # A request whose machine was taken away has to go before its name is free again.
        step gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
        create
        ;;
    esac
    wait_active  # also for a request that still waits: it keeps its place in the queue
    run
    ;;
esac

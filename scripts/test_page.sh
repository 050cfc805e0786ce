#!/usr/bin/env bash
# Tests the report page in headless Chromium, and takes the pictures in docs/.
#
#   bash scripts/test_page.sh                          installs Debian's Chromium where there is none
#   bash scripts/test_page.sh --screenshots=runs/tiny  also docs/report.png and docs/report_dark.png
#   bash scripts/test_page.sh --pictures=DIR           also pages of 5 and of 30 runs, in both themes
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/test_page.sh "$@"

screenshots="" pictures="" arguments=()
for argument in "$@"; do
  case "$argument" in
    --screenshots=*) screenshots="${argument#*=}" ;;
    --pictures=*) pictures="${argument#*=}" ;;
    *) arguments+=("$argument") ;;
  esac
done

find_browser() {
  command -v chromium || command -v chromium-browser || command -v google-chrome
}

if ! find_browser >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    echo "error: no Chromium on the PATH and no apt-get to install Debian's" >&2
    exit 2
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
fi

bash scripts/test.sh -m "" -v tests/report/test_page.py ${arguments[@]+"${arguments[@]}"}

# shoot FILE PAGE WIDTH,HEIGHT SCHEME (0 dark, 1 light). Root has no user namespaces to make a sandbox
# of; the page is our own.
shoot() {
  "$(find_browser)" --headless=new --no-sandbox --disable-gpu --disable-background-networking \
    --user-data-dir="$directory/browser" --hide-scrollbars --window-size="$3" \
    --force-device-scale-factor=1.5 --virtual-time-budget=8000 \
    --blink-settings=preferredColorScheme="$4" --screenshot="$1" "file://$2" 2>/dev/null
  echo "$1"
}

directory="$(mktemp -d)"
trap 'rm -rf "$directory"' EXIT
if [[ -n "$screenshots" ]]; then
  .venv-test/bin/python -m mypt_jax.report "$screenshots" --html --out="$directory" >/dev/null
  # What is pictured is the first screen of a laptop.
  shoot "$PWD/docs/report.png" "$directory/report.html" 1280,760 1
  shoot "$PWD/docs/report_dark.png" "$directory/report.html" 1280,760 0
fi
if [[ -n "$pictures" ]]; then
  mkdir -p "$pictures"
  pictures="$(cd "$pictures" && pwd)"
  for runs in 5 30; do
    .venv-test/bin/python scripts/bench_report.py --runs="$runs" --rows=400 \
      --out="$directory/$runs" >/dev/null
    page="$directory/$runs/report.html"
    shoot "$pictures/$runs.png" "$page" 1280,1000 1
    shoot "$pictures/${runs}_dark.png" "$page" 1280,1000 0
    shoot "$pictures/${runs}_whole.png" "$page" 1280,5200 1
    shoot "$pictures/${runs}_phone.png" "$page" 500,2400 1
  done
fi

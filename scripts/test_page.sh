#!/usr/bin/env bash
# Tests the report page in headless Chromium, and takes the pictures in docs/.
#
#   bash scripts/test_page.sh                          installs Debian's Chromium where there is none
#   bash scripts/test_page.sh --screenshots=runs/tiny  also docs/report.png and docs/report_dark.png
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
help_if_asked scripts/test_page.sh "$@"

screenshots="" arguments=()
for argument in "$@"; do
  case "$argument" in
    --screenshots=*) screenshots="${argument#*=}" ;;
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

if [[ -n "$screenshots" ]]; then
  directory="$(mktemp -d)"
  trap 'rm -rf "$directory"' EXIT
  .venv-test/bin/python -m mypt_jax.report "$screenshots" --html --out="$directory" >/dev/null
  # Root has no user namespaces to make a sandbox of; the page is our own. What is pictured is the
  # first screen of a laptop.
  options=(--headless=new --no-sandbox --disable-gpu --disable-background-networking
    --user-data-dir="$directory/browser" --hide-scrollbars --window-size=1280,760
    --force-device-scale-factor=1.5 --virtual-time-budget=8000)
  "$(find_browser)" "${options[@]}" --screenshot="$PWD/docs/report.png" \
    "file://$directory/report.html" 2>/dev/null
  "$(find_browser)" "${options[@]}" --blink-settings=preferredColorScheme=0 \
    --screenshot="$PWD/docs/report_dark.png" "file://$directory/report.html" 2>/dev/null
  echo "docs/report.png docs/report_dark.png"
fi

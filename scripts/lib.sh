# Sourced by the other scripts: finds or installs what they need on Debian and Raspberry Pi OS.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rust_needed=1.95

# as_root COMMAND…: runs it directly as root, otherwise with sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages NAME…: installs the Debian packages that are missing, with a notice.
need_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
  done
  [ "${#missing[@]}" = 0 ] && return
  if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]}. These are Debian's names; please install what your system calls them, and start again." >&2
    exit 69
  fi
  echo "Installing from Debian's packages: ${missing[*]}" >&2
  as_root apt-get update -qq
  # A broker installed only for the tests must not be started as a service.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

new_enough() {
  local have
  have=$("$1" --version 2>/dev/null | awk '{print $2}') && [ -n "$have" ] &&
    [ "$(printf '%s\n%s\n' "$rust_needed" "$have" | sort -V | head -n 1)" = "$rust_needed" ]
}

# need_rust: finds or installs a recent enough Rust compiler, and a C compiler for the TLS library.
need_rust() {
  command -v cc >/dev/null || need_packages gcc libc6-dev
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
  if ! { command -v cargo >/dev/null && new_enough rustc; }; then
    echo "Rust $rust_needed or newer is needed; taking Debian's." >&2
    need_packages rustc-web cargo-web
    PATH="/usr/bin:$PATH"
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
    if ! new_enough /usr/bin/rustc; then
      echo "Debian's Rust is too old here. Install it from https://rustup.rs and start again." >&2
      exit 69
    fi
  fi
}

# need_rust_tools: the formatter and the linter of the Rust that is used.
need_rust_tools() {
  if [ "${RUSTC:-}" = /usr/bin/rustc ]; then
    need_packages rustfmt-web rust-web-clippy
  fi
  local tool
  for tool in fmt clippy; do
    if ! cargo "$tool" --version >/dev/null 2>&1; then
      echo "cargo $tool is missing: install it with \`rustup component add rustfmt clippy\` and start again." >&2
      exit 69
    fi
  done
}

# need_cargo_tool NAME VERSION: a program from the crates registry, built once (minutes) into .cache.
need_cargo_tool() {
  local root="$PWD/.cache/tools"
  PATH="$root/bin:$PATH"
  if [ "$("$1" --version 2>/dev/null | awk '{print $2}')" != "$2" ]; then
    echo "Building $1 $2 (some minutes, once)." >&2
    CARGO_TARGET_DIR="$root/target" cargo install "$1" --version "$2" --locked --profile dev --quiet --root "$root"
    rm -rf "$root/target"
  fi
}

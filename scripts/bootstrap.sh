#!/usr/bin/env bash
# Makes .venv from the lock files, or brings it up to date; returns at once when there is nothing to do.
#
#   scripts/bootstrap.sh run    what recon runs with (requirements.lock)
#   scripts/bootstrap.sh dev    that, and what scripts/test needs (requirements-dev.lock)
#
# Needs Python 3.11 to 3.13 with pip, and nothing else. RECON_PYTHON names another interpreter than the first
# of python3.11, python3.12, python3.13, python3 that fits. pip reads its own configuration as usual.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
incomplete=$venv/.recon-incomplete
log=$venv/bootstrap.log
pip_options=(--no-input --disable-pip-version-check --progress-bar off)

say() { printf 'recon: %s\n' "$*" >&2; }
die() { say "$*"; exit 5; }

main() {
  case ${1:-} in
    run) locks=(requirements.lock) kinds=(run) wait='about 2 minutes' ;;
    dev) locks=(requirements.lock requirements-dev.lock) kinds=(run dev) wait='about 3 minutes' ;;
    *) say 'usage: scripts/bootstrap.sh run|dev'; exit 2 ;;
  esac
  if is_current "$1"; then return; fi
  take_lock
  if is_current "$1"; then return; fi # another start of recon did it meanwhile
  make_venv
  install "$wait"
  need_library libgomp.so.1 libgomp1
  local kind
  for kind in "${kinds[@]}"; do stamp_of "$kind" >"$venv/.recon-$kind"; done
  rm -f "$incomplete"
  say 'ready'
}

# The checksum of everything that decides what the environment of a kind (run, dev) holds.
stamp_of() {
  local files=("$root/requirements.lock" "$root/scripts/bootstrap.sh")
  if [[ $1 == dev ]]; then files+=("$root/requirements-dev.lock"); fi
  cat "${files[@]}" | cksum
}

is_current() {
  [[ -x $venv/bin/python && ! -e $incomplete && -f $venv/.recon-$1 && $(<"$venv/.recon-$1") == "$(stamp_of "$1")" ]]
}

# One bootstrap at a time in this checkout, where the system has flock.
take_lock() {
  if ! command -v flock >/dev/null; then return; fi
  exec 9<"$root"
  if flock -n 9; then return; fi
  say 'another start is installing the environment; waiting for it'
  flock 9
}

# An environment that an interrupted start left, or whose Python has gone, is made again.
make_venv() {
  if [[ ! -e $incomplete ]] && fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    touch "$incomplete"
    return
  fi
  local python
  python=$(find_python)
  if [[ -L $venv || ! -d $venv ]]; then rm -f "$venv"; fi # a link: nothing behind it is ours to delete
  mkdir -p "$venv"
  touch "$incomplete" # and it stays to the last, so that an interruption anywhere in here is noticed
  find "$venv" -mindepth 1 -maxdepth 1 ! -path "$incomplete" -exec rm -rf {} +
  say "making .venv with $("$python" -V)"
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
  elif "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$venv"; then
    "$python" -m pip --python "$venv/bin/python" install "${pip_options[@]}" pip >"$log" 2>&1 || failed 'pip'
  elif apt_install python3-venv; then
    "$python" -m venv "$venv"
  else
    die "$python can make no virtual environment: install pip for it, or Debian's package python3-venv"
  fi
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

find_python() {
  local name
  for name in ${RECON_PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if fits "$name"; then
      command -v "$name"
      return
    fi
  done
  die "found no Python 3.11, 3.12 or 3.13${RECON_PYTHON:+ as RECON_PYTHON=$RECON_PYTHON}: install one, or name it in RECON_PYTHON"
}

install() {
  local lock arguments=()
  for lock in "${locks[@]}"; do arguments+=(-r "$root/$lock"); done
  say "installing ${locks[*]} into .venv; the first time this takes $1"
  "$venv/bin/python" -m pip install "${pip_options[@]}" "${arguments[@]}" >>"$log" 2>&1 || failed "${locks[*]}"
  # The package itself is read from the checkout: a path relative to site-packages survives a move of the folder.
  "$venv/bin/python" - <<'PYTHON'
import pathlib, sysconfig
(pathlib.Path(sysconfig.get_path("purelib")) / "recon.pth").write_text("../../../..\n")
PYTHON
}

failed() {
  tail -n 15 "$log" >&2
  die "installing $* failed; the whole log is in $log"
}

# A shared library that the wheels expect from the system.
need_library() {
  if "$venv/bin/python" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null; then return; fi
  apt_install "$2" || say "the system has no $1, without which rendering on the CPU fails: install Debian's package $2"
}

# Installs a Debian package when that is possible.
apt_install() {
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then return 1; fi
  say "installing Debian's package $1"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends "$1"; } >>"$log" 2>&1 </dev/null
}

main "$@"

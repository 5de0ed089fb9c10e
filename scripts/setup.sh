#!/usr/bin/env bash
# Makes sure that what the tests need beside Go and git is there: a redis-server of at least 7.0 on PATH, ssh and sshd,
# spin with a C compiler for the model of the protocol, and chromium for the console.
# Installs it where a package manager can; otherwise says how, and fails. The tests start private servers of their own. Drydock itself is content with
# Redis 6.2; the tests' Clusters on one host need the option cluster-port, which is of 7.0. Sentinel is that same binary: redis-server --sentinel.
set -euo pipefail

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# redis_version prints "major minor" of the redis-server (or a Valkey under that name) on PATH.
redis_version() {
  redis-server --version | sed -n 's/.* v=\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p'
}

check_version() {
  local version major minor
  version=$(redis_version) || fail "$(command -v redis-server) does not run"
  read -r major minor <<<"$version" || fail "cannot read the version of $(command -v redis-server)"
  if ((major < 7)); then
    fail "redis-server $major.$minor is too old: the tests need 7.0 or newer (https://redis.io/docs/latest/operate/oss_and_stack/install/)"
  fi
}

# apt_install installs Debian packages.
apt_install() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "$* is missing; run as root: apt-get install $*"
    as_root=(sudo)
    [ -t 0 ] || as_root+=(-n) # nobody there to type a password
  fi
  echo "setup: installing $* with apt-get (the service it may start is not used and may be disabled)" >&2
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

install_redis() {
  if command -v apt-get >/dev/null; then
    apt_install redis-server
  elif command -v brew >/dev/null; then
    echo 'setup: installing redis with brew' >&2
    brew install redis
  else
    fail 'redis-server 7.0 or newer is needed on PATH, and neither apt-get nor brew is here to install it.
  Fedora:  sudo dnf install redis (or valkey-compat-redis)
  Arch:    sudo pacman -S redis
  Alpine:  apk add redis
  others:  https://redis.io/docs/latest/operate/oss_and_stack/install/'
  fi
}

# have_ssh looks for what the tests of working copies on hosts need. sshd is seldom on a user's PATH.
have_ssh() {
  command -v ssh >/dev/null && command -v ssh-keygen >/dev/null && PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd >/dev/null
}

install_ssh() {
  command -v apt-get >/dev/null || fail 'ssh, ssh-keygen and sshd (OpenSSH) are needed, and apt-get is not here to install them.
  Fedora:  sudo dnf install openssh-clients openssh-server
  Arch:    sudo pacman -S openssh
  Alpine:  apk add openssh'
  apt_install openssh-client openssh-server
}

have_spin() {
  command -v spin >/dev/null && command -v gcc >/dev/null
}

install_spin() {
  if command -v apt-get >/dev/null; then
    apt_install spin gcc libc6-dev
  elif command -v brew >/dev/null; then
    echo 'setup: installing spin with brew' >&2
    brew install spin
  else
    fail 'spin (https://spinroot.com) and gcc are needed on PATH, and neither apt-get nor brew is here to install them'
  fi
}

# have_browser looks for what the tests of the console need.
have_browser() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || command -v chrome >/dev/null
}

install_browser() {
  command -v apt-get >/dev/null || fail 'chromium is needed on PATH, and apt-get is not here to install it.
  macOS:   brew install --cask chromium
  Fedora:  sudo dnf install chromium
  Arch:    sudo pacman -S chromium
  Alpine:  apk add chromium'
  apt_install chromium
}

command -v redis-server >/dev/null || install_redis
command -v redis-server >/dev/null || fail 'redis-server was installed, but is not on PATH'
check_version
have_ssh || install_ssh
have_ssh || fail 'OpenSSH was installed, but ssh, ssh-keygen or sshd cannot be found'
have_spin || install_spin
have_spin || fail 'spin was installed, but spin or gcc cannot be found'
have_browser || install_browser
have_browser || fail 'chromium was installed, but is not on PATH'

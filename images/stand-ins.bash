# shellcheck shell=bash disable=SC2154 # `build` sets the variables
# One static binary on an empty image. Two tags that differ only in a version, so that tests of
# updates have another image ID to move to.

stand-ins_tags() { echo homeostat-test/stand-ins:1 homeostat-test/stand-ins:2; }

# Workspace and lock file change with every dependency of every package; only what reaches the
# binary counts.
stand-ins_hash() {
  {
    cat -- "$images/stand-ins.bash"
    sed -n '/^\[profile\.stand-ins\]/,/^$/p; /^\[profile\.release\]/,/^$/p' "$repository/Cargo.toml"
    find "$repository/tests/stand-ins" -type f ! -name '*tests.rs' ! -name recorded.rs \( -name '*.rs' -o -name '*.toml' -o -path '*/fixtures/*' \) -print0 |
      LC_ALL=C sort -z | xargs -0 cat --
    cargo tree --manifest-path "$repository/tests/stand-ins/Cargo.toml" --quiet --edges normal,build \
      --prefix none --format '{p} {f}' | sed 's/ (.*)//' | LC_ALL=C sort -u
  } | sha256sum | cut -d' ' -f1
}

stand-ins_build() {
  local target extra=$work/stand-ins version
  command -v cargo >/dev/null || fail "cargo is missing: install Rust first"
  target=$(rustc -vV | sed -n 's/^host: //p')
  say "will compile the stand-ins into $repository/target/stand-ins (20 MB)"
  # A folder of its own: other flags for the same dependencies would rebuild everything in turn.
  RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --locked --package stand-ins \
    --manifest-path "$repository/Cargo.toml" --profile stand-ins --target "$target" \
    --target-dir "$repository/target/stand-ins" || fail "the stand-ins did not compile"
  install -D --mode=0755 "$repository/target/stand-ins/$target/stand-ins/stand-ins" "$extra/stand-ins"
  mkdir -p "$extra/tmp"
  chmod 1777 "$extra/tmp"
  for version in 1 2; do
    tar --create --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 --directory="$extra" . |
      import_image "homeostat-test/stand-ins:$version" "$1" \
        'ENTRYPOINT ["/stand-ins"]' 'ENV PATH=/' "ENV STAND_INS_VERSION=$version"
  done
}

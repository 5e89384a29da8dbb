# shellcheck shell=bash disable=SC2154 # `build` sets the variables
# The real Chroma, from PyPI. Its server is the Rust library in the wheel; the wheel's `chroma`
# command only hands its arguments to that library, so none of the Python client's dependencies
# (about 500 MB) are needed.

readonly chroma_version=1.5.9

chroma_tags() { echo homeostat-test/chroma:1; }

chroma_hash() { hash_of "$images"/{debian,chroma}.bash "$images/chroma-command"; }

chroma_build() {
  debian_tree
  need python3 python3
  python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip
  local extra=$work/chroma packages wheel
  packages=$extra/usr/lib/python3/dist-packages
  say "will fetch chromadb $chroma_version from PyPI (23 MB)"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" \
    --python-version 3.13 --implementation cp --abi abi3 --platform "manylinux2014_$(uname -m)" \
    "chromadb==$chroma_version" || fail "pip could not fetch chromadb $chroma_version"
  wheel=$(echo "$work"/chromadb-*.whl)
  mkdir -p "$packages" "$extra/data"
  python3 - "$wheel" "$packages" <<'PYTHON'
import sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    kept = [name for name in archive.namelist()
            if name.startswith("chromadb_rust_bindings/") or "/licenses/" in name or name.endswith("/METADATA")]
    archive.extractall(target, kept)
PYTHON
  install -D --mode=0755 "$images/chroma-command" "$extra/usr/bin/chroma"
  debian_tar "$extra" './usr/bin/valkey*' './usr/lib/*/libcrypto.so*' './usr/lib/*/libgcrypt.so*' |
    import_image homeostat-test/chroma:1 "$1" \
      'ENTRYPOINT ["chroma"]' 'CMD ["run", "--host", "0.0.0.0", "--port", "8000", "--path", "/data"]' \
      'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      'WORKDIR /data' 'VOLUME /data' 'EXPOSE 8000'
}

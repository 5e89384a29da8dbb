# shellcheck shell=bash disable=SC2154 # `build` sets the variables
# The real Valkey, from Debian, set up as the public image is: any interface, no protected mode,
# data in /data, the process not root.

valkey_tags() { echo homeostat-test/valkey:8; }

valkey_hash() { hash_of "$images"/{debian,valkey}.bash "$images/valkey-entrypoint"; }

valkey_build() {
  debian_tree
  local extra=$work/valkey
  install -D --mode=0755 "$images/valkey-entrypoint" "$extra/usr/local/bin/docker-entrypoint.sh"
  mkdir "$extra/data"
  debian_tar "$extra" './usr/bin/python3*' './usr/lib/python3*' ./usr/share/python3 |
    import_image homeostat-test/valkey:8 "$1" \
      'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["valkey-server"]' \
      'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      'WORKDIR /data' 'VOLUME /data' 'EXPOSE 6379'
}

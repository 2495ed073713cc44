#!/bin/sh
# Makes the secrets of compose.yaml where there are none yet, each in a file of its own: OWN for the brokers alone, SHARED for
# them and for Valkey, which runs as somebody else.
#   sh secrets.sh OWN SHARED
set -eu
own=$1
shared=$2

random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Under another name first: a file that is there is whole.
keep() {
  cat >"$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
}

umask 077
for name in locator federation audit; do
  [ -s "$own/$name" ] || random | keep "$own/$name" 0400
done
[ -s "$shared/password" ] || random | keep "$shared/password" 0444
password=$(cat "$shared/password")
printf 'requirepass %s\n' "$password" | keep "$shared/valkey.conf" 0444
printf 'redis://:%s@valkey:6379/0\n' "$password" | keep "$shared/redis-url" 0444

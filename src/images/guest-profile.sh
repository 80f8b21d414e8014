# /etc/profile of a Bulkhead guest: the login shell on the console reads it.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
export PS1='\u@\h:\w\$ '
if [ -f /etc/bulkhead/run ]; then
  . /etc/bulkhead/run
  [ "$MODE" != terminal ] || exec -- "$@"
fi

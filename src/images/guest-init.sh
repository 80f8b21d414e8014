#!/bin/busybox sh
# Process 1 of a Bulkhead guest. /etc/bulkhead/run, added per run, sets the variables and the command ("$@").
# An engine that interprets pays milliseconds for each process, so this starts as few as it can.
# Serial lines: ttyS0 console; for a command ttyS1 its output, ttyS2 requests and status, ttyS3 its input and errors.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=linux LANG=C.UTF-8 PS1='\u@\h:\w\$ '
MODE=shell STDIN=null STDERR=ttyS1 ROWS= COLUMNS=

mount -t devtmpfs devtmpfs /dev
cp -a /etc/bulkhead/dev /
mount -a
echo debian >/proc/sys/kernel/hostname
cd /root

if [ -f /etc/bulkhead/run ]; then . /etc/bulkhead/run; fi

# Asks for one frame of input at a time, so that nothing is lost while the command does not read.
# A frame is a decimal length, a newline and that many bytes; length 0 ends the input.
feed() {
  while echo read >&4 && read -r length <&3 && [ "$length" != 0 ]; do
    dd bs="$length" count=1 iflag=fullblock status=none <&3 || break
  done
}

if [ "$MODE" = command ]; then
  stty -F /dev/ttyS1 raw -echo
  [ "$STDIN$STDERR" = nullttyS1 ] || stty -F /dev/ttyS3 raw -echo
  if [ "$STDIN" = serial ]; then
    feed 3</dev/ttyS3 4>/dev/ttyS2 >/etc/bulkhead/stdin &
    input=/etc/bulkhead/stdin
  else
    input=/dev/null
  fi
  if [ "$STDERR" = ttyS1 ]; then
    (exec -- "$@") <$input >/dev/ttyS1 2>&1
  else
    (exec -- "$@") <$input >/dev/ttyS1 2>/dev/$STDERR
  fi
  status=$?
  # What is left over must not hold the lines open: the last close of a serial line waits until all is sent.
  kill -9 -1
  wait
  echo "exit $status" >/dev/ttyS2
  exec poweroff -f
fi

# Busybox's poweroff, halt and reboot signal process 1. A machine that only halts would never end, so halt powers off.
trap 'exec poweroff -f' USR1 USR2
trap 'exec reboot -f' TERM INT

[ -z "$ROWS" ] || stty -F /dev/ttyS0 rows "$ROWS" columns "$COLUMNS"
[ "$MODE" = terminal ] || set -- sh
# A trap must run at once, not when the session ends: `read` allows that, waiting in the foreground does not, and a
# background process would have SIGINT ignored for good. The pipe that `read` waits at closes with the subshell.
read -r status < <(setsid -c "$@" </dev/ttyS0 >/dev/ttyS0 2>&1; echo $?)
[ "$MODE" = shell ] || echo "exit $status" >/dev/ttyS2
exec poweroff -f

#!/bin/sh
# Starts the extensions of an environment and then its runtime: extensions.sh DIRECTORY PROGRAM [ARGUMENT...]
#
# What extensions print goes to standard error, what the runtime prints to standard output, so that they can be told apart. Descriptor 3 is the runtime's. On descriptor 4 the server says "start" when every extension has registered, and "end" when the
# environment is to end; it is told how each extension ended. The environment ends with its runtime, unless it is ending already:
# then the extensions have their time.
directory=$1
shift
for program in "$directory"/*; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  { "$program" >&2 3>&- 4>&-; echo "$? ${program##*/}" >&4; } </dev/null 3>&- &
done
read -r word <&4 || exit 1
# What runs in the background has no input of its own otherwise.
exec 5<&0
"$@" 2>&1 <&5 5<&- 4>&- &
runtime=$!
exec 3>&- 5<&-
is_ending=
trap 'is_ending=1; kill -TERM "$runtime" 2>/dev/null' USR1
{ read -r word <&4 && kill -USR1 $$; } &
while :; do
  wait "$runtime"
  status=$?
  # A signal to this shell ends the waiting, too.
  kill -0 "$runtime" 2>/dev/null || break
done
[ "$is_ending" ] && wait
[ "$status" -gt 128 ] && kill "-$((status - 128))" $$
exit "$status"

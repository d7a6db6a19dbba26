#!/bin/sh
# Starts a runtime by the script that AWS_LAMBDA_EXEC_WRAPPER names, which gets the runtime's command line: wrapper.sh SCRIPT PROGRAM [ARGUMENT...]
script=$1
shift
if [ ! -f "$script" ]; then
  echo "$script: does not exist"
  exit 127
fi
if [ ! -x "$script" ]; then
  echo "$script: is not an executable"
  exit 126
fi
exec "$script" "$@"

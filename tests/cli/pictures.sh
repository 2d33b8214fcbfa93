#!/bin/sh
# chat --gallery from outside: what is no published gallery of this model is refused by name, in one line; what is one gives pictures.
#   pictures.sh SENSORIUM GOLDENS FOLDER-OF-BAD-GALLERIES
set -u
program=$1 case=$2/fromage/generate bad=$3
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
failed=0
ask() { "$program" chat "$case/model" --vision "$case/model/clip" --llm "$case/model/opt" -n 4 "$@" "show me [RET]"; }

while read -r name pattern; do
  ask --gallery "$bad/$name.pkl" >"$here/out" 2>"$here/err" && { echo "not ok $name: not refused"; failed=1; }
  [ "$(wc -l <"$here/err")" = 1 ] && grep -q "^sensorium: error: .*$name.pkl.*$pattern" "$here/err" || { echo "not ok $name: $(cat "$here/err")"; failed=1; }
done <<END
empty ends without STOP
cut beyond the end
text pickle
evil posix.system.*nothing was run
other dictionary
ints float32
list one numpy array
norows shape
fewpaths found 1, expected one for each of 2
wide another model
END
ask --gallery "$case/model/cc3m_embeddings.pkl" >"$here/out" || failed=1
[ "$(wc -l <"$here/out")" -ge 2 ] || { echo "not ok a picture is given: $(cat "$here/out")"; failed=1; }
# more than the gallery holds: all that there are
ask --gallery "$case/model/cc3m_embeddings.pkl" --max-pictures 64 >"$here/out" || failed=1
"$program" chat models/none --gallery "$bad/wide.pkl" x >/dev/null 2>&1 && failed=1
[ "$failed" = 0 ] && echo ok
exit "$failed"

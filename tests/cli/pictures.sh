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
list a tensor that is one row
tensors-protocol2 protocol 4
norows shape
fewpaths found 1, expected one for each of 2
wide another model
END
ask --gallery "$case/model/cc3m_embeddings.pkl" >"$here/out" || failed=1
[ "$(wc -l <"$here/out")" -ge 2 ] || { echo "not ok a picture is given: $(cat "$here/out")"; failed=1; }
# more than the gallery holds: all that there are
ask --gallery "$case/model/cc3m_embeddings.pkl" --max-pictures 64 >"$here/out" || failed=1
"$program" chat models/none --gallery "$bad/wide.pkl" x >/dev/null 2>&1 && failed=1

# the same rows as a list of tensors, as the authors' script writes them; all files of a pattern or a folder, by name
score() { sed -n 's/.*"path": "\([^"]*\)", "score": \([-0-9.]*\).*/\1 \2/p' "$1"; }
ask --json --gallery "$case/model/cc3m_embeddings.pkl" >"$here/array" || failed=1
ask --json --gallery "$bad/tensors.pkl" >"$here/list" || failed=1
[ "$(score "$here/array")" = "$(score "$here/list")" ] && [ -n "$(score "$here/list")" ] || { echo "not ok a list of tensors: $(score "$here/list")"; failed=1; }
ask --json --gallery "$bad/tensors-bf16.pkl" >"$here/list" || failed=1
case $(score "$here/list") in *007.png\ 0.47*) ;; *) echo "not ok tensors in bf16: $(score "$here/list")"; failed=1 ;; esac
mkdir "$here/several"
python3 - "$case/model/cc3m_embeddings.pkl" "$here/several" <<'END'
import pickle, sys
class Array:  # numpy's own words, without numpy
    def __init__(self, name, *rest): self.name, self.rest, self.state = name, rest, None
    def __setstate__(self, state): self.state = state
class Reader(pickle.Unpickler):
    def find_class(self, module, name): return lambda *rest: Array(module + "." + name, *rest)
whole = Reader(open(sys.argv[1], "rb")).load()
shape, data = whole["embeddings"].state[1], whole["embeddings"].state[4]
if isinstance(data, str): data = data.encode("latin1")
width = len(data) // shape[0]
def text(t): return b"X" + len(t.encode()).to_bytes(4, "little") + t.encode()
def piece(paths, rows):
    array = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K" + bytes([len(paths)]) + b"K" + bytes([shape[1]]) + b"\x86cnumpy\ndtype\n" + text("f4") +
             b"\x89\x88\x87R(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B" + len(rows).to_bytes(4, "little") + rows + b"tb")
    return b"\x80\x03}" + text("paths") + b"](" + b"".join(map(text, paths)) + b"es" + text("embeddings") + array + b"s."
for name, begin, end in (("b", 5, shape[0]), ("a", 0, 5)):
    open(f"{sys.argv[2]}/cc3m_embeddings_{name}.pkl", "wb").write(piece(whole["paths"][begin:end], data[begin * width:end * width]))
END
for several in "$here/several" "$here/several/cc3m*_[ab].pkl"; do
  ask --json --gallery "$several" --max-pictures 12 >"$here/list" || failed=1
  ask --json --gallery "$case/model/cc3m_embeddings.pkl" --max-pictures 12 >"$here/array" || failed=1
  [ "$(sed 's/.*"parts"//' "$here/array")" = "$(sed 's/.*"parts"//' "$here/list")" ] || { echo "not ok several files: $several"; failed=1; }
done

# a gallery of one's own: made once of published rows; of one's own pictures
fromage="$case/model --llm $case/model/opt --vision $case/model/clip"
# shellcheck disable=SC2086
"$program" index $fromage --import "$bad/tensors.pkl" --import "$case/model/cc3m_embeddings.pkl" -o "$here/cc3m.db" >"$here/out" || failed=1
grep -q 'tensors.pkl: 12 rows, .* 12 were new, 12 of these not of length 1' "$here/out" && grep -q 'cc3m_embeddings.pkl: 12 rows, .* 0 were new' "$here/out" || { echo "not ok import: $(cat "$here/out")"; failed=1; }
ask --json --gallery "$case/model/cc3m_embeddings.pkl" >"$here/array" || failed=1
ask --json --gallery "$here/cc3m.db" >"$here/list" || failed=1
[ "$(score "$here/array" | cut -c-40)" = "$(score "$here/list" | cut -c-40)" ] || { echo "not ok an imported gallery: $(score "$here/list")"; failed=1; }
mkdir "$here/mine"
for i in 0 1 2 3 4; do cp "$case/inputs/a.png" "$here/mine/$i.png"; printf '\0%s' $i >>"$here/mine/$i.png"; done
# shellcheck disable=SC2086
"$program" index -q $fromage "$here/mine" -o "$here/my.db" >/dev/null || failed=1
ask --gallery "$here/my.db" --html "$here/page.html" >"$here/out" || failed=1
tail -n 1 "$here/out" | grep -q "/mine/0.png$" && grep -q 'src="data:image/png' "$here/page.html" || { echo "not ok a picture of one's own: $(cat "$here/out")"; failed=1; }
rm "$here/mine/0.png"
echo "no picture any more" >"$here/mine/1.png"
ask --gallery "$here/my.db" >"$here/out" 2>"$here/err" || failed=1
tail -n 1 "$here/out" | grep -q "/mine/2.png$" && grep -q "warning: .*/mine/0.png.*No such file.*the next one is taken" "$here/err" && grep -q "warning: .*/mine/1.png.*the next" "$here/err" ||
  { echo "not ok a deleted picture: $(cat "$here/out" "$here/err")"; failed=1; }
ask --json --gallery "$here/my.db" 2>/dev/null | grep -q '"left_out": \["[^"]*/mine/0.png: ' || { echo "not ok left_out in JSON"; failed=1; }
rm "$here"/mine/*
ask --gallery "$here/my.db" >"$here/out" 2>"$here/err" || failed=1
grep -q 'the gallery has 1 pictures less than asked for' "$here/err" || { echo "not ok all pictures are deleted: $(cat "$here/err")"; failed=1; }
# shellcheck disable=SC2086
"$program" index -q $fromage "$here/mine" -o "$here/my.db" >/dev/null && ask --gallery "$here/my.db" >"$here/out" || { echo "not ok a gallery of nothing"; failed=1; }

# what is not this model's is refused in one line
refused() {
  name=$1 pattern=$2
  shift 2
  "$@" >"$here/out" 2>"$here/err" && { echo "not ok $name: not refused"; failed=1; }
  [ "$(wc -l <"$here/err")" = 1 ] && grep -q "^sensorium: error: .*$pattern" "$here/err" || { echo "not ok $name: $(cat "$here/err")"; failed=1; }
}
clip=$2/components/clip_vit/hf-clip
"$program" index -q "$clip/model" "$clip/inputs" -o "$here/clip.db" >/dev/null
refused "another model's gallery" 'clip.db: was made by another model (CLIP, .* wide.*FROMAGe' ask --gallery "$here/clip.db"
refused "no gallery" 'nothing.db: No such file' ask --gallery "$here/nothing.db"
refused "no file" 'nothing.pkl: there is no such file' ask --gallery "$here/nothing.pkl"
head -c 5000 "$here/cc3m.db" >"$here/short.db"
refused "a cut database" 'short.db: ' ask --gallery "$here/short.db"
cp "$here/cc3m.db" "$here/novec.db"
refused "no vectors" 'novec.vec: cannot open' ask --gallery "$here/novec.db"
[ "$failed" = 0 ] && echo ok
exit "$failed"

#!/usr/bin/env bash
# The command line as its users see it: test-cli.sh PENTIMENTO SOURCE-TREE. Prints TAP.
# shellcheck disable=SC2319 # the status of a condition is what is meant
set -u
cli=$(realpath "$1")
tree=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache
commands='inspect encode decode condition predict generate img2img inpaint convert train'
number=0

ok() { # STATUS NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then echo "ok $number - $2"; else echo "not ok $number - $2"; fi
}
skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}
# Runs the command; its exit code has to be CODE, and WORDS (if any) on standard error.
code() { # CODE WORDS ARGUMENTS…
    local wanted=$1 words=$2 got
    shift 2
    "$cli" "$@" >out 2>err </dev/null
    got=$?
    if [ $got -eq "$wanted" ] && { [ -z "$words" ] || grep -qF -- "$words" err; }; then
        ok 0 "$wanted: pentimento $*"
    else
        ok 1 "$wanted: pentimento $* (got $got)"
        sed 's/^/# /' err
    fi
}
small=(--steps 1 --size 32x32 --seed 5)
# of the default model: channels of the latent, its side for 32 pixels, and the denoiser's weights in millions
read -r z side weights < <("$cli" inspect --json | python3 -c 'import json, sys; m = json.load(sys.stdin)
print(m["latent_channels"], 32 // m["downsampling"], "%.1f" % (m["unet_parameters"] / 1e6))')
pixels() { convert "$1" -depth 8 rgba:"$2"; }

# --- help, completion, manual page ---
code 2 'Usage:'
code 2 'no command “paint”' paint
code 0 '' --help
code 0 '' --version
for command in $commands; do
    code 0 '' "$command" --help
    grep -oE -- '--[a-z][a-z0-9-]+' out | sort -u >"$command.options"
    [ -s "$command.options" ] || ok 1 "$command --help lists options"
done

complete_word() { # COMMAND WORD: what bash offers
    bash -c '. "$1"; COMP_WORDS=(pentimento "$2" "$3"); COMP_CWORD=2; _pentimento; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$tree/data/completion/pentimento.bash" "$1" "$2"
}
for command in $commands; do
    complete_word "$command" -- | sort -u | diff - "$command.options" >difference
    ok $? "bash completes the options of $command"
    sed 's/^/# /' difference
done
mkdir -p 'models/$(touch run)' 'models/my model'
PENTIMENTO_MODEL_PATH=$work/models bash -c '. "$1"; COMP_WORDS=(pentimento generate -m ""); COMP_CWORD=3; _pentimento
    printf "%s\n" "${COMPREPLY[@]}"' - "$tree/data/completion/pentimento.bash" >out
grep -qxF 'my model' out && grep -qxF '$(touch run)' out && [ ! -e run ]
ok $? 'bash completes the names of models as they are'
complete_word generate --samp | grep -qx -- --sampler
ok $? 'bash completes a begun option'
cat ./*.options | sort -u >all.options
mentioned() { # WHERE: the long options it names
    case $1 in
        fish) sed -nE 's/^complete .* -l ([a-z0-9-]+).*/--\1/p' "$tree/data/completion/pentimento.fish" ;;
        zsh) grep -oE -- '--[a-z][a-z0-9-]+' "$tree/data/completion/_pentimento" ;;
        man) grep -E '^\.(It )?Fl ' "$tree/data/man/pentimento.1" | grep -oE ' -[a-z][a-z0-9-]+' | sed 's/^ /-/' ;;
    esac
}
for where in fish zsh man; do
    mentioned $where | grep -vxE -- '--(version|negative)' | sort -u | diff - all.options >difference
    ok $? "$where knows every option and no other"
    sed 's/^/# /' difference
done
if command -v mandoc >/dev/null; then
    mandoc -Tlint -Wwarning "$tree/data/man/pentimento.1" | grep -v 'outdated mandoc.db' >lint
    [ ! -s lint ]
    ok $? 'the manual page is well-formed'
    sed 's/^/# /' lint
else
    skip 'the manual page is well-formed' 'no mandoc'
fi

# --- wrong use ---
printf 'x' >bad.png
code 2 'output file' generate --prompt x
code 2 'no-such' generate --no-such -o a.png
code 2 'steps' generate --steps 0 -o a.png
code 2 'whole number' generate --steps many -o a.png
code 2 '0.5' generate --guidance 0,5 -o a.png
code 2 'guidance' generate --guidance nan -o a.png
code 2 '0.2:0.8' generate --guidance-interval 0.5 -o a.png
code 2 'guidance-interval' generate --guidance-interval 0.5:x -o a.png
code 2 'guidance-end' generate --guidance-interval 0.5:1.5 -o a.png
code 2 'ends before' generate --guidance-interval 0.8:0.2 -o a.png
code 1 'ends before' generate --guidance-start 0.8 --guidance-end 0.2 -o a.png
code 2 'reuse' generate --reuse 0 -o a.png
code 2 '0.75' generate --merge 0.8 -o a.png
code 2 'exact, near, good, draft' generate --quality best -o a.png
code 2 'surroundings' generate --surroundings 2 -o a.png
code 2 'learn' generate --learn 2 -o a.png
code 2 '0 to 100000' inpaint bad.png --mask bad.png --learn -1 -o a.png
code 2 'seconds' inpaint bad.png --mask bad.png --learn-time 0 -o a.png
code 2 'euler' generate --sampler best -o a.png
code 2 '640x480' generate --size 64 -o a.png
code 2 'width' generate --size 64x-1 -o a.png
code 2 '.png' generate -o a.xcf
code 2 'standard output' generate -n 2 -o -
code 2 'count' generate -n 0 -o a.png
code 2 '--latent' generate -n 2 --latent z.npy -o a.png
code 2 'too high' generate --seed 9223372036854775807 -n 2 -o a.png
code 2 'threads' generate --threads -1 -o a.png
code 2 'too many' generate extra -o a.png
code 2 'strength' generate --strength 0.5 -o a.png
code 2 'input file' img2img -o a.png
code 2 'mask' inpaint bad.png -o a.png
code 2 'timestep' predict --latent z.npy -o e.npy
code 2 '.npy' encode bad.png -o z.png
code 2 '--sample' encode bad.png --seed 3 -o z.npy
code 2 'twice' inspect a -m b
code 2 'output folder' convert
code 2 'f16, bf16 or q8' convert --dtype f32 -o a.png
code 2 'not a file' convert -o a.safetensors
[ ! -e a.png ]
ok $? 'wrong use leaves no file'

# --- failures ---
code 1 'no-such-model' inspect no-such-model
code 1 'nowhere' generate -o nowhere/a.png
code 1 'no-lora.safetensors' generate "${small[@]}" --lora no-lora.safetensors:0.5 -o a.png
code 1 'another kind of model' generate "${small[@]}" --lora "$tree/tests/reference/data/adapters/sd1-peft.safetensors" -o a.png
code 1 'another kind of model' generate "${small[@]}" --embedding "$tree/tests/reference/data/adapters/red-cat.safetensors" -o a.png
code 1 'folder' generate -o "$work/nowhere/../" -m x
code 1 'absent.png' img2img absent.png -o a.png
code 1 'no-such-model' convert no-such-model -o converted
code 1 'nowhere' convert -o nowhere/converted
code 1 'not a picture' img2img bad.png -o a.png
code 1 'bad.png' decode bad.png -o a.png
for name in whole.png interlaced.png whole.jpg progressive.jpg whole.bmp; do
    case $name in interlaced.png) way=PNG ;; progressive.jpg) way=JPEG ;; *) way=none ;; esac
    convert -size 100x80 -interlace $way plasma: -depth 8 $name
    head -c $(($(stat -c %s $name) * 2 / 3)) $name >cut-$name
    code 1 "cut-$name" img2img cut-$name -o a.png
    code 0 '' img2img $name --strength 0 -q -o kept-$name
done
(
    ulimit -f 4
    code 1 'Cannot write' generate --size 128x128 --steps 1 -o a.png
    echo "$number" >tests
)
number=$(<tests)
[ ! -e a.png ] && [ -z "$(find . -name '.pentimento*')" ]
ok $? 'no file is left where it cannot be whole'
"$cli" inspect --json >/dev/full 2>err
[ $? -eq 1 ] && grep -q 'standard output' err
ok $? 'a report that does not arrive is an error'

# --- pictures ---
code 0 'seed 5' generate -p 'a red apple' "${small[@]}" -o one.png
code 0 '' generate -p 'a red apple' "${small[@]}" -q -o again.png
[ ! -s err ]
ok $? '--quiet is quiet'
cmp -s one.png again.png
ok $? 'the same seed gives the same file'
code 0 '' generate -p 'a red apple' --steps 1 --size 32x32 --seed 4 -n 2 -o two.png
cmp -s one.png two-2.png && [ -e two-1.png ] && [ ! -e two.png ]
ok $? '--count counts seeds and names up'
[ "$(identify -format '%wx%h' one.png)" = 32x32 ]
ok $? '--size is the size'
identify -format '%[parameters]' one.png | grep -q '^Steps: 1, .*Seed: 5, Size: 32x32'
ok $? 'PNG files carry the settings'
code 0 '' generate -p 'a red apple' "${small[@]}" --no-metadata -o plain.png
! grep -q iTXt plain.png && pixels plain.png a && pixels one.png b && cmp -s a b
ok $? '--no-metadata leaves them out'
code 0 '' generate -p 'a red apple' "${small[@]}" --guidance 8 -o guided.png
code 0 '' generate -p 'a red apple' "${small[@]}" --guidance 8 --guidance-rescale 0.7 -o rescaled.png
identify -format '%[parameters]' rescaled.png | grep -q 'CFG rescale: 0.7' && pixels guided.png c && pixels rescaled.png d && ! cmp -s c d
ok $? '--guidance-rescale changes a guided picture, and is told'
code 0 '' generate -p 'a red apple' "${small[@]}" --guidance 1 --guidance-rescale 0.7 -o rescaled.png
code 0 '' generate -p 'a red apple' "${small[@]}" --guidance 1 -o guided.png
pixels guided.png c && pixels rescaled.png d && cmp -s c d
ok $? 'without guidance there is nothing to rescale'
code 2 'guidance-rescale' generate --guidance-rescale 1.5 -o a.png
large=(generate -p 'a red apple' --size 192x208 --steps 2 --seed 5)
code 0 '' "${large[@]}" -o large.png
code 0 '' "${large[@]}" --refine 0.5 -o refined.png
identify -format '%[parameters]' refined.png | grep -q 'Size: 192x208, Refine: 0.5' && pixels large.png c && pixels refined.png d && ! cmp -s c d
ok $? '--refine makes a larger picture anew, and is told'
code 0 '' generate --seed 9223372036854775807 --steps 1 --size 32x32 -o last.png
code 0 '' generate "${small[@]}" --sampler ddim --eta 0.5 -o eta.png
identify -format '%[parameters]' eta.png | grep -q 'Eta: 0.5'
ok $? '--eta is told'
code 0 '' generate "${small[@]}" --refine 0.5 -o at-once.png
! identify -format '%[parameters]' at-once.png | grep -q Refine
ok $? 'what is not refined does not say so'
little=(img2img one.png --steps 10 --strength 0.2 --seed 5 --quality draft)
code 0 '' "${little[@]}" -o little.png
code 0 '' "${little[@]}" --negative 'a blue sky' -o little-negative.png
pixels little.png c && pixels little-negative.png d && ! cmp -s c d
ok $? 'few steps are guided, too, where guidance ends early'
"$cli" generate "${small[@]}" --json -o $'b\xff.png' >out 2>err && [ ! -s err ] && grep -q '"output"' out
ok $? 'a name that is no UTF-8 is told as far as it can be'
code 0 '' img2img one.png --steps 2 --strength 0 -o kept.png
pixels kept.png a && cmp -s a b
ok $? 'strength 0 keeps every pixel'
code 0 'extended' encode <(convert -size 9x6 xc:gray png:-) -o z9.npy
convert -size 32x32 xc:black -fill white -draw 'rectangle 8,8 19,23' mask.png
code 0 '' inpaint one.png --mask mask.png --steps 2 -o hole.png
pixels hole.png a && convert mask.png -depth 8 gray:m && python3 - <<'END'
a, b, m = (open(n, "rb").read() for n in "abm")
outside = [i for i in range(len(m)) if m[i] == 0]
inside = [i for i in range(len(m)) if m[i] == 255]
assert len(inside) == 12 * 16 and all(a[4*i:4*i+4] == b[4*i:4*i+4] for i in outside)
assert any(a[4*i:4*i+4] != b[4*i:4*i+4] for i in inside)
END
ok $? 'inpaint keeps what is black in the mask, and repaints what is white'
export XDG_CACHE_HOME=$work/cache
learning=(inpaint one.png --mask mask.png --steps 2 --seed 5 --no-metadata)
code 0 '' "${learning[@]}" -o unlearnt.png
code 0 '--learn 10, ' "${learning[@]}" --learn 10 -o learnt.png
grep -q 'of memory, about' err
ok $? 'learning tells what it needs'
! cmp -s unlearnt.png learnt.png
ok $? 'what was learnt changes the fill'
[ "$(find cache/pentimento/learn -type f | wc -l)" -eq 1 ]
ok $? 'and nothing else of it stays'
"$cli" "${learning[@]}" --learn 10 --json -o again.png >out && ! grep -q '"learn","step":1' out && cmp -s learnt.png again.png
ok $? 'the second time it is found'
rm -r cache/pentimento/learn
"$cli" "${learning[@]}" --learn 10 --json -o again.png >out && grep -q '"learn":10,' out && cmp -s learnt.png again.png
ok $? 'the same steps make the same bytes'
code 0 '--learn 1, ' "${learning[@]}" --learn-time 0.001 -o a.png
convert -size 32x32 xc:white all.png
code 1 'nothing is left' inpaint one.png --mask all.png --learn 3 -o a.png
convert -size 31x32 xc:white small.png
code 1 '31' inpaint one.png --mask small.png -o a.png
convert -size 32x32 xc:black none.png
code 1 'mask' inpaint one.png --mask none.png -o a.png
"$cli" generate "${small[@]}" -q -o - | "$cli" img2img - --steps 1 -q -o - >pipe.png
[ "$(identify -format '%m %wx%h' pipe.png)" = 'PNG 32x32' ]
ok $? 'pictures pass through pipes'
"$cli" generate "${small[@]}" -q -o - >/dev/full 2>err
[ $? -eq 1 ] && grep -q 'standard output' err
ok $? 'a full disk behind standard output is an error'

# --- arrays ---
code 0 "[1, $z, $side, $side]" encode one.png -o z.npy
code 0 '' encode one.png --sample --seed 3 -o sampled.npy
code 0 '' decode z.npy -o round.npy
code 0 '' decode z.npy -o round.png
code 0 '' encode round.npy -o z2.npy
code 0 '' condition -p 'a red apple' -o c.npy
code 1 'concat' predict --latent z.npy --timestep 500 --context c.npy -o e.npy
python3 - "$z" "$side" <<'END'
import sys
import numpy
channels, side = map(int, sys.argv[1:])
z = numpy.load("z.npy")
assert z.shape == (1, channels, side, side) and z.dtype == numpy.float32
assert not numpy.array_equal(z, numpy.load("sampled.npy"))
assert numpy.load("round.npy").shape == (1, 3, 32, 32)
assert numpy.load("c.npy").shape == (1, 40, 192)
assert numpy.load("z9.npy").shape == (1, channels, -(-6 * side // 32), -(-9 * side // 32))
numpy.save("y.npy", numpy.concatenate([z[:, :1] * 0 + 1, z], 1))
numpy.save("noise.npy", numpy.random.default_rng(1).standard_normal(z.shape).astype("f4"))
numpy.save("flat.npy", z[0, 0])
END
ok $? 'arrays have the shapes they should have'
code 0 '' predict --latent z.npy --timestep 500.5 --context c.npy --concat y.npy -o e.npy
code 1 'dimensions' predict --latent flat.npy --timestep 500 -o e.npy
code 0 '' generate "${small[@]}" --latent noise.npy -o noise.png
identify -format '%[parameters]' noise.png | grep -q 'Latent: given'
ok $? 'a given latent is told'
code 1 'made at once' generate "${small[@]}" --refine 0.5 --latent noise.npy -o a.png
"$cli" encode - -q -o - <one.png >zp.npy && cmp -s z.npy zp.npy
ok $? 'arrays pass through pipes'

# --- JSON ---
"$cli" inspect --json >out && python3 - "$tree/data/models/default" <<'END'
import json, sys
m = json.load(open("out"))
unet, vae = (json.load(open(f"{sys.argv[1]}/{part}/config.json")) for part in ("unet", "vae"))
assert m["native_size"] == unet["sample_size"] * m["downsampling"] and m["latent_channels"] == vae["latent_channels"]
assert m["parameters"] > 1e6 and m["q8_peak_bytes"] < m["peak_bytes"]
END
ok $? 'inspect --json'
"$cli" generate -p 'a "red" apple' --steps 3 --size 32x32 --seed 5 --json -o j.png >out 2>err && [ ! -s err ] && python3 - <<'END'
import json
events = [json.loads(line) for line in open("out")]
fractions = [e["fraction"] for e in events if e["event"] == "progress"]
assert fractions and fractions == sorted(fractions) and fractions[-1] <= 1
done = events[-1]
assert done["event"] == "done" and done["seed"] == 5 and done["width"] == 32 and done["output"] == "j.png"
assert done["settings"]["prompt"] == 'a "red" apple' and done["settings"]["steps"] == 3
END
ok $? 'generate --json reports progress and the end'
"$cli" generate "${small[@]}" --json -o - >j.png 2>err && identify j.png >/dev/null && tail -1 err | python3 -c 'import json,sys; assert json.load(sys.stdin)["event"] == "done"'
ok $? 'JSON goes to standard error where standard output carries the picture'

# --- languages ---
mkdir locales
if localedef -i ja_JP -f UTF-8 locales/ja_JP.UTF-8 2>/dev/null; then
    PENTIMENTO_LOCALE_DIR=${cli%/core/cli/*}/po LOCPATH=$work/locales LC_ALL=ja_JP.UTF-8 LANGUAGE=ja "$cli" inspect >out && python3 - <<'END'
import re, unicodedata
wide = lambda text: sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
lines = open("out", encoding="utf-8").read().splitlines()
assert lines[0].startswith("モデル ") and len({wide(re.match(r"\S+ +", line)[0]) for line in lines}) == 1, lines
END
    ok $? 'wide letters are told in columns, too'
else
    skip 'wide letters are told in columns, too' 'localedef cannot make ja_JP'
fi
if localedef -i de_DE -f UTF-8 locales/de_DE.UTF-8 2>/dev/null; then
    LOCPATH=$work/locales LC_ALL=de_DE.UTF-8 "$cli" generate "${small[@]}" --guidance 2.5 --json -o de.png >out &&
        python3 -c 'import json; assert json.loads(open("out").readlines()[-1])["settings"]["guidance"] == 2.5'
    ok $? 'a decimal comma changes neither arguments nor JSON'
    LOCPATH=$work/locales LC_ALL=de_DE.UTF-8 "$cli" generate --guidance 2,5 -o de.png 2>err
    [ $? -eq 2 ]
    ok $? 'a number with a comma is refused, in every language'
else
    skip 'a decimal comma changes nothing' 'localedef cannot make de_DE'
fi
for locale in C C.UTF-8; do
    LC_ALL=$locale "$cli" generate -p '赤いりんご 🍎' "${small[@]}" -q -o ja.png && grep -qF '赤いりんご 🍎' ja.png
    ok $? "a Japanese prompt in the locale $locale"
done

# --- interruption ---
interrupted() { # NAME PROCESS: has to end with 130 long before it is through, on a busy machine, too
    local start status
    start=$(date +%s%N)
    kill -INT "$2"
    wait "$2"
    status=$?
    [ $status -eq 130 ] && [ $((($(date +%s%N) - start) / 1000000)) -lt 10000 ]
    ok $? "$1 (exit code $status after $((($(date +%s%N) - start) / 1000000)) ms)"
}
mkdir cancelled
env --default-signal=INT "$cli" generate --steps 1000 --size 128x128 --json -o cancelled/c.png >progress 2>err &
process=$!
for _ in $(seq 600); do
    grep -q denoise progress && break
    sleep 0.05
done
grep -q denoise progress
ok $? 'it works on it'
interrupted 'Ctrl-C in mid-step' $process
[ -z "$(ls -A cancelled)" ]
ok $? 'no partial file is left'
env --default-signal=INT "$cli" inpaint one.png --mask mask.png --learn 100000 --json -o cancelled/c.png >progress 2>err &
process=$!
for _ in $(seq 600); do
    grep -q '"learn","step":1' progress && break
    sleep 0.05
done
grep -q '"learn","step":1' progress
ok $? 'it learns'
interrupted 'Ctrl-C while learning' $process
[ -z "$(ls -A cancelled)" ]
ok $? 'no partial file is left of that either'
mkfifo full
tail -f /dev/null 8<full &
reader=$!
env --default-signal=INT "$cli" generate --steps 1 --size 448x448 --no-metadata -o - >full 2>err &
process=$!
for _ in $(seq 600); do
    [ "$(cat /proc/$process/wchan 2>/dev/null)" = anon_pipe_write ] || [ "$(cat /proc/$process/wchan 2>/dev/null)" = pipe_write ] && break
    sleep 0.05
done
interrupted 'Ctrl-C while nobody reads the picture' $process
kill $reader
mkfifo pipe
env --default-signal=INT "$cli" img2img pipe -o cancelled/c.png 2>err &
process=$!
exec 9<>pipe # opened, and nothing comes
sleep 0.3
interrupted 'Ctrl-C while reading a pipe' $process
exec 9>&-

# --- the terminal ---
if command -v script >/dev/null; then
    script -qec "$cli generate ${small[*]} -o bar.png" /dev/null </dev/null >terminal 2>&1
    grep -q '\[#' terminal && grep -q '100 %' terminal && grep -q 'Finishing' terminal
    ok $? 'a terminal shows a bar and says what is done'
else
    skip 'a terminal shows a bar' 'no script(1)'
fi
"$cli" generate "${small[@]}" -o bar.png 2>err
! grep -q '\[#' err
ok $? 'no bar without a terminal'

# --- previews ---
code 0 '' generate -p 'a red apple' "${small[@]}" -o unseen.png --no-metadata
code 0 '' generate -p 'a red apple' "${small[@]}" -o seen.png --no-metadata --preview look.png
cmp -s seen.png unseen.png
ok $? 'a preview changes nothing'
[ "$(identify -format '%wx%h' look.png)" = 32x32 ]
ok $? 'and is a picture of the same proportions'
[ ! -e cache/pentimento/previews ]
ok $? 'the default model comes with what it needs'
mkdir bare
for part in "$tree"/data/models/default/*; do
    [ "${part##*/}" = preview ] || ln -s "$part" bare/
done
code 0 '' generate -m bare -p 'a red apple' "${small[@]}" -o seen.png --no-metadata --preview look.png
cmp -s seen.png unseen.png
ok $? 'a model without a decoder for previews shows them, too'
[ "$(find cache/pentimento/previews -name '*.npy' | wc -l)" -eq 1 ]
ok $? 'what it needs is kept'
code 2 '--preview' generate -p x "${small[@]}" -o seen.png --preview -
code 1 'no folder' generate -p x "${small[@]}" -o seen.png --preview nowhere/look.png
code 1 'no tiny decoder' generate -p x "${small[@]}" -o seen.png --preview look.png \
    --preview-decoder "$tree/data/models/default/vae/diffusion_pytorch_model.safetensors"

# --- training: a few steps on the default model, interrupted, resumed, used ---
mkdir pictures
for i in 1 2 3; do
    convert -size 80x64 gradient:red-blue -rotate $((i * 40)) pictures/$i.png
    echo "a gradient, number $i" >pictures/$i.txt
done
echo damaged >pictures/4.png
training=(train ldm --data pictures --config train.conf -o run)
printf 'steps = 4\nbatch = 2 # pictures\nseed = 3\n' >train.conf
code 2 'what to train' train
code 2 'cannot be trained' train vae --data pictures -o run
code 2 '--data' train ldm -o run
code 2 'output folder' train ldm --data pictures
code 2 '--steps' "${training[@]}" --steps many
mkdir nothing
code 1 'no pictures' train ldm --data nothing -o empty
cp pictures/1.png nothing
code 0 'without a caption: 1 of 1' train ldm --data nothing --config train.conf -o wordless
code 1 'batch is 0' "${training[@]}" --batch 0
code 2 'precision must be one of f32, bf16' "${training[@]}" --precision exact
PENTIMENTO_CPU=base code 1 'leave precision at f32' "${training[@]}" --precision bf16
code 1 'no checkpoint' "${training[@]}" --resume
code 0 'pictures/4.png' "${training[@]}"
grep -q "3 pictures, $weights M weights, steps 1 to 4; .* of memory, about" err
ok $? 'training tells what it needs'
[ "$(grep -c '"kind":"taken"' run/log.jsonl)" -eq 4 ]
ok $? 'the log has a line for each step'
code 1 'resume it' "${training[@]}"
code 1 'other settings (batch=2' "${training[@]}" --resume --batch 3
code 0 '' generate -m run -p 'a gradient' "${small[@]}" -o trained.png
code 0 '' train ldm --data pictures --config train.conf -o other --json
code 2 'regulariser must be one of model, kl, vq' train autoencoder --data pictures --regulariser vae -o ae
code 1 'regulariser is vq' train autoencoder --data pictures --regulariser vq -o ae
code 2 '--init' train lora --data pictures --init x -o look
code 2 'rank' train lora --data pictures --rank many -o look
code 1 'rank is 0' train lora --data pictures --rank 0 -o look
code 0 '0.0 M weights' train lora --data pictures --config train.conf --rank 1 --rate 0.05 -o look
printf 'batch = 1\nwarm-up = 3\ndecay-from = 1\n' >endless.conf
code 0 'steps 1 to 2' train lora --data pictures --config endless.conf --steps 2 -o endless
code 0 'steps 3 to 4' train lora --data pictures --config endless.conf --steps 4 --resume -o endless
code 1 'new word is missing' train embedding --data pictures -o word
code 0 '' train embedding --data pictures --config train.conf --word '<look>' --rate 0.5 -o word
LC_ALL=C code 1 'pictures-not-there' train embedding --data pictures-not-there --word '<猫>' -o word-2
look=look/pytorch_lora_weights.safetensors
word=word/learned_embeds.safetensors
prompt=(generate -p 'grass <look>' --steps 2 --size 64x64 --seed 5 -o) # no ground that may be all white
for options in --no-metadata "--lora=$look:0" "--lora=$look" "--embedding=$word"; do
    "$cli" "${prompt[@]}" a.png "$options" --no-metadata 2>err
    case $options in
        --no-metadata) cp a.png plain.png ;;
        *:0) cmp -s a.png plain.png; ok $? 'a LoRA of weight 0 changes nothing' ;;
        *) ! cmp -s a.png plain.png; ok $? "${options%%=*} changes the picture" ;;
    esac
done
"$cli" train ldm --data pictures --config train.conf -o long --steps 5000 --json >long.out 2>err </dev/null &
trained=$!
for _ in {1..600}; do
    ! grep -q '"step":2,' long.out && kill -0 $trained 2>/dev/null || break
    sleep 0.1
done
code 1 'another training run' train ldm --data pictures --config train.conf -o long --steps 5000
kill -TERM $trained
wait $trained
ok $(($? != 130)) 'a request to end stops training'
find long/checkpoints -name '*.json' | grep -q .
ok $? 'and saves it'
"$cli" train ldm --data pictures --config train.conf -o long --steps 5000 --resume --json >out 2>err </dev/null &
trained=$!
for _ in {1..600}; do
    ! grep -q '"event":"step"' out && kill -0 $trained 2>/dev/null || break
    sleep 0.1
done
kill -KILL $trained
wait $trained 2>/dev/null
[ "$(grep -o '"step":[0-9]*' out | head -1)" != '"step":1' ] && grep -q '"event":"step"' out
ok $? 'a resumed run goes on where it was'

# --- the first stage, and both stages from random weights ---
mkdir -p new/vae
cat >new/vae/config.json <<'END'
{"_class_name": "AutoencoderKL", "block_out_channels": [8, 16], "latent_channels": 4, "layers_per_block": 1,
 "norm_num_groups": 4, "sample_size": 32, "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
 "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}
END
printf 'steps = 6\nbatch = 2\nadversarial-start = 3\ndisc-channels = 8\n' >first.conf
first=(train autoencoder --data pictures --config first.conf)
code 2 'not both' "${first[@]}" --init new -m default -o first
code 1 'is missing' "${first[@]}" -m new -o first
code 0 'pictures/4.png' "${first[@]}" --init new -o first
[ "$(grep -c '"discriminator":' first/log.jsonl)" -eq 3 ] && [ "$(grep -c '"kl":' first/log.jsonl)" -eq 6 ]
ok $? 'the log has what the loss is made of'
code 0 '' encode -m first pictures/1.png -o first.npy
code 0 '' decode -m first first.npy -o first.png
code 0 '' "${first[@]}" -m first -o second
{ cat first.conf && printf 'ema-profiles = 0.05 0.1\nema-snapshots = 3\n'; } >profiles.conf
code 0 '3 snapshots of the averages' train autoencoder --data pictures --config profiles.conf --init new -o profiles
code 0 '' train ema profiles --sigma-rel 0.07 -o averaged
code 0 '' encode -m averaged pictures/1.png -o averaged.npy
code 1 'sigma-rel is 0.5' train ema profiles --sigma-rel 0.5 -o other
code 1 'no snapshots' train ema first --sigma-rel 0.07 -o none
code 1 'choose another folder' train ema profiles --sigma-rel 0.07 -o other # which holds a model
code 2 'sigma-rel is needed' train ema profiles -o other
code 2 'applies to train ema' "${first[@]}" --init new --sigma-rel 0.07 -o other
code 1 'without ema-profiles=' train autoencoder --data pictures --config profiles.conf --init new -o first --resume
echo 'ema-profiles = 0.1' >one.conf
code 1 'must be two numbers' train autoencoder --data pictures --config one.conf --init new -o other
echo '{"steps": 2, "batch": 1, "adversarial": 0, "ema-profiles": [0.05, 0.1], "ema-snapshots": 2}' >list.json
code 0 '2 snapshots' train autoencoder --data pictures --config list.json --init new -o listed
echo 'drop = 0.5' >drop.conf
code 1 'no setting “drop”' train autoencoder --data pictures --config drop.conf -o other-first
model=$tree/data/models/default
for part in unet text_encoder tokenizer scheduler; do
    mkdir "new/$part"
    cp "$model/$part/"*.json new/$part/
done
cp "$model"/tokenizer/* new/tokenizer/
cp "$model"/vae/* new/vae/
rm new/vae/*.safetensors
printf 'steps = 3\nbatch = 2\nside = 16\nchannels = 16\nhalf = true\n' >words.conf
words=(train contrastive --data pictures --config words.conf)
code 1 'is missing' "${words[@]}" -m new -o words
code 1 'batch is 1' "${words[@]}" --init new --batch 1 -o words
code 0 'pictures/4.png' "${words[@]}" --init new -o words
[ "$(grep -c '"matched":' words/log.jsonl)" -eq 3 ] && [ -f words/text_encoder/model.safetensors ]
ok $? 'the log tells the matched pictures; the text encoder is there'
code 0 '' "${words[@]}" -m words -o more-words
cp "$model"/vae/* new/vae/
printf 'steps = 2\nbatch = 2\ntrain-text = true\n' >scratch.conf
code 1 'is missing' train ldm --data pictures --config scratch.conf -m new -o scratch
code 0 'pictures/4.png' train ldm --data pictures --config scratch.conf --init new -o scratch
code 0 '' generate -m scratch -p 'a gradient' "${small[@]}" -o scratch.png
cp words/text_encoder/model.safetensors new/text_encoder/
printf 'steps = 1\nbatch = 1\nrate = 0\ntrain-text = true\nhalf = true\n' >kept.conf
code 0 'pictures/4.png' train ldm --data pictures --config kept.conf --init new -o kept
# the same weights, but for -0, which a step makes 0
[ "$(cmp -l {words,kept}/text_encoder/model.safetensors | wc -l)" -lt 100 ]
ok $? 'a text encoder that is there is not drawn anew'

# --- a tiny decoder for previews ---
printf 'steps = 4\nbatch = 2\nchannels = 8\nblocks = 1\n' >tiny.conf
for steps in 20 100; do
    printf 'steps = %d\nbatch = 1\nchannels = 8\nblocks = 0\nsize = 32\n' $steps >brief.conf
    code 0 '' train tiny --data pictures --config brief.conf -o brief-$steps
    grep -q " warm-up=$((steps / 10)) " brief-$steps/checkpoints/*.json
    ok $? "a tenth of $steps steps is warm-up"
done
echo 'warm-up = 15' >>brief.conf
code 0 '' train tiny --data pictures --config brief.conf --steps 20 -o brief-said
grep -q ' warm-up=15 ' brief-said/checkpoints/*.json
ok $? 'or as many as are said'
code 2 '--init' train tiny --data pictures --config tiny.conf --init new -o tiny
code 0 'pictures/4.png' train tiny --data pictures --config tiny.conf -o tiny
[ "$(find tiny/preview -type f | wc -l)" -eq 2 ]
ok $? 'a tiny decoder is a configuration and weights'
code 0 '' generate -p 'a red apple' "${small[@]}" -o seen.png --no-metadata --preview tiny.png --preview-decoder tiny/preview
cmp -s seen.png unseen.png && ! cmp -s tiny.png look.png
ok $? 'it previews, and changes nothing else'

# --- converting ---
for dtype in f16 bf16 q8; do
    code 0 "($dtype); " convert --dtype $dtype -o as-$dtype
    "$cli" inspect as-$dtype --json >about.json
    grep -q "\"dtype\":\"$dtype\"" about.json
    ok $? "its weights are $dtype"
done
for file in model_index.json ATTRIBUTION.txt README.md tokenizer/vocab.json scheduler/scheduler_config.json; do
    cmp -s "$model/$file" as-q8/$file
    ok $? "$file goes along"
done
code 0 '' generate -p 'a red apple' "${small[@]}" --precision q8 --no-metadata -q -o q8.png
code 0 '' generate -p 'a red apple' "${small[@]}" --precision q8 --no-metadata -q -m as-q8 -o stored.png
code 0 '' generate -p 'a red apple' "${small[@]}" --no-metadata -q -o own.png
code 0 '' generate -p 'a red apple' "${small[@]}" --no-metadata -q -m as-f16 -o f16.png
code 0 '' generate -p 'a red apple' "${small[@]}" --no-metadata -q -m as-q8 -o expanded.png
cmp -s q8.png stored.png && cmp -s f16.png own.png && ! cmp -s q8.png expanded.png
ok $? 'stored in 8 bits or rounded to them, the same picture; in f16 that of the model itself'
code 1 'too coarse to train' train lora --data pictures --steps 1 -m as-q8 -o none
code 1 'already' convert as-q8 -o as-f16
code 0 '' convert as-q8 -o as-f16 --replace --json
grep -q '"event":"done"' out && ! cmp -s {as-f16,"$model"}/unet/diffusion_pytorch_model.safetensors
ok $? '--replace puts the new model in the place of the old one'
code 1 'move it away' train tiny --data pictures --config tiny.conf -o as-bf16
mkdir mine && cp one.png mine
code 1 'no model folder' convert --replace -o mine
(
    ulimit -f 4000
    code 1 'Cannot write' convert -o cut-short
    echo "$number" >tests
)
number=$(<tests)
[ -e mine/one.png ] && [ ! -e cut-short ] && [ -z "$(find . -maxdepth 1 -name '.pentimento*')" ]
ok $? 'what is no model stays, and what cannot be whole does not'

echo "1..$number"

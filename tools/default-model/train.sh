#!/usr/bin/env bash
# train.sh: makes the default model from Debian packages alone, with the project's own trainer   (./dev train-default …)
# Data set; autoencoder; text encoder, denoiser with it, small pictures first; finished decoder, decoder of previews; and the model,
# put together. Each stage goes on from its newest checkpoint. The decoders do not wait for the denoiser.
set -euo pipefail
tree=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
recipe=$tree/data/default
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pentimento
data=$cache/default-data
run=$cache/default-run
stages=(data autoencoder text small ldm decoder preview model features)
own=() precision=() hours='' from='' last=model

usage() {
    cat <<'TEXT'
Usage: ./dev train-default [OPTIONS]     train the default model, or go on with it

  --stage S      the last stage to run: data, autoencoder, text, small, ldm, decoder, preview or model (default); text needs the
                 data alone, and so does features, the network by which models are evaluated, which is no part of the model;
                 decoder needs the autoencoder alone, preview the decoder
  --steps N      steps of the last stage, in place of its settings' (data/default/train-*.conf)
  --cool-down N  let the last stage's rate fall to zero over its last N steps; with --from and -o, so that the run that it was
                 copied from can go on
  --precision P  bf16: multiply in bf16 where that trains faster, on processors that have it; f32 is the default
  --hours H      save a checkpoint and stop after so long
  --data DIR     where packages and pictures lie (default: ~/.cache/pentimento/default-data)
  --from DIR     begin with the stages of another run's folder, where this one has none; or with a finished model, which
                 then stands for the stages autoencoder, text and small; its latents get the channels that they lack
  -o DIR         the run's folder (default: ~/.cache/pentimento/default-run); the finished model is DIR/model

Ctrl-C saves a checkpoint and stops; the same command goes on.
TEXT
}

die() {
    echo "train-default: $*" >&2
    exit "${2:-1}"
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage && exit ;;
        --stage | --steps | --cool-down | --precision | --hours | --data | --from | -o) [ $# -gt 1 ] || die "$1 needs a value" 2 ;;
        *) echo "train-default: no such option: $1 (--help lists them)" >&2 && exit 2 ;;
    esac
    case $1 in
        --stage) last=$2 ;;
        --steps | --cool-down) own+=("$1" "$2") ;;
        --precision) precision=(--precision "$2") ;;
        --hours) hours=$2 ;;
        --data) data=$2 ;;
        --from) from=$2 ;;
        -o) run=$2 ;;
    esac
    shift 2
done
[[ " ${stages[*]} " = *" $last "* ]] || die "no such stage: $last" 2
mkdir -p "$data" "$run"
exec 9>"$run/lock"
flock -n 9 || die "another run is at work in $run"
end=''
[ -z "$hours" ] || end=$(awk -v now="$(date +%s)" -v hours="$hours" 'BEGIN { printf "%d", now + 3600 * hours }')

"$tree/dev" build

make_data() {
    (
        flock 8
        python3 "$tree/tools/default-model/make-set.py" "$data"
    ) 8>"$data/lock"
}

# The denoiser's pictures, some of them several times.
make_list() {
    awk -v set="$data/set" -f "$tree/tools/default-model/denoiser-list.awk" "$data/set/train.tsv" >"$run/denoiser.tsv.part"
    mv "$run/denoiser.tsv.part" "$run/denoiser.tsv"
}

# The trainer, until it is done or the time is over: 130 then, as after Ctrl-C.
train() { # STAGE KIND WHERE-IT-BEGINS
    local folder=$run/$1 pictures=$data/set/train.tsv limit=() resume=() settings=()
    ! compgen -G "$folder/checkpoints/step-*.json" >/dev/null || resume=(--resume)
    [ -z "$end" ] || limit=(timeout --foreground --signal=TERM "$((end > $(date +%s) ? end - $(date +%s) : 1))")
    [ "$1" != "$last" ] || settings=("${own[@]}")
    if [ "$2" = ldm ]; then
        make_list
        pictures=$run/denoiser.tsv
    fi
    [[ $2 != ldm && $2 != autoencoder ]] || settings+=("${precision[@]}") # the others are small, and know f32 alone
    "${limit[@]}" "$tree/dev" cli train "$2" "${@:3}" --data "$pictures" \
        --config "$recipe/train-$1.conf" -o "$folder" "${settings[@]}" "${resume[@]}" ||
        { status=$? && [ $status = 124 ] && exit 130 || exit $status; }
}

finished() { [ -e "$run/$1/model_index.json" ] || [ -e "$run/$1/preview/config.json" ]; }

# Trains a stage that is not finished; one that is the last wanted goes on from its checkpoints even then.
stage() { # STAGE KIND WHERE-IT-BEGINS
    if [ -n "$from" ] && [ -d "$from/$1" ] && [ ! -d "$run/$1" ]; then
        cp -R --no-preserve=mode,ownership "$from/$1" "$run/$1.part"
        mv "$run/$1.part" "$run/$1"
    fi
    if ! finished "$1" || [ "$1" = "$last" ]; then train "$@"; fi
    [ "$1" != "$last" ] || exit 0
}

decoders() {
    stage decoder autoencoder --model "$run/autoencoder"
    stage preview tiny --model "$run/decoder"
}

latent_channels() { # MODEL
    sed -n 's/.*"latent_channels" *: *\([0-9]*\).*/\1/p' "$1/vae/config.json"
}

# What later stages read of earlier ones, from a finished model; one whose latents have fewer channels than the recipe's grows first.
stand_for_stages() { # MODEL
    local model=$1 stage
    if [ "$(latent_channels "$model")" != "$(latent_channels "$recipe/model")" ]; then
        make_list
        [ -e "$run/grown/model_index.json" ] ||
            "$tree/dev" cli train grow --model "$model" --init "$recipe/model" --data "$run/denoiser.tsv" -o "$run/grown"
        model=$run/grown
    fi
    for stage in autoencoder text small; do
        [ ! -e "$run/$stage" ] || continue
        mkdir "$run/$stage.part"
        cp -R --no-preserve=mode,ownership "$model"/{model_index.json,scheduler,text_encoder,tokenizer,unet,vae} "$run/$stage.part/"
        mv "$run/$stage.part" "$run/$stage"
    done
}

make_data
[ "$last" != data ] || exit 0
if [ -n "$from" ] && [ -e "$from/model_index.json" ]; then
    stand_for_stages "$from"
    from='' # its folder `preview` is no run's
fi
case $last in
    features) # its image_tower is what lies in data/default/features
        train features contrastive --init "$recipe/model"
        cp "$data/set/ATTRIBUTION.txt" "$run/features/image_tower/"
        exit
        ;;
    text) stage text contrastive --init "$recipe/model" ;;
esac
stage autoencoder autoencoder --init "$recipe/model"
case $last in decoder | preview) decoders ;; esac
stage text contrastive --init "$recipe/model"
if [ ! -e "$run/start/model_index.json" ]; then # the new model's configuration with the trained autoencoder, which stays,
    rm -rf "$run/start.part"                    # and the text encoder, which learns on with the denoiser
    cp -R "$recipe/model" "$run/start.part"
    cp "$run"/autoencoder/vae/* "$run/start.part/vae/"
    cp "$run"/text/text_encoder/* "$run/start.part/text_encoder/"
    mv "$run/start.part" "$run/start"
fi
stage small ldm --init "$run/start"
stage ldm ldm --model "$run/small"
decoders
rm -rf "$run/model.part"
mkdir "$run/model.part"
cp -R "$run"/ldm/{model_index.json,scheduler,text_encoder,tokenizer,unet} "$run/decoder/vae" "$run/preview/preview" \
    "$data/set/ATTRIBUTION.txt" "$run/model.part/"
rm -rf "$run/model"
mv "$run/model.part" "$run/model"
echo "The model is $run/model"

# bash completion for pentimento(1). tests/cli compares its options with --help.
# shellcheck shell=bash

_pentimento() {
    local commands='inspect encode decode condition predict generate img2img inpaint convert train'
    local common='--help --model --threads --json --quiet'
    local task='--output --prompt --negative-prompt --steps --sampler --schedule --guidance --guidance-rescale --quality --guidance-start --guidance-end --guidance-interval --reuse --merge --precision --eta --seed --lora --embedding --count --latent --no-metadata --preview --preview-decoder'
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
        return
    fi
    # "--sampler=eu" comes as three words
    if [ "$before" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    elif [ "$word" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 1]} word=
    fi
    case $before in
        --sampler) options='ddim euler euler-a dpmpp-2m' ;;
        --schedule) options='model karras' ;;
        --quality) options='exact near good draft' ;;
        --precision) [ "${COMP_WORDS[1]}" = train ] && options='f32 bf16' || options='exact bf16 q8' ;;
        --regulariser) options='kl vq' ;;
        --dtype) options='f16 bf16 q8' ;;
        --prompt | -p | --negative-prompt | --steps | --guidance | --guidance-rescale | --guidance-start | --guidance-end | --guidance-interval | --reuse | --merge | --surroundings | --learn | --learn-time | --eta | --seed | --count | -n | --size | -s | --width | --height | --refine | --strength | --threads | -t | --timestep | --batch | --rate | --rank | --word) return ;;
        --model | -m) mapfile -t COMPREPLY < <(_pentimento_models "$word") ;;
    esac
    if [ -z "$options" ] && [[ $word = -* ]]; then
        case ${COMP_WORDS[1]} in
            inspect) options=$common ;;
            encode) options="$common --output --sample --seed" ;;
            decode) options="$common --output" ;;
            condition) options="$common --output --prompt" ;;
            predict) options="$common --output --latent --timestep --context --concat" ;;
            generate) options="$common $task --size --width --height --refine" ;;
            img2img) options="$common $task --mask --strength --surroundings" ;;
            inpaint) options="$common $task --mask --strength --surroundings --learn --learn-time" ;;
            convert) options="$common --output --dtype --replace" ;;
            train) options="$common --output --data --config --init --steps --cool-down --batch --rate --seed --rank --word --regulariser --precision --sigma-rel --resume" ;;
        esac
    fi
    [ "$COMP_CWORD" -ne 2 ] || [ "${COMP_WORDS[1]}" != train ] || [ -n "$options" ] || options="ldm autoencoder contrastive lora embedding tiny grow ema"
    if [ -n "$options" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    else
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
    fi
}

# The models whose names begin so. Not by compgen -W, which expands words as the shell does: names may come from anywhere.
_pentimento_models() { # WORD
    local folder name folders=()
    [[ $1 != */* ]] || return 0
    IFS=: read -r -a folders <<<"${PENTIMENTO_MODEL_PATH-}"
    folders+=("${XDG_DATA_HOME:-$HOME/.local/share}/pentimento/models" /usr/local/share/pentimento/models /usr/share/pentimento/models)
    for folder in "${folders[@]}"; do
        for name in "$folder"/"$1"*; do
            [ ! -e "$name" ] || printf '%s\n' "${name##*/}"
        done
    done
}

complete -o filenames -F _pentimento pentimento

#!/usr/bin/env bash
# test-mpi.sh PENTIMENTO SOURCE: training in several processes sees what one with as many times the batch sees; they
# stop together, resume together and speak with one voice.
set -uo pipefail
cli=$(readlink -f "$1") source=$(readlink -f "$2")
unset DISPLAY WAYLAND_DISPLAY
export LC_ALL=C.UTF-8 LANGUAGE=C PENTIMENTO_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

count=0
ok() { # STATUS TEXT
    count=$((count + 1))
    if [ "$1" = 0 ]; then
        echo "ok $count - $2"
    else
        echo "not ok $count - $2"
        sed 's/^/# /' err
    fi
}
together() { # PROCESSES ARGUMENTS: as mpirun starts them, without the network
    mpirun --mca btl self,sm --oversubscribe -n "$1" "$cli" "${@:2}" >out 2>err </dev/null
}

mkdir pictures
for i in 1 2 3 4 5 6; do
    convert -size 80x70 "gradient:rgb($((i * 40)),20,90)-white" "pictures/$i.png"
    echo "picture $i" >"pictures/$i.txt"
done
printf 'size = 64\nseed = 3\nclip = 0\nsave-every = 1\nkeep = 20\n' >ldm.conf
printf 'size = 64\nseed = 3\nclip = 0\nsave-every = 1\nkeep = 20\ndisc-channels = 16\nadversarial-start = 0\n' >autoencoder.conf
(cat autoencoder.conf && printf 'feature-matching = 2\nscale-equivariance = 1\n') >matching.conf
cp ldm.conf lora.conf
# One process takes the whole batch in the same parts, lest other kernels' rounding be compared, of which a trained
# denoiser makes 1e-4; the adversarial weight, which is no sum over the batch, has no parts.
for kind in autoencoder matching lora ldm; do
    whole='batch = 6'
    [[ $kind != l* ]] || whole=$'batch = 3\naccumulate = 2'
    (cat $kind.conf && echo "$whole") >$kind-whole.conf
    echo 'batch = 3' >>$kind.conf
done

declare -A steps=([ldm]=2 [autoencoder]=4 [matching]=2 [lora]=10)
for kind in autoencoder matching lora ldm; do
    training=(train "${kind/matching/autoencoder}" --data pictures --steps "${steps[$kind]}")
    "$cli" "${training[@]}" --config "$kind-whole.conf" -o "$kind-1" >out 2>err </dev/null
    ok $? "$kind: one process"
    together 2 "${training[@]}" --config "$kind.conf" -o "$kind-2"
    ok $? "$kind: two processes"
    python3 "$source/tests/cli/compare-runs.py" "$kind-1" "$kind-2" "${steps[$kind]}" >err 2>&1
    ok $? "$kind: the same gradients, losses and weights"
done

printf 'size = 64\nseed = 3\n' >long.conf
training=(train ldm --data pictures --config long.conf)
together 2 "${training[@]}" --steps 2 --batch 2 -o ldm-2
ok $((!$?)) 'a run that is there is not overwritten'
ok $(($(grep -c 'resume it' err) != 1)) 'one of the processes says so'
together 2 train ldm --data nothing -o empty
ok $((!$?)) 'no pictures: all processes end'

until_said() { # TEXT: in the output of the run under way
    while kill -0 "$runner" 2>/dev/null && ! grep -q "$1" out; do sleep 0.1; done
}
# the second process is asked to end: all save, and one process goes on with the whole batch
# shellcheck disable=SC2016
mpirun --mca btl self,sm --oversubscribe -n 2 bash -c 'echo $$ >pid.$OMPI_COMM_WORLD_RANK; exec "$@"' - \
    "$cli" "${training[@]}" --steps 5000 --batch 1 -o long --json >out 2>err </dev/null &
runner=$!
until_said '"step":2,'
kill -TERM "$(cat pid.1)"
wait $runner
ok $(($? != 130)) 'a request to end that reaches one process stops all'
while kill -0 "$(cat pid.0)" 2>/dev/null; do sleep 0.1; done # mpirun may end before, and the run is locked until then
: >out # or until_said reads what the last run said
"$cli" "${training[@]}" --steps 5000 --batch 2 -o long --resume --json >out 2>err </dev/null &
runner=$!
until_said '"event":"step"'
grep -q '"event":"step"' out
ok $? 'one process resumes what two have begun'
kill -KILL $runner
wait $runner 2>/dev/null
echo "1..$count"
